"""A job's life as an OpenTelemetry trace: plan, launch, boot, setup, run, publish, of each of its attempts.

Sent when the job is over, by the exporter that OpenTelemetry's own variables ask for
(``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``). All jobs of a run are in one trace.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sky_core.driver.telling.told import Listener, Told
from sky_core.events import Kept, Launched, Launching, Over, Phase, Started, Taken, Terminated
from sky_core.store import Event, Job, Store

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter


log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
NAMES = {"running": "run", "outputs": "publish", "done": "end"}  # of phases, where the agent's word is another
NANO = 1_000_000_000


@dataclass(frozen=True)
class Stretch:
    """Something that took a while; times in seconds since the epoch."""

    name: str
    begin: float
    end: float
    attributes: Mapping[str, str | int] = field(default_factory=dict)


def stretches(events: Iterable[Event]) -> list[Stretch]:
    """The parts of a job's life, one after the other, from its events in their order."""
    found: list[Stretch] = []
    name, since, attempt, where = "plan", None, 0, ""
    for event in events:
        what = event.what
        since = event.at if since is None else since
        following: str | None
        if isinstance(what, Launching):
            following = "launch"
        elif isinstance(what, Launched | Taken):
            following = "boot"
        elif isinstance(what, Started):
            following = "start"
        elif isinstance(what, Phase):
            following = NAMES.get(what.phase, what.phase)
        elif isinstance(what, Terminated | Kept):
            following = "plan"  # of the next attempt, if there is one
        elif isinstance(what, Over):
            following = None
        else:
            continue
        if event.at > since:
            more: dict[str, str | int] = {"skyloom.attempt": attempt} if attempt else {}
            found.append(Stretch(name, since, event.at, more | ({"skyloom.place": where} if where else {})))
        if following is None:
            break
        if isinstance(what, Launching):
            attempt, where = what.attempt, what.place
        elif isinstance(what, Taken):
            attempt, where = what.attempt, what.machine
        name, since = following, event.at
    return found


def tracer(store: Store, environ: Mapping[str, str] = os.environ) -> Listener | None:
    """What sends a trace of each job that ends; None if nobody asks for that, or the packages are missing."""
    if not any(environ.get(name) for name in ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        log.warning("no traces: OpenTelemetry is not installed (pip install 'skyloom[traces]')")
        return None
    return traced(store, OTLPSpanExporter())


def traced(store: Store, exporter: SpanExporter) -> Listener:
    """What hands the trace of each job that ends to an exporter."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "skyloom"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))

    def tell(told: Told) -> None:
        if any(isinstance(event, Over) for event in told.events):
            _emit(provider, told.job, store.events(told.job.id))
            provider.force_flush(10_000)

    return tell


def _emit(provider: object, job: Job, events: Sequence[Event]) -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags

    assert isinstance(provider, TracerProvider)
    found = stretches(events)
    if not found:
        return
    digest = hashlib.sha256(job.plan_key.encode()).digest()
    run = SpanContext(int.from_bytes(digest[:16]), int.from_bytes(digest[16:24]), is_remote=True,
                      trace_flags=TraceFlags(TraceFlags.SAMPLED))  # fmt: skip
    tracing = provider.get_tracer("skyloom")
    state = events[-1].kind
    names = {"skyloom.job": job.id, "skyloom.run": job.plan_key, "skyloom.task": job.task, "skyloom.state": state}
    whole = tracing.start_span(
        job.task, trace.set_span_in_context(NonRecordingSpan(run)), start_time=int(found[0].begin * NANO),
        attributes=names,
    )  # fmt: skip
    if state != "succeeded":
        whole.set_status(StatusCode.ERROR, state)
    inside = trace.set_span_in_context(whole)
    for one in found:
        part = tracing.start_span(one.name, inside, start_time=int(one.begin * NANO), attributes=dict(one.attributes))
        part.end(int(one.end * NANO))
    whole.end(int(found[-1].end * NANO))
