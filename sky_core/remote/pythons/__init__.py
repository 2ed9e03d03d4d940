"""A Python of our own on machines: whatever their image has, a POSIX shell is enough to begin with."""
