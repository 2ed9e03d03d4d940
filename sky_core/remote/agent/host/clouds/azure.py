"""What an Azure VM is told by its metadata service, and how it deletes itself.

To power off would leave the VM at its price: it deletes itself by the identity that it was given for that. Where that
may not, the VM is deallocated at least.

Sources: Azure "Scheduled Events" (``Preempt``, 30 seconds ahead; ``Terminate``),
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token and
https://learn.microsoft.com/azure/virtual-machines/states-billing.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

POLL_S = 1.0
TIMEOUT_S = 30.0
SAME_S = 2.0  # clocks that differ by no more are taken for the same
FIRST_S = 120.0  # the first call switches Scheduled Events on and may take up to two minutes
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities/switch"  # of the resource group, made for this
ARM_API = "2024-07-01"


def notices() -> Iterator[float | None]:
    """When a spot VM will be evicted, or a VM of a scale set deleted."""
    while True:
        answer, ahead_s = _asked("scheduledevents?api-version=2020-07-01", FIRST_S)
        for event in json.loads(answer or '{"Events": []}')["Events"]:
            if event["EventType"] in ("Preempt", "Terminate"):
                at = event["NotBefore"]
                yield parsedate_to_datetime(at).timestamp() + ahead_s if at else time.time()
        yield None
        time.sleep(POLL_S)


def end_bill() -> str:
    """Delete this VM with all that hangs on it, or deallocate it."""
    resource = json.loads(_told("instance?api-version=2021-02-01"))["compute"]["resourceId"]
    identity = resource.partition("/providers/")[0] + f"/providers/{IDENTITY}"
    asked = {"api-version": "2018-02-01", "resource": "https://management.azure.com/", "msi_res_id": identity}
    token = json.loads(_told(f"identity/oauth2/token?{urllib.parse.urlencode(asked)}"))["access_token"]
    machine = os.environ.get("ARM_ENDPOINT", "https://management.azure.com").rstrip("/") + resource
    try:
        _order("DELETE", f"{machine}?api-version={ARM_API}&forceDeletion=true", token)
        return "deleted"
    except urllib.error.HTTPError:
        _order("POST", f"{machine}/deallocate?api-version={ARM_API}", token)
        return "deallocated"


def _told(path: str) -> str:
    """What the metadata service says, "" for 404."""
    return _asked(path, TIMEOUT_S)[0]


def _asked(path: str, timeout_s: float) -> tuple[str, float]:
    """What it says, and how far our clock is ahead of its. It is the machine's own: no proxy leads there."""
    base = os.environ.get("AZURE_METADATA_ENDPOINT", "http://169.254.169.254").rstrip("/")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{base}/metadata/{path}", headers={"Metadata": "true"})  # noqa: S310 - http
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            text: str = answer.read().decode()
            return text, _ahead(answer.headers["Date"])
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return "", 0.0
        raise


def _ahead(date: str | None) -> float:
    """Seconds that this machine's clock is ahead of the service's, which says its time in whole seconds."""
    ahead = time.time() - parsedate_to_datetime(date).timestamp() if date else 0.0
    return ahead if abs(ahead) > SAME_S else 0.0


def _order(method: str, url: str, token: str) -> None:
    login, data = {"Authorization": f"Bearer {token}"}, b"" if method == "POST" else None
    request = urllib.request.Request(url, data, login, method=method)  # noqa: S310 - https
    urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310 - https
