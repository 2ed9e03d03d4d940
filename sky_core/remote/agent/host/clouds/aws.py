"""What an EC2 instance is told by its metadata service (IMDSv2). To power off ends its bill: it terminates then.

Source: AWS "Spot Instance interruption notices", two minutes ahead.
"""

from __future__ import annotations

import calendar
import http.client
import json
import os
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime

POLL_S = 1.0
TIMEOUT_S = 5.0
TOKEN_S = 300
SAME_S = 2.0  # clocks that differ by no more are taken for the same


def notices() -> Iterator[float | None]:
    """When a spot instance will be interrupted."""
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/") + "/latest"
    while True:
        token, _ = _ask(f"{base}/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}, "PUT")
        until = time.monotonic() + TOKEN_S * 0.8
        while time.monotonic() < until:
            notice, ahead_s = _ask(f"{base}/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token})
            if notice:
                at = time.strptime(json.loads(notice)["time"], "%Y-%m-%dT%H:%M:%SZ")
                yield calendar.timegm(at) + ahead_s
            yield None
            time.sleep(POLL_S)


def _ask(url: str, headers: dict[str, str], method: str = "GET") -> tuple[str, float]:
    """The body of the answer, "" for 404, and how far our clock is ahead. No proxy leads to the machine's own address.

    Asked every second beside the job: :mod:`urllib.request` would cost it several times as much.
    """
    where = urllib.parse.urlsplit(url)
    with closing(http.client.HTTPConnection(where.netloc, timeout=TIMEOUT_S)) as connection:
        connection.request(method, where.path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    if answer.status not in (200, 404):
        raise ValueError(f"{url}: {answer.status} {answer.reason}")
    return text if answer.status == 200 else "", _ahead(answer.headers["Date"])


def _ahead(date: str | None) -> float:
    """Seconds that this machine's clock is ahead of the service's, which says its time in whole seconds."""
    ahead = time.time() - parsedate_to_datetime(date).timestamp() if date else 0.0
    return ahead if abs(ahead) > SAME_S else 0.0
