"""A job's events in plain words, the same in every log: CLI, Airflow, Prefect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sky_core.store import Event, EventKind

Data = Mapping[str, Any]


def _place(data: Data) -> str:
    market = "spot" if data["use_spot"] else "on-demand"
    return f"{data['cloud']}/{data['zone'] or data['region']} {data['instance_type']} ({market})"


def _restored(data: Data) -> str:
    egress = f", egress ${data['usd']:.4f}" if data.get("usd") else ""
    return f"checkpoint generation {data['generation']} restored ({data['bytes']:,} bytes{egress})"


def _moved(data: Data) -> str:
    return (
        f"input {data['input']}: {data['bytes']:,} bytes from {data['from']} to {data['to']}, egress ${data['usd']:.4f}"
    )


def _replanned(data: Data) -> str:
    change = data["plan_usd"] - data["plan_usd_before"]
    return f"replanned because of {data['why']}: {data['from']} -> {data['to']} (whole plan {change:+.2f} $)"


def _weighed(data: Data) -> str:
    others = sorted((usd, what) for what, usd in data["usd"].items() if what != data["chosen"])
    instead = f"; instead {others[0][1]} for ${others[0][0]:.2f}" if others else ""
    usd = f" for ${data['usd'][data['chosen']]:.2f}" if data["chosen"] in data["usd"] else ""
    return f"{data['chosen']}{usd} expected from here to the end{instead}"


WORDS: Mapping[EventKind, Callable[[Data], str]] = {
    "submitted": lambda d: f"submitted under plan {d['plan']}",
    "launching": lambda d: f"attempt {d['attempt']}: launching {d['machine']}",
    "launched": lambda d: (
        f"attempt {d['attempt']}: {_place(d)} accepted the launch ({', '.join(d['instances'])})"
        + ("; should all of us die, only a sweep ends it: skyloom gc" if d.get("armed") == "none" else "")
    ),
    "refused": lambda d: f"attempt {d['attempt']}: {_place(d)} refused ({d['why']}): {d['message']}",
    "launch unclear": lambda d: f"launch call without a clear outcome, asking again: {d['message']}",
    "gave up": lambda d: f"{_place(d)} given up: {d['message']}",
    "replanned": _replanned,
    "limit": lambda d: f"held back by a limit: {d['why']}",
    "queued": lambda d: f"waiting for a free machine: {d['why']}",
    "placed apart": lambda d: (
        f"placed by itself on {d['to']} because of {d['why']} (the plan has {d['from'] or 'no such task'})"
    ),
    "objective missed": lambda d: (
        f"the plan's limits cannot be kept any more, going on as fast as possible: {d['error']}"
    ),
    "key missing": lambda d: (
        f"left alone by the driver on {d['host']}: the job needs the team key {d['needs']}, and that one has {d['has']}"
    ),
    "cloud missing": lambda d: (
        f"left alone by the driver on {d['host']}, from where {', '.join(d['clouds'])} cannot be used: waiting for a"
        " driver on a host that has the credentials (skyloom check)"
    ),
    "exhausted": lambda d: f"nothing left to try: {d['error']}",
    "started": lambda d: f"attempt {d['attempt']}: agent started on {', '.join(d['ips'])}",
    "phase": lambda d: f"attempt {d['attempt']}: {d['phase']}",
    "moved": _moved,
    "restored": _restored,
    "promised": lambda d: (
        f"promised within {d['hours']:.2f} h: {d['work']:.2f} h of work (run time: {d['source']}), led by a spot policy"
    ),
    "weighed": _weighed,
    "waiting": lambda d: f"waiting for spot in {', '.join(d['zones'])}: there is time",
    "unsaved": lambda d: f"attempt {d['attempt']}: no checkpoint was written for {d['hours']:.2f} h of work",
    "leaving": lambda d: f"attempt {d['attempt']}: stopping with a checkpoint, to wait for spot: there is time",
    "left": lambda d: f"attempt {d['attempt']}: stopped at checkpoint generation {d['checkpoint']}",
    "too slow": lambda d: f"attempt {d['attempt']}: not running yet with {d['hours_left']:.2f} h left, given up",
    "deadline in danger": lambda d: (
        f"{d['hours_left']:.2f} h to the deadline and {d['hours_needed']:.2f} h needed: going on as fast as can be"
    ),
    "eviction notice": lambda d: f"attempt {d['attempt']}: the cloud announces that it takes the machine back",
    "preempted": lambda d: f"attempt {d['attempt']}: preempted {d.get('reason') or ''}".rstrip(),
    "died": lambda d: f"attempt {d['attempt']}: a machine is gone ({d['reason']})",
    "lost": lambda d: f"attempt {d['attempt']}: the job is no longer on its machine: {d['detail']}",
    "unreachable": lambda d: f"machines given up after {d['seconds']:.0f} s: {d['why']}",
    "network out": lambda d: f"neither the machine nor anything else answers; nothing is ended for it: {d['why']}",
    "network back": lambda d: "the machine answers again",
    "found ended": lambda d: f"attempt {d['attempt']}: had ended before its machine did, exit code {d['exit_code']}",
    "verdict unreadable": lambda d: f"what the attempt left in its bucket cannot be believed: {d['error']}",
    "bucket not asked": lambda d: f"the bucket cannot be asked whether the job is done, going on: {d['error']}",
    "launch failed": lambda d: (
        f"attempt {d['attempt']}: {_place(d)} took the launch and failed it ({d['why']}): {d['message']}"
    ),
    "bucket refused": lambda d: f"attempt {d['attempt']}: {_place(d)} gives us no bucket ({d['why']}): {d['message']}",
    "recovering": lambda d: f"recovering after: {d['after']}",
    "terminated": lambda d: f"attempt {d['attempt']}: machines terminated ({d['outcome']})",
    "terminate failed": lambda d: f"terminating failed, trying again: {d['error']}",
    "stray ended": lambda d: f"ended what a launch of unknown outcome had left: {', '.join(d['instances'])}",
    "cancel requested": lambda d: f"cancel requested: {d['reason']}",
    "unwanted": lambda d: (
        f"nobody has waited for it for {d['silent_s'] / 60:.0f} min"
        + ("" if d["ends_in_s"] is None else f"; if nobody does, it is ended in {d['ends_in_s'] / 3600:.1f} h")
    ),
    "dismissed": lambda d: f"not wanted any more: {d['why']}",
    "step failed": lambda d: f"unexpected {d['type']}, trying again: {d['error']}",
    "succeeded": lambda d: "succeeded",
    "failed": lambda d: f"failed: {d.get('error')}",
    "cancelled": lambda d: "cancelled; its machines are gone",
}


def describe(event: Event) -> str:
    """One line for an event, without time and task."""
    words = WORDS.get(event.kind)
    return words(event.data) if words else f"{event.kind} {dict(event.data)}"
