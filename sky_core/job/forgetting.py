"""What jobs brought along (packed folders, pickled calls) and nobody needs any more, some time after their end."""

from __future__ import annotations

import json
import time

from sky_core.job.needs import Needs
from sky_core.store import TERMINAL, Job, Store

DAY_S = 24 * 3600.0


def forget(store: Store, days: float) -> int:
    """Take out of the store what was not handed in for so many days, and no job needs that was live since; how many
    pieces went. Values that functions returned stay, and so does all that people read. 0 days is never.
    """
    before = time.time() - days * DAY_S
    stale = store.payloads_before(before) if days else set()
    if stale:
        for job in store.jobs(limit=1_000_000):
            stale -= _kept(job, before)
    return store.forget_payloads(stale, before) if stale else 0


def _kept(job: Job, before: float) -> set[str]:
    """The payloads that a job still has a use for: its value always, the rest until it has been over since then."""
    kept = {str(job.result["value"])} if job.result.get("value") else set()
    if job.state in TERMINAL and job.updated_at < before:
        return kept
    needs, call = Needs.of(job), json.loads(job.spec).get("function")
    parcels = [needs.workdir, needs.files, needs.environment] if needs else []
    return kept | {str(call)} | {piece for parcel in parcels if parcel for piece in parcel.pieces}
