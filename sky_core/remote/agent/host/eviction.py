"""The cloud's word that it will take the machine back, from the metadata service. Blocking, one thread's work.

Sources: AWS "Spot Instance interruption notices" (IMDSv2, 2 minutes ahead), GCE "Preemptible VM instances"
(``instance/preempted``, 30 seconds), Azure "Scheduled Events" (``Preempt``, 30 seconds; ``Terminate``).
"""

from __future__ import annotations

import calendar
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime

POLL_S = 1.0
UNANSWERED_S = 10.0  # between looks at a service that does not answer
TIMEOUT_S = 5.0
GCE_WAIT_S = 60
GCE_NOTICE_S = 30.0
LINK_LOCAL = "http://169.254.169.254"

ANSWERLESS = (OSError, ValueError, KeyError)  # URLError and time-outs are OSErrors; odd answers are ValueErrors


def watch(cloud: str) -> float:
    """Block until the cloud announces the machine's end; return when that will be, seconds since the epoch."""
    looks: Mapping[str, Callable[[], Iterator[float | None]]] = {"aws": _aws, "gcp": _gcp, "azure": _azure}
    if cloud not in looks:
        while True:  # a machine of the user's own: nobody takes it back
            time.sleep(3600)
    while True:
        try:
            for at in looks[cloud]():
                if at is not None:
                    return at
        except ANSWERLESS:
            time.sleep(UNANSWERED_S)


def _aws() -> Iterator[float | None]:
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", LINK_LOCAL).rstrip("/")
    while True:
        token = _get(f"{base}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "300"}, "PUT")
        until = time.monotonic() + 240
        while time.monotonic() < until:
            notice = _get(f"{base}/latest/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token})
            if notice:
                at = time.strptime(json.loads(notice)["time"], "%Y-%m-%dT%H:%M:%SZ")
                yield float(calendar.timegm(at))
            yield None
            time.sleep(POLL_S)


def _gcp() -> Iterator[float | None]:
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    url, headers = f"http://{host}/computeMetadata/v1/instance/preempted", {"Metadata-Flavor": "Google"}
    query = ""  # the first look does not wait: the change may be over
    while True:
        if _get(url + query, headers, timeout_s=GCE_WAIT_S + TIMEOUT_S) == "TRUE":
            yield time.time() + GCE_NOTICE_S
        yield None
        query = f"?wait_for_change=true&timeout_sec={GCE_WAIT_S}"


def _azure() -> Iterator[float | None]:
    base = os.environ.get("AZURE_METADATA_ENDPOINT", LINK_LOCAL).rstrip("/")
    while True:
        # The first call switches the service on and may take up to two minutes.
        answer = _get(f"{base}/metadata/scheduledevents?api-version=2020-07-01", {"Metadata": "true"}, timeout_s=120)
        for event in json.loads(answer or '{"Events": []}')["Events"]:
            if event["EventType"] in ("Preempt", "Terminate"):
                yield parsedate_to_datetime(event["NotBefore"]).timestamp() if event["NotBefore"] else time.time()
        yield None
        time.sleep(POLL_S)


def _get(url: str, headers: Mapping[str, str], method: str = "GET", timeout_s: float = TIMEOUT_S) -> str:
    """The body of the answer, "" for 404. No proxy: the address is the machine's own."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers=dict(headers), method=method)  # noqa: S310 - always http
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return ""
        raise
