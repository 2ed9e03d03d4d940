"""Which network machines on Google Cloud are in, and who is let in to them."""
