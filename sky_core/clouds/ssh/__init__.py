"""Machines of one's own: hosts with SSH, listed in catalog.toml, that take so many jobs at a time."""
