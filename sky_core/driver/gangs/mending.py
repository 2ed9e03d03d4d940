"""Machines that come and go while a gang's command goes on: in the place of a lost one, or as it pays.

So it is with engines that do without a worker and take up a new one, where the machines of two launches see each other
as those of one do; rank 0, which runs the command, cannot be replaced, nor can others that are to be reliable. The
new machine is a cluster of one, of the same attempt, under a token of its own: written down before it is asked for,
like any other. The lost one gets a record of its own, so that each is on the bill for as long as it lived.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile

from sky_core.clouds.base import REFUSALS as REFUSED
from sky_core.clouds.base import Instance
from sky_core.driver.gangs import fleet
from sky_core.driver.stages.closing import as_ended, costs, end
from sky_core.driver.stages.launch import (
    REFUSALS,
    as_launched,
    held_back,
    observation,
    request_for,
    request_of,
    taught,
    too_dear,
    where,
)
from sky_core.driver.stages.reaching import addresses_of, let_in, look, machines_at, while_pending
from sky_core.driver.step import Step
from sky_core.errors import CloudError, HostKeyMismatch, LinkLost, MachineError, NotConnected, Scope
from sky_core.events import Launching, LaunchUnclear, NodeJoined, NodeLost, Refused
from sky_core.facts import facts_of
from sky_core.job.bill import lifetime
from sky_core.job.outcome import Outcome
from sky_core.planner.plan import Placement
from sky_core.remote.executor import Executor, Introducing, JobRequest
from sky_core.ssh.machine import Machine
from sky_core.store import Cluster
from sky_core.store.records import LOST, MEND

log = logging.getLogger(__name__)

GO_ON = frozenset({"ray", "dask"})
LEAVE_S = 5.0  # for a command to end by itself on a machine that is given back
AGAIN_HOURS = 1 / 60  # between two tries to get a machine for the gang, twice as long after each refusal…
MOST_DOUBLINGS = 5  # …up to half an hour
AGAIN_LOOKS = 5  # at the gang meanwhile, however fast the clock of a sandbox goes
KNOCK_SHARE = 0.2  # of the time, at most, goes to machines that do not answer yet; the rest is the gang's
MOST_MENDS = 50  # of one attempt


def members(step: Step, cluster: Cluster) -> tuple[str, ...]:
    """Ids of the gang's machines by rank; "" where one is lost."""
    return step.memory.members or cluster.instance_ids


def seen(step: Step, cluster: Cluster) -> list[Instance]:
    """The gang's machines as their cloud shows them, without those that were lost before.

    Raises:
        CloudError: if it does not.
    """
    return look(step, replace(cluster, instance_ids=tuple(name for name in members(step, cluster) if name)))


def _goes_on(step: Step, cluster: Cluster, ranks: Sequence[int]) -> bool:
    """Whether the command goes on without the machines of these ranks."""
    memory, engine, elastic = step.memory, step.task.engine, step.task.elastic
    free = memory.closing is None and not memory.leaving and step.successor is None
    able = engine is not None and (elastic or engine.name in GO_ON) and facts_of(cluster.cloud).one_network
    stay = elastic.reliable if elastic else 1
    return bool(able) and free and memory.phase == "running" and all(rank >= stay for rank in ranks)


# --- a machine is lost ---------------------------------------------------------------------------------------


def dismissed(step: Step, cluster: Cluster, ranks: Sequence[int]) -> Outcome | None:
    """Workers have ended before the command, or hang: their cloud takes them back, or something there is broken.

    They are given up.
    """
    if not ranks or not _goes_on(step, cluster, ranks):
        return None
    names = [members(step, cluster)[rank] for rank in ranks]
    try:
        step.driving.clouds[cluster.cloud].terminate(names)
    except CloudError as error:
        log.warning("%s: %s could not be ended yet: %s", step.job.id, ", ".join(names), error)
    return step.comes_to(after_s=step.driving.settings.poll_s, waiting_since=time.time())


def lose(step: Step, cluster: Cluster, instances: Sequence[Instance]) -> Outcome | None:
    """Strike the machines that are gone off the gang; None if none is, or it cannot go on without them.

    Raises:
        CloudError: if what is left of them cannot be ended.
    """
    ids = members(step, cluster)
    gone = {one.id: one for one in instances if one.state in ("stopping", "gone")}
    ranks = [rank for rank, name in enumerate(ids) if name in gone]
    if not ranks or not _goes_on(step, cluster, ranks):
        return None
    step.driving.clouds[cluster.cloud].terminate(list(gone))  # a disk may be left
    if any(costs(one) for one in gone.values()):
        return step.comes_to(after_s=step.driving.settings.poll_s)
    told = step.comes_to()
    for rank in ranks:
        told = told.then(_lost(step.after(told), rank, gone[ids[rank]]))
    step.driving.hearing.forget(step.job.id)
    step.driving.resize_at.pop(step.job.id, None)
    addresses = tuple("" if name in gone else at for name, at in zip(ids, step.memory.addresses, strict=True))
    left = tuple("" if name in gone else name for name in ids)
    struck = step.after(told).comes_to(
        members=left, addresses=addresses, waiting_since=None, evicted=False, mend_at=0.0
    )  # fmt: skip
    return told.then(struck)


def _lost(step: Step, rank: int, one: Instance) -> Outcome:
    """The record of a machine that is gone, apart from the gang's."""
    cluster = step.cluster
    assert cluster is not None
    mend = next((mend for mend in step.mends if one.id in mend.instance_ids), None)
    why = "preempted" if (mend or cluster).use_spot and not one.broke else "died"
    part = mend or replace(cluster, token=f"{cluster.token}{LOST}{rank}", num_nodes=1, instance_ids=(one.id,))
    ended = as_ended(part, why, [one])
    rest = tuple(name for name in cluster.instance_ids if name != one.id)
    whole = [] if mend else [replace(cluster, num_nodes=cluster.num_nodes - 1, instance_ids=rest)]
    hours = lifetime(ended, step.driving.settings.scale)
    told = step.comes_to(
        launches=[request_for(mend, settled=why)] if mend else (),
        observations=[observation(ended, "preempted" if why == "preempted" else "released", hours=hours)],
        events=[NodeLost(attempt=cluster.attempt, rank=rank, reason=one.reason)],
    )
    return replace(told, clusters=(ended, *whole))


# --- another is asked for ------------------------------------------------------------------------------------


def due(step: Step) -> Outcome | None:
    """The intent to launch machines for the gang, a launch, or an end; None if there is nothing to do just now."""
    memory, cluster = step.memory, step.cluster
    if cluster is None or not _goes_on(step, cluster, []):
        return None
    if dropped := _dropped(step):
        return dropped
    if (gone := next((mend for mend in step.mends if mend.token in memory.parting), None)) is not None:
        return end(step, gone, "released")
    if time.time() < memory.mend_at:
        return None
    asked = next((mend for mend in step.mends if mend.state == "intended"), None)
    if asked is not None:
        return _launch(step, asked)
    return _resized(step, cluster) if step.task.elastic else _mended(step, cluster)


def _dropped(step: Step) -> Outcome | None:
    """The end of intents that nobody has asked for, of an elastic gang whose market has just refused another one."""
    vain = [mend for mend in step.mends if mend.state == "intended" and step.never_asked(mend)]
    vain = [mend for mend in vain if step.task.elastic and fleet.refused_lately(step, mend.market)]
    for mend in vain:
        step.driving.unasked.pop(mend.token)
    told = step.comes_to(launches=[request_for(mend, settled="not asked") for mend in vain])
    ended = (replace(mend, state="refused", ended_at=time.time(), outcome="not asked") for mend in vain)
    return replace(told, clusters=tuple(ended)) if vain else None


def _mended(step: Step, cluster: Cluster) -> Outcome | None:
    """As many machines as are lost, of the gang's own kind."""
    lacking, placement = step.memory.members.count("") - len(_coming(step)), step.memory.placement
    if lacking <= 0 or placement is None:
        return None
    return _intent(step, cluster, [placement.model_copy(update={"num_nodes": 1})] * lacking)


def _resized(step: Step, cluster: Cluster) -> Outcome | None:
    """What makes an elastic gang what it should be; None if it is, or was looked at just now."""
    if time.time() < step.driving.resize_at.get(step.job.id, 0.0):
        return None
    wish, told = fleet.wish(step, cluster), step.comes_to()
    for mend in wish.leaves:
        told = told.then(_given_back(step.after(told), cluster, mend))
    asked = _intent(step.after(told), cluster, wish.joins) if wish.joins else None
    if asked or wish.leaves:
        return told.then(asked)
    step.driving.resize_at[step.job.id] = _again_at(step)
    return None


def _given_back(step: Step, cluster: Cluster, mend: Cluster) -> Outcome:
    """A machine of an elastic gang that is not worth its price any more: told to end, and struck off."""
    memory, ids = step.memory, list(members(step, cluster))
    parting = step.comes_to(parting=(*memory.parting, mend.token))
    rank = next((rank for rank, name in enumerate(ids) if name in mend.instance_ids), None)
    if rank is None:
        return parting
    try:
        executor, machines = step.driving.executors[cluster.cloud], machines_at(step, cluster, [memory.addresses[rank]])
        executor.cancel(machines, step.job.id, cluster.attempt, LEAVE_S)
    except (LinkLost, HostKeyMismatch, MachineError, CloudError) as error:
        log.warning("%s: rank %d could not be told to end: %s", step.job.id, rank, error)
    ids[rank] = ""
    addresses = tuple("" if number == rank else at for number, at in enumerate(memory.addresses))
    told = NodeLost(attempt=cluster.attempt, rank=rank, reason="given back: it is not worth its price any more")
    return parting.then(step.after(parting).comes_to(members=tuple(ids), addresses=addresses, events=[told]))


def _coming(step: Step) -> list[Cluster]:
    """The machines that were launched and have not joined yet."""
    there, parting = set(step.memory.members), step.memory.parting
    launched = [mend for mend in step.mends if mend.state == "launched" and mend.token not in parting]
    return [mend for mend in launched if not there & set(mend.instance_ids)]


def _intent(step: Step, cluster: Cluster, places: Sequence[Placement]) -> Outcome | None:
    """The intents to launch a machine at each of these places, which are alike; as many as may be paid."""
    before = [one for one in step.driving.store.clusters(job_id=step.job.id) if one.attempt == cluster.attempt]
    number = 1 + sum(one.mends for one in before)
    most = math.inf if step.task.elastic else MOST_MENDS + 1 - number
    count = int(min(len(places), most))
    why = None
    while count > 0 and (why := too_dear(step, places[0].model_copy(update={"num_nodes": count}))):
        count -= 1
    if why and count <= 0:
        told = held_back(step, why)
        return told.then(step.after(told).comes_to(after_s=told.after_s, mend_at=_again_at(step)))
    mends = [
        Cluster(
            token=f"{cluster.token}{MEND}{number + more}", job_id=cluster.job_id, attempt=cluster.attempt,
            state="intended", cloud=cluster.cloud, region=cluster.region, zone=cluster.zone,
            instance_type=cluster.instance_type, use_spot=places[0].use_spot, num_nodes=1, price=places[0].price,
            host_key=cluster.host_key, intended_at=time.time(), accelerator=cluster.accelerator,
            reservation=places[0].reservation, reserved_until=places[0].until, price_after=cluster.price_after,
        )
        for more in range(count)
    ]  # fmt: skip
    if not mends:
        return None
    for mend in mends:
        step.driving.unasked[mend.token] = step.job.lease_epoch
    told = step.comes_to(
        launches=[request_for(mend) for mend in mends],
        events=[Launching(attempt=mend.attempt, machine=places[0].machine, **where(mend)) for mend in mends],
    )
    return replace(told, clusters=tuple(mends))


def _again_at(step: Step, doublings: int = 0) -> float:
    settings = step.driving.settings
    wait_s = settings.scale.seconds(AGAIN_HOURS) * 2.0 ** min(doublings, MOST_DOUBLINGS)
    return time.time() + max(wait_s, AGAIN_LOOKS * settings.poll_s)


def _refused_before(step: Step, mend: Cluster) -> int:
    """How many launches for the gang were refused just before this one."""
    asked = [one for one in step.driving.store.clusters(job_id=step.job.id) if one.mends and one.token != mend.token]
    asked = [one for one in asked if one.attempt == mend.attempt and one.state != "intended"]
    asked.sort(key=lambda one: one.intended_at, reverse=True)
    return len([*takewhile(lambda one: one.state == "refused", asked)])


def _launch(step: Step, mend: Cluster) -> Outcome:
    again_at = _again_at(step)
    known = never_asked = step.never_asked(mend)
    try:
        cloud = step.driving.clouds[mend.cloud]
        request = request_of(step, mend, asked_before=not never_asked)
        step.driving.unasked.pop(mend.token, None)
        known, asked_at = True, time.time()
        instances = cloud.launch(request)
    except REFUSED as error:
        kind, kept = next(pair for kind_of, pair in REFUSALS.items() if isinstance(error, kind_of))
        own = error.own or isinstance(error, NotConnected)  # of which nothing can be concluded for others
        scope: Scope = getattr(error, "scope", "zone")
        return step.comes_to(
            cluster=replace(mend, state="refused", ended_at=time.time(), outcome=kind),
            launches=[request_for(mend, settled=kind)] if known and error.settled else (),  # else it stays owed
            observations=[taught(step, mend, error, kept, scope)] if not own else [],
            events=[Refused(attempt=mend.attempt, why=kind, message=str(error), **where(mend))],
            mend_at=_again_at(step, _refused_before(step, mend)),
            refused={**step.memory.refused, mend.market: time.time()},
        )
    except CloudError as error:  # what it made is found by the same call
        return step.comes_to(mend_at=again_at, events=[LaunchUnclear(message=str(error))])
    launched, told = as_launched(mend, instances, asked_at)
    refused = {market: at for market, at in step.memory.refused.items() if market != mend.market}
    return step.comes_to(cluster=launched, observations=[observation(mend, "launched")], refused=refused, events=[told])


# --- and joins -----------------------------------------------------------------------------------------------


def joined(step: Step, cluster: Cluster, request: Callable[[Sequence[str]], JobRequest]) -> Outcome | None:
    """Those that were launched for the gang as members of it, once they run and answer; None if there are none.

    Args:
        request: What the gang's agents are started with, made of the machines' addresses by rank.
    """
    knock_at = step.driving.knock_at
    coming = [mend for mend in _coming(step) if time.monotonic() >= knock_at.get(mend.token, 0.0)]
    if not coming or not _goes_on(step, cluster, []):
        return None
    told = step.comes_to(after_s=step.driving.settings.poll_s)
    for mend in coming:
        begun = time.monotonic()
        told = told.then(_joined(step.after(told), cluster, mend, request))
        took_s = time.monotonic() - begun
        if any(one.token == mend.token for one in _coming(step.after(told))):
            knock_at[mend.token] = begun + took_s / KNOCK_SHARE
        else:
            knock_at.pop(mend.token, None)
    return told


def _joined(step: Step, cluster: Cluster, mend: Cluster, request: Callable[[Sequence[str]], JobRequest]) -> Outcome:
    settings = step.driving.settings
    later = step.comes_to(after_s=settings.poll_s)
    try:
        (one,) = look(step, mend)
        if one.state in ("stopping", "gone") or time.time() - (mend.launched_at or 0.0) > settings.boot_timeout_s:
            return end(step, mend, "died")
        (address, *_) = (*addresses_of(step, mend, [one]), "")
        if one.state != "running" or not address:
            return replace(later, clusters=(while_pending(step, mend, [one]),))
        ids = list(members(step, cluster))
        rank = ids.index("") if "" in ids else len(ids)
        ids[rank : rank + 1] = [one.id]
        known = {each.id: each for each in step.driving.clouds[cluster.cloud].describe([name for name in ids if name])}
        ips = [(known[name].private_ip or known[name].ip or "") if name else "" for name in ids]
        (machine,) = machines_at(step, cluster, [address])
        alone = [machine if number == rank else None for number in range(len(ids))]
        about, executor = request(ips), step.driving.executors[cluster.cloud]
        there = (*step.memory.addresses, *[""] * (len(ids) - len(step.memory.addresses)))
        _introduce(step, executor, machines_at(step, cluster, there), about)
        executor.start(alone, about)
    except (LinkLost, HostKeyMismatch, MachineError, CloudError):
        let_in(step, mend)
        return later
    addresses, logs = list(step.memory.addresses), list(step.memory.kept_logs)
    addresses[rank : rank + 1] = [address]
    logs[rank:] = [0, *logs[rank + 1 :]]
    told = NodeJoined(attempt=cluster.attempt, rank=rank, ip=address)
    return step.comes_to(
        after_s=settings.poll_s, members=tuple(ids), addresses=tuple(addresses), log_offsets=tuple(logs), events=[told]
    )


def _introduce(step: Step, executor: Executor, others: Sequence[Machine | None], about: JobRequest) -> None:
    """Tell the gang's other machines of the new one. The command goes on without, but for who logs in there by rank."""
    try:
        if isinstance(executor, Introducing):
            executor.introduce(others, about)
    except (LinkLost, HostKeyMismatch, MachineError) as error:
        log.warning("%s: not all machines of the gang know the new one: %s", step.job.id, error)
