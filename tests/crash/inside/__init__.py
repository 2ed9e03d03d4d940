"""What runs in the drivers of the matrix: faults, the shortened patience, and the process that forks them."""
