"""Cloud TPU: its nodes, and the queue through which they may be asked for."""
