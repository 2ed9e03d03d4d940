"""``skyloom ui``: pages over all runs of a store, served on loopback to whoever has the token. They change nothing."""
