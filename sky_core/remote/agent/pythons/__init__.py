"""Which Python does what on the machine: the agent's own, and the one that a function is called by."""
