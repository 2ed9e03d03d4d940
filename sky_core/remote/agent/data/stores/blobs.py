"""Deleting by a signature of a folder of Azure's: blob by blob.

obstore deletes by Azure's batch only, which is a request to the container and beyond such a signature:
https://learn.microsoft.com/rest/api/storageservices/blob-batch and
https://learn.microsoft.com/rest/api/storageservices/delete-blob.
"""

from __future__ import annotations

import http
import urllib.error
import urllib.request
from urllib.parse import quote

from .base import Place

API = "2023-11-03"
WAIT_S = 60


class Refused(Exception):
    """The store's answer: status code and body."""


def signed_for_folder(place: Place) -> bool:
    """Whether what opens a place is a signature of a folder."""
    return "sr=d" in str(place.options.get("sas_token", "")).lstrip("?").split("&")


def delete_blob(place: Place, key: str) -> None:
    """Delete a blob; one that is not there is no mistake.

    Raises:
        Refused: if the store does not let us.
        OSError: if it cannot be reached, or is out of order.
    """
    told = place.options
    host = str(told.get("endpoint") or f"https://{told['account_name']}.blob.core.windows.net").rstrip("/")
    url = f"{host}/{place.bucket}/{quote(key)}?{str(told['sas_token']).lstrip('?')}"
    request = urllib.request.Request(url, method="DELETE", headers={"x-ms-version": API})  # noqa: S310 - https, or told
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S):  # noqa: S310
            pass
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.NOT_FOUND:
            return
        said = f"status code: {error.code} {error.reason}: {error.read().decode(errors='replace')}"
        if error.code in (http.HTTPStatus.FORBIDDEN, http.HTTPStatus.UNAUTHORIZED):
            raise Refused(said) from None
        raise ConnectionError(said) from None
