"""Microsoft Azure: its compute, network and resource managers, and blob storage. Imported in the driver only."""
