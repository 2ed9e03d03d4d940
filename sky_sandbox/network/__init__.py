"""Who reaches machines, and from where."""
