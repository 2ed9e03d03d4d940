"""Everything that can go wrong, once each, on every cloud and database: ``python -m tests.crash``."""
