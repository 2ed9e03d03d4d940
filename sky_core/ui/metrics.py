"""``/metrics``: the store in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from sky_core.overview.glance import Glance, look
from sky_core.ui.answers import Answer, Asked

Labels = tuple[tuple[str, str], ...]
KIND = "text/plain; version=0.0.4"


def metrics(asked: Asked) -> Answer:
    """Jobs by state, machines and money by cloud, market and whether they are kept, and events by kind."""
    seen = look(asked.store, asked.settings.scale)
    states: dict[Labels, float] = {(("state", state),): count for state, count in seen.states.items()}
    lines = [*_family("skyloom_jobs", "gauge", "Jobs in each state.", states)]
    machines, usd = _machines(seen)
    lines += _family("skyloom_machines", "gauge", "Machines that live jobs have or ask for, and kept ones.", machines)
    lines += _family("skyloom_usd_per_hour", "gauge", "What those machines cost, USD per hour.", usd)
    today: dict[Labels, float] = {(): seen.usd_today}
    lines += _family("skyloom_usd_today", "gauge", "Spent since midnight UTC, machines and egress, USD.", today)
    events: dict[Labels, float] = {
        (("kind", kind),): count for kind, count in sorted(asked.store.count_events().items())
    }
    lines += _family("skyloom_events_total", "counter", "What has happened to jobs, by kind.", events)
    return Answer("\n".join(lines) + "\n", KIND)


def _machines(seen: Glance) -> tuple[Mapping[Labels, float], Mapping[Labels, float]]:
    """How many, and USD per hour, by cloud, market and state: of a live job, or kept for the next one."""
    count: Counter[Labels] = Counter()
    usd: dict[Labels, float] = {}
    live = [("live", one) for row in seen.live for one in row.spent.clusters if one.open]
    for state, one in [*live, *(("kept", one) for one in seen.kept)]:
        labels = (("cloud", one.cloud), ("market", one.market), ("state", state))
        count[labels] += one.num_nodes
        usd[labels] = usd.get(labels, 0.0) + one.usd_per_hour(seen.at)
    return dict(count), usd


def _family(name: str, kind: str, about: str, values: Mapping[Labels, float]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values.items():
        inside = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels)
        yield f"{name}{{{inside}}} {value:.10g}" if inside else f"{name} {value:.10g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
