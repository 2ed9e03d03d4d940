"""Work pools of ours: whole flow runs, each on the machine that is planned for it. Prefect loads this package with its
collections, and finds the worker's type here.
"""

from __future__ import annotations

from sky_prefect.pool.worker import SkyWorker

__all__ = ["SkyWorker"]
