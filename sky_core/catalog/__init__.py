"""What the clouds sell, where, at what price; what moving data costs; refreshed from live sources."""

from sky_core.catalog.catalog import Catalog

__all__ = ["Catalog"]
