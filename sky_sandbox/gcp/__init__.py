"""Google Cloud on loopback: the Compute Engine and Cloud TPU APIs."""
