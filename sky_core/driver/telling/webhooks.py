"""A POST to each address of ``[[webhooks]]`` when a job is preempted, late, held back by a limit, or over."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import tenacity

from sky_core.driver.telling.told import Listener, Told
from sky_core.events import Happening
from sky_core.webhooks import Topic, Webhook

log = logging.getLogger(__name__)

TOPICS: Mapping[str, Topic] = {
    "preempted": "preempted",
    "deadline in danger": "late",
    "objective missed": "late",
    "limit": "over budget",
    "succeeded": "finished",
    "failed": "finished",
    "cancelled": "finished",
}
"""By the kind of event."""

TRIES, LONGEST_WAIT_S, TIMEOUT_S = 4, 20.0, 10.0
SIGNATURE = "X-Skyloom-Signature"


def caller(hooks: Sequence[Webhook]) -> Listener | None:
    """What calls them; None if there are none."""
    if not hooks:
        return None

    def call(told: Told) -> None:
        for topic, body in bodies(told):
            for hook in hooks:
                if topic in hook.events:
                    _call(hook, body)

    return call


def bodies(told: Told) -> Iterator[tuple[Topic, bytes]]:
    """What is posted, JSON, for each event that somebody may want to know of."""
    for event in told.events:
        topic = TOPICS.get(event.kind)
        if topic is not None:
            yield topic, json.dumps(_body(told, event, topic)).encode()


def _body(told: Told, event: Happening, topic: Topic) -> Mapping[str, object]:
    return {
        "version": 1,
        "topic": topic,
        "event": event.kind,
        "at": datetime.fromtimestamp(told.at, UTC).isoformat(),
        "text": f"{told.job.task} of {told.job.plan_key}: {event.words()}",
        "job": {"id": told.job.id, "run": told.job.plan_key, "task": told.job.task},
    }


def _call(hook: Webhook, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "User-Agent": "skyloom"}
    if hook.secret is not None:
        mark = hmac.new(hook.secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()
        headers[SIGNATURE] = f"sha256={mark}"
    request = urllib.request.Request(hook.url, body, headers, method="POST")  # noqa: S310 - the settings take http(s)
    trying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(TRIES),
        wait=tenacity.wait_random_exponential(0.5, LONGEST_WAIT_S),
        retry=tenacity.retry_if_exception(_passes),
        reraise=True,
    )
    try:
        trying(_post, request)
    except (OSError, ValueError) as error:
        log.warning("webhook of %s: not called: %s", request.host, error)


def _post(request: urllib.request.Request) -> None:
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        answer.read(1)


def _passes(error: BaseException) -> bool:
    """Whether another try may help: not if the address says that what we sent is wrong."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    return isinstance(error, OSError)
