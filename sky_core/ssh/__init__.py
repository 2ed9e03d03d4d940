"""Reaching a machine over SSH: one link, the keys that log in, the host keys that are believed."""
