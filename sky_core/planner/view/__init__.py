"""A plan as it is shown: tables, pages, and documents for programs."""
