"""Finding machines that are ours and belong to nobody: what crashes leave behind, told by tags, not by records."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sky_core.clouds.base import TAG_CLUSTER, TAG_OWNER, Instance
from sky_core.config import Settings
from sky_core.driver.stages.owed import Debts, end_strays
from sky_core.driver.step import Clouds, Driving
from sky_core.driver.warm import parking
from sky_core.driver.warm.keeper import Keeper
from sky_core.errors import CloudError
from sky_core.job.forgetting import forget
from sky_core.planner.market import usable_clouds
from sky_core.store import Cluster, Store

log = logging.getLogger(__name__)

FORGET_S = 24 * 3600.0  # between two looks for what the store need not keep any more
LOOK_BACK_S = 30 * 24 * 3600.0  # places in which nothing was launched for so long are not searched by the driver
TICK_S = 1.0


@dataclass(frozen=True)
class Collected:
    """What a sweep found.

    Attributes:
        orphans: Machines of ours that no live job has a claim to.
        in_use: Machines of live jobs that somebody drives.
        undriven: Machines of live jobs that nobody drives at present; a driver takes them over.
        kept: Machines of jobs that are over, kept for the next one, with the name that they are kept under.
        unreachable: Clouds, and regions of clouds, that could not be asked, each with the reason.
    """

    orphans: tuple[Instance, ...]
    in_use: tuple[Instance, ...]
    undriven: tuple[Instance, ...]
    kept: tuple[tuple[Instance, str], ...]
    unreachable: dict[str, str]


def collect(settings: Settings, store: Store, *, terminate: bool) -> Collected:
    """Ask every usable cloud for our machines; with ``terminate``, end those that belong to no live job."""
    places: dict[str, Sequence[str] | None] = dict.fromkeys(usable_clouds(settings))
    return search(Clouds(settings), store, places, terminate=terminate)


def search(clouds: Clouds, store: Store, places: Mapping[str, Sequence[str] | None], *, terminate: bool) -> Collected:
    """Ask clouds for our machines, in these regions (None: in all); what refuses is told and left out."""
    found: list[Instance] = []
    unreachable: dict[str, str] = {}
    for name, regions in places.items():
        try:
            look = clouds[name].find({TAG_OWNER: store.id}, regions=regions)
            found += look.instances
            unreachable |= {f"{name}/{place}": why for place, why in look.unreachable.items()}
        except CloudError as error:
            unreachable[name] = str(error)
    # An intent is written before its launch, and read here after the search: a machine of ours without an open cluster
    # is nobody's.
    now = store.now()
    claims = {cluster.tag: cluster for cluster in store.clusters(open_only=True) if not _forgotten(cluster, now)}
    driven = store.driven()
    orphans = tuple(instance for instance in found if instance.tags.get(TAG_CLUSTER) not in claims)
    if terminate:
        unreachable |= _end(clouds, store, orphans)
    claimed = [(claims[token], i) for i in found if (token := i.tags.get(TAG_CLUSTER, "")) in claims]
    wanted = [(cluster.job_id, instance) for cluster, instance in claimed if cluster.state != "kept"]
    return Collected(
        orphans,
        in_use=tuple(instance for job_id, instance in wanted if job_id in driven),
        undriven=tuple(instance for job_id, instance in wanted if job_id not in driven),
        kept=tuple((instance, cluster.kept_as or "") for cluster, instance in claimed if cluster.state == "kept"),
        unreachable=unreachable,
    )


def _forgotten(cluster: Cluster, now: float) -> bool:
    """Whether machines that were kept have outlived that by more than they may."""
    return cluster.state == "kept" and now > (cluster.kept_until or 0.0) + 2 * parking.MARGIN_S


def _end(clouds: Clouds, store: Store, orphans: Sequence[Instance]) -> dict[str, str]:
    """End these machines, on the bills of their jobs; what could not be ended, and why, by cloud and region."""
    failed = {}
    for name, region in sorted({(instance.cloud, instance.region) for instance in orphans}):
        there = [instance for instance in orphans if (instance.cloud, instance.region) == (name, region)]
        ids = [instance.id for instance in there]
        try:
            end_strays(clouds[name], store, there)
        except CloudError as error:
            failed[f"{name}/{region}"] = f"{', '.join(ids)} could not be ended: {error}"
    return failed


class Sweeper:
    """A driver's second thread: settles launches that are owed, ends machines that were kept long enough, and sweeps
    where its store has ever launched.
    """

    def __init__(self, driving: Driving) -> None:
        self._driving = driving
        self._debts = Debts(driving)
        self._keeper = Keeper(driving)
        self._stop = threading.Event()
        self._swept: float | None = None  # monotonic seconds
        self._forgot: float | None = None  # likewise
        self.busy = True
        """Whether something is owed or kept, or may be: the driver stays until that has come to its end."""

    def start(self) -> None:
        """Begin, in a thread that does not keep the process."""
        threading.Thread(target=self._run, name="sweeper", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end after what it is doing."""
        self._stop.set()

    def turn(self) -> None:
        """Settle what is due, and sweep if it is time to."""
        left = self._debts.settle() + self._keeper.turn()
        if self._swept is None or time.monotonic() - self._swept > self._driving.settings.sweep_s:
            self._swept = time.monotonic()
            self._sweep()
            self._forget()
        self.busy = left > 0

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            try:
                self.turn()
            except Exception as error:  # noqa: BLE001 - a locked store, a network that is down: the next turn may do
                log.warning("the sweep was cut short: %s: %s", type(error).__name__, error)

    def _forget(self) -> None:
        if self._forgot is None or time.monotonic() - self._forgot > FORGET_S:
            self._forgot = time.monotonic()
            forget(self._driving.store, self._driving.settings.forget_after_days)

    def _sweep(self) -> None:
        settings, store = self._driving.settings, self._driving.store
        places = store.launch_places(settings.profile, time.time() - LOOK_BACK_S)
        seen = search(self._driving.clouds, store, places, terminate=True)
        for instance in seen.orphans:
            log.warning("ended %s %s, which belonged to no live job", instance.cloud, instance.id)
        for place, why in seen.unreachable.items():
            log.warning("not swept: %s: %s", place, why)
