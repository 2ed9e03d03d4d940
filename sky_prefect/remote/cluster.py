"""Clusters for the task runners of other engines: what runs in them, and how, is theirs."""

from __future__ import annotations

from typing import Any

from prefect.logging import get_logger

from sky_core.broker import Broker
from sky_core.broker.clusters.held import HeldCluster
from sky_core.broker.clusters.stay import CALLER, cluster_task
from sky_core.errors import SpecError
from sky_core.spec import Objective, Resources
from sky_prefect.blocks.config import SkyloomConfig, settings_of
from sky_prefect.needs import RESOURCE_FIELDS
from sky_prefect.reports import run_logger

logger = get_logger("sky")


def cluster(
    engine: Any,
    *,
    num_nodes: int = 1,
    name: str = "cluster",
    environment: str | None = CALLER,
    minimize: str = "cost",
    config: SkyloomConfig | str | None = None,
    **needs: Any,
) -> HeldCluster:
    """A Dask or Ray cluster on the cheapest machines that will do, for a ``with`` or ``async with`` block.

    Args:
        engine: ``"dask"`` or ``"ray"``, or a mapping with its options.
        name: What it is called in plans and bills.
        environment: The packages on its machines: those of this process, which is what client and cluster have to
            agree on; or a file of them; None leaves it to the image or ``setup``.
        minimize: ``"cost"``, ``"time"`` or ``"cost*time"``.
        config: Which Skyloom is used, as ``SkyTaskRunner`` takes it.
        needs: As ``@resources`` takes them, and ``workdir``, whose modules tasks may import there.

    Raises:
        SpecError: naming the field that is wrong.

    Example:
        >>> with cluster(engine="dask", num_nodes=4, cpus="8+") as there:  # doctest: +SKIP
        ...     my_flow.with_options(task_runner=DaskTaskRunner(address=there.address))()
    """
    asked = {key: value for key, value in needs.items() if key in RESOURCE_FIELDS}
    own = {key: value for key, value in needs.items() if key not in RESOURCE_FIELDS}
    if "resources" in own:
        raise SpecError(f"Task.{name}: resources: give its fields themselves", cure="cluster(…, cpus=…, use_spot=…)")
    task = cluster_task(
        name, engine=engine, num_nodes=num_nodes, environment=environment, resources=Resources(**asked), **own
    )
    objective = Objective(minimize=minimize)
    return HeldCluster(
        task, lambda: Broker.open(settings_of(config)), objective, say=lambda text: run_logger(logger).info(text)
    )
