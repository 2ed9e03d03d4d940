"""Methods of our own: bounds by messages, exact labels, better plans one task at a time."""
