"""Google Cloud: Compute Engine, Cloud TPU and Cloud Storage. Imported in the driver only."""
