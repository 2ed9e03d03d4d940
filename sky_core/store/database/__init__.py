"""The database beneath the store: engines, forks, transactions that are tried again, and the schema."""
