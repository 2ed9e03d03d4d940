"""Commands about a whole run: what of it is seen while it goes on, and how one comes back to it."""
