"""What one machine of a gang needs to know of the others: their addresses, and how to log in there."""
