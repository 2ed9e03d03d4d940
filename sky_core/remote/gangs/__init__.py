"""Many machines as one: what the driver makes of their answers, and how they log in to each other."""
