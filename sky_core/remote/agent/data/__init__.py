"""What a job's data goes through: artifacts, checkpoints, and the process that moves them."""
