"""Ends this machine's bill from inside. One file that runs alone, too: ``python3 halting.py gcp``.

To power off is enough on EC2, where it terminates the instance if its shutdown behaviour says so. A Compute Engine
VM would keep its disk, an Azure VM its price and a TPU node all of it: these delete themselves, with the token that
the metadata service gives to the machine's own account. Where that account may not, Azure is asked to deallocate at
least, and then the machine powers off.

Sources: https://cloud.google.com/compute/docs/access/authenticate-workloads#applications,
https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token and
https://learn.microsoft.com/azure/virtual-machines/states-billing.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

TIMEOUT_S = 30.0
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities/switch"  # of the resource group, made for this
ARM_API = "2024-07-01"
NODE = "skyloom-node"  # metadata of a TPU VM: the resource name of the node that it belongs to


def end_bill(cloud: str) -> str:
    """Ask the cloud to end this machine, else power it off; returns what was done. The end may come at once."""
    try:
        if cloud == "gcp":
            return _delete_on_google()
        if cloud == "azure":
            return _delete_on_azure()
    except (OSError, ValueError, KeyError) as error:  # URLError is an OSError; odd answers are the others
        return f"{power_off()}, since {cloud} said: {error}"
    return power_off()


def power_off() -> str:
    """Shut down."""
    command = ["shutdown", "-h", "now"]
    subprocess.call(command if os.getuid() == 0 else ["sudo", "-n", *command], stdin=subprocess.DEVNULL)
    return "powered off"


def _delete_on_google() -> str:
    base = f"http://{os.environ.get('GCE_METADATA_HOST', 'metadata.google.internal')}/computeMetadata/v1"
    told = {"Metadata-Flavor": "Google"}
    token = json.loads(_call(f"{base}/instance/service-accounts/default/token", told))["access_token"]
    try:
        path, api = _call(f"{base}/instance/attributes/{NODE}", told), "TPU"
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        zone = _call(f"{base}/instance/zone", told).rpartition("/")[2]
        name, project = _call(f"{base}/instance/name", told), _call(f"{base}/project/project-id", told)
        path, api = f"projects/{project}/zones/{zone}/instances/{name}", "COMPUTE"
    default = {"TPU": "https://tpu.googleapis.com/v2", "COMPUTE": "https://compute.googleapis.com/compute/v1"}[api]
    endpoint = os.environ.get(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}", default).rstrip("/")  # as gcloud has it
    _call(f"{endpoint}/{path}", {"Authorization": f"Bearer {token}"}, "DELETE", proxy=True)
    return "deleted"


def _delete_on_azure() -> str:
    base = os.environ.get("AZURE_METADATA_ENDPOINT", "http://169.254.169.254").rstrip("/") + "/metadata"
    told = {"Metadata": "true"}
    compute: dict[str, Any] = json.loads(_call(f"{base}/instance?api-version=2021-02-01", told))["compute"]
    identity = compute["resourceId"].partition("/providers/")[0] + f"/providers/{IDENTITY}"
    asked = {"api-version": "2018-02-01", "resource": "https://management.azure.com/", "msi_res_id": identity}
    answer = json.loads(_call(f"{base}/identity/oauth2/token?{urllib.parse.urlencode(asked)}", told))
    login = {"Authorization": f"Bearer {answer['access_token']}"}
    machine = os.environ.get("ARM_ENDPOINT", "https://management.azure.com").rstrip("/") + compute["resourceId"]
    try:
        _call(f"{machine}?api-version={ARM_API}&forceDeletion=true", login, "DELETE", proxy=True)
        return "deleted"
    except urllib.error.HTTPError:
        _call(f"{machine}/deallocate?api-version={ARM_API}", login, "POST", proxy=True)
        return "deallocated"


def _call(url: str, headers: dict[str, str], method: str = "GET", proxy: bool = False) -> str:
    """The body of the answer. The metadata service is the machine's own: no proxy leads there."""
    handlers = [] if proxy else [urllib.request.ProxyHandler({})]
    data: bytes | None = b"" if method == "POST" else None
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - http or https
    with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as answer:
        text: str = answer.read().decode()
        return text


if __name__ == "__main__":
    print(end_bill(sys.argv[1]))
