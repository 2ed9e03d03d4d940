"""The service accounts of a project's machines, and what their tokens open.

A token's scopes are a first limit, the account's roles a second:
https://cloud.google.com/compute/docs/access/service-accounts#service_account_permissions.
"""

from __future__ import annotations

MACHINE = "machine "  # how the tokens of machines' own accounts begin; the account and its scopes follow
DEFAULT = "default"  # Compute Engine's own account: an editor of the project, as in many
TPUS = "tpus"  # one that has been made for TPU VMs
ROLES = {TPUS: frozenset({"tpu.nodes.delete"})}  # of whom no role is known, everything


def email(name: str, project: str) -> str:
    """An account's full name."""
    return f"{name}@{project}.iam.gserviceaccount.com"


def token(account: str, scopes: str) -> str:
    """What the metadata server gives: ``account`` is an email, or nothing for the default one."""
    return f"{MACHINE}{account.partition('@')[0] or DEFAULT} {scopes}"


def scoped(given: str, *scopes: str) -> bool:
    """Whether a machine's token has one of the scopes, or all."""
    return any(scope in given for scope in ("cloud-platform", *scopes))


def denied(given: str, right: str) -> bool:
    """Whether the account of a machine's token has no role that includes a permission."""
    account = given.removeprefix(MACHINE).partition(" ")[0]
    return account in ROLES and right not in ROLES[account]
