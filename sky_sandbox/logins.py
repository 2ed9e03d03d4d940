"""What the emulated clouds have lent: sessions and tokens that end, and what each may do to the object stores.

The account's own keys may do everything; they are no business of this module.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import json
import math
import re
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

EVERYTHING = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
Verdict = Literal["yes", "no", "expired", "unknown"]
# One test of a boundary's expression: of an object's name, or of the prefix of a list; that it begins so, or is equal.
TEST = re.compile(
    r"(?P<what>resource\.name|api\.getAttribute\('storage\.googleapis\.com/objectListPrefix', ''\))"
    r"(?:\.startsWith\((?P<begins>\"[^\"]*\")\)| == (?P<equals>\"[^\"]*\"))"
)
SIGNED = ("sp", "st", "se", "canonical", "si", "sip", "spr", "sv", "sr", "snapshot", "ses",
          "rscc", "rscd", "rsce", "rscl", "rsct")  # fmt: skip


@dataclass(frozen=True)
class Login:
    """One that was lent. ``rules`` are a session policy's statements (AWS) or a boundary's rules (Google).

    ``who`` is what the cloud calls whoever uses it.
    """

    secret: str
    rules: tuple[Mapping[str, Any], ...]
    ends_at: float
    who: str = ""

    @property
    def own(self) -> bool:
        """Whether it is that of whoever drives, who may do whatever the account lets them."""
        return self.rules == tuple(EVERYTHING)


STATIC = Login("", tuple(EVERYTHING), math.inf)


class Logins:
    """All that were lent. Thread-safe: entries are never changed.

    Attributes:
        life_s: They end after so many seconds at most, whatever was asked for; None leaves that to the request.
        static: Whether whoever drives may also come with a token that was never lent, and never ends.
    """

    def __init__(
        self,
        life_s: float | None = None,
        clock: Callable[[], float] = time.time,
        static: Callable[[], bool] = lambda: True,
    ) -> None:
        self.life_s, self.clock, self.static = life_s, clock, static
        self._known: dict[str, Login] = {}

    def lend(self, prefix: str, rules: list[dict[str, Any]], seconds: float, who: str = "") -> tuple[str, Login]:
        """A new one; its public name begins with ``prefix``."""
        name = prefix + secrets.token_hex(10).upper()
        ends = self.clock() + min(seconds, self.life_s or seconds)
        login = self._known[name] = Login(secrets.token_urlsafe(30), tuple(rules), ends, who)
        return name, login

    def find(self, name: str) -> Login | Verdict:
        """The login of that name if it holds."""
        login = self._known.get(name)
        if login is None:
            return "unknown"
        return login if login.ends_at > self.clock() else "expired"

    def bearer(self, token: str, prefix: str) -> Login | Verdict:
        """The login that a bearer token stands for; those that were lent begin with ``prefix``."""
        if token.startswith(prefix):
            return self.find(token)
        return STATIC if token and self.static() else "unknown"

    def ends_at(self, name: str) -> float:
        """When the login of that name ends, or has ended."""
        return self._known[name].ends_at


def allows_s3(login: Login, action: str, resource: str, prefix: str | None = None) -> bool:
    """Whether a session policy allows an action; all its statements allow, as far as their conditions go.

    ``prefix`` is what a list asks for; None for a request that has no such key.
    """
    for statement in login.rules:
        condition = statement.get("Condition", {})
        patterns = condition.get("StringLike", {}).get("s3:prefix")
        fits = patterns is None or (prefix is not None and _like(prefix, patterns))
        perhaps = condition.get("StringLikeIfExists", {}).get("s3:prefix")
        fits = fits and (perhaps is None or prefix is None or _like(prefix, perhaps))
        if fits and _like(action, _many(statement["Action"])) and _like(resource, _many(statement["Resource"])):
            return True
    return False


def _many(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _like(text: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern.replace("[", "[[]")) for pattern in patterns)


def allows_gcs(login: Login, bucket: str, *, write: bool, name: str | None = None, prefix: str | None = None) -> bool:
    """Whether an access boundary allows to read or write an object, or to list a prefix of a bucket."""
    for rule in login.rules:
        if rule["availableResource"].rpartition("/")[2] != bucket:
            continue
        if write and "inRole:roles/storage.objectAdmin" not in rule["availablePermissions"]:
            continue
        expression = rule.get("availabilityCondition", {}).get("expression")
        if expression is None:
            return True
        if name is not None and _holds("resource.name", f"projects/_/buckets/{bucket}/objects/{name}", expression):
            return True
        if prefix is not None and _holds("api.getAttribute", prefix, expression):
            return True
    return False


def _holds(what: str, value: str, expression: str) -> bool:
    """Whether one of the expression's tests of ``what`` is passed."""
    for test in TEST.finditer(expression):
        begins, equals = (json.loads(told) if (told := test[part]) else None for part in ("begins", "equals"))
        if test["what"].startswith(what) and (value == equals or (begins is not None and value.startswith(begins))):
            return True
    return False


def signature_holds(query: Mapping[str, str], container: str, key: str, right: str, name: str) -> Verdict:
    """Whether a container's or a folder's shared access signature is the account's, has not ended and allows this.

    https://learn.microsoft.com/rest/api/storageservices/create-service-sas

    Args:
        container: ``account/container``.
        right: The letter of what is to be done.
        name: The blob's; empty for a listing, which is about what its prefix names.
    """
    signed = f"/blob/{container}"
    if query.get("sr") == "d":
        folders = (name or query.get("prefix", "")).split("/")[:-1]
        depth = int(query.get("sdd", "0"))
        if len(folders) < depth or (not name and right != "l"):
            return "unknown"  # "Signed Directory Depth Invalid"
        signed = "/".join([signed, *folders[:depth]])
    fields = {**query, "canonical": signed}
    text = "\n".join(fields.get(field, "") for field in SIGNED)
    meant = base64.b64encode(hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()).decode()
    if not hmac.compare_digest(meant, query["sig"]):
        return "unknown"
    if time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) >= query["se"]:
        return "expired"
    return "yes" if right in query.get("sp", "") else "no"
