"""The other process: it alone talks to clouds and machines, and takes each job from step to step."""
