"""Reading the tables: rows as records, and listings of many jobs at once."""
