"""The machine that the agent runs on: what it has, when its cloud wants it back, and how its bill ends."""
