"""What a Compute Engine VM or a TPU VM is told by its metadata server, and how it deletes itself.

To power off would leave a VM's disk and all of a TPU node's price: both are deleted with the token that the metadata
server gives to the machine's own account. A VM that has none powers off, and the disk waits for who sweeps.

Sources: GCE "Preemptible VM instances" (``instance/preempted``, 30 seconds ahead),
https://cloud.google.com/compute/docs/access/authenticate-workloads#applications.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

WAIT_S = 60
NOTICE_S = 30.0
TIMEOUT_S = 30.0
NODE = "skyloom-node"  # metadata of a TPU VM, or of one of Dataproc: the name of the node or cluster that it belongs to
TOLD = {"Metadata-Flavor": "Google"}
ENDPOINTS = {
    "TPU": "https://tpu.googleapis.com/v2",
    "COMPUTE": "https://compute.googleapis.com/compute/v1",
    "DATAPROC": "https://dataproc.googleapis.com/v1",
}


def notices() -> Iterator[float | None]:
    """When a spot VM will be stopped."""
    query = ""  # the first look does not wait: the change may be over
    while True:
        if _told(f"instance/preempted{query}") == "TRUE":
            yield time.time() + NOTICE_S
        yield None
        query = f"?wait_for_change=true&timeout_sec={WAIT_S}"


def end_bill() -> str:
    """Delete this machine: the TPU node or the cluster that it belongs to, or the VM."""
    token = json.loads(_told("instance/service-accounts/default/token"))["access_token"]
    try:
        path = _told(f"instance/attributes/{NODE}")
        api = "DATAPROC" if "/clusters/" in path else "TPU"
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        zone = _told("instance/zone").rpartition("/")[2]
        path = f"projects/{_told('project/project-id')}/zones/{zone}/instances/{_told('instance/name')}"
        api = "COMPUTE"
    endpoint = os.environ.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}", ENDPOINTS[api]).rstrip("/")  # as gcloud has it
    login = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{endpoint}/{path}", headers=login, method="DELETE")  # noqa: S310 - https
    urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310 - https
    return "deleted"


def _told(path: str) -> str:
    """What the metadata server says. It is the machine's own: no proxy leads there."""
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://{host}/computeMetadata/v1/{path}"
    with opener.open(urllib.request.Request(url, headers=TOLD), timeout=WAIT_S + TIMEOUT_S) as answer:
        text: str = answer.read().decode()
        return text
