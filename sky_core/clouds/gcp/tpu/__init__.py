"""TPU VMs: nodes that are asked for at once, or through Cloud TPU's queue."""
