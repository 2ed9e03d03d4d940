"""What an EC2 instance is told by its metadata service (IMDSv2). To power off ends its bill: it terminates then.

Source: AWS "Spot Instance interruption notices", two minutes ahead.
"""

from __future__ import annotations

import calendar
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

POLL_S = 1.0
TIMEOUT_S = 5.0
TOKEN_S = 300


def notices() -> Iterator[float | None]:
    """When a spot instance will be interrupted."""
    base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254").rstrip("/") + "/latest"
    while True:
        token = _ask(f"{base}/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}, "PUT")
        until = time.monotonic() + TOKEN_S * 0.8
        while time.monotonic() < until:
            notice = _ask(f"{base}/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": token})
            if notice:
                at = time.strptime(json.loads(notice)["time"], "%Y-%m-%dT%H:%M:%SZ")
                yield float(calendar.timegm(at))
            yield None
            time.sleep(POLL_S)


def _ask(url: str, headers: dict[str, str], method: str = "GET") -> str:
    """The body of the answer, "" for 404. No proxy leads to the machine's own address."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - always http
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            text: str = answer.read().decode()
            return text
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return ""
        raise
