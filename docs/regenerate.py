"""Write the plans, and the fields of the plan document, that README.md and docs/ show; no figure there is typed. And
write docs/schemas/, the JSON Schemas of what --json prints.

    python docs/regenerate.py            # rewrite what stands between the markers
    python docs/regenerate.py --check    # only say which files are stale

A marker is a comment ``<!-- plan FILE -->``, ``<!-- plan FILE as json -->``, ``<!-- fields of plan -->``,
``<!-- permissions CLOUD -->`` or ``<!-- measured NAME -->`` (what docs/measure.py has kept of a benchmark); what is
between it and the next ``<!-- end -->`` is made here. Plans are made over the
embedded catalog with all three clouds usable and the defaults that somebody has who has set none, but for what hangs on
the day (the floor under old prices, the remarks on these and on machines that retire), so that they are the same on
every machine and every day.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sky_core.catalog import Catalog
from sky_core.clouds.needs import Need
from sky_core.config import Defaults
from sky_core.job.cost.document import CostDocument
from sky_core.overview.documents import ArtifactsDocument, ClustersDocument, JobsDocument, TopDocument
from sky_core.planner.plan import Plan
from sky_core.planner.planning import Market, make_plan
from sky_core.planner.view.document import PlanDocument
from sky_core.planner.view.table import plan_text
from sky_core.spec_yaml import load_pipeline

DOCUMENTS: dict[str, type[BaseModel]] = {
    "plan": PlanDocument, "cost": CostDocument, "jobs": JobsDocument, "top": TopDocument, "clusters": ClustersDocument,
    "artifacts": ArtifactsDocument,
}  # fmt: skip
ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"(<!-- (?P<what>plan [^>]*?|fields of plan|permissions \w+|measured [\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL
)
WIDTH = 100
WHEN = {"always": "always", "optional": "", "user": "as an IAM user", "role": "as a role", "identity": "if that is set"}
MADE_AT = 1767225600.0  # the beginning of 2026: when a plan was made is no part of what it says


@cache
def plan(file: str) -> Plan:
    """The plan of an example, with all that can be said of it."""
    market = Market(Catalog.embedded().with_defaults(Defaults()), ("aws", "azure", "gcp"))
    made = make_plan(load_pipeline(ROOT / file), market, explain=True, trade=True)
    return made.model_copy(update={"created_at": MADE_AT, "begun_at": MADE_AT, "remarks": ()})


def fields() -> str:
    """A table of the document's fields, from its schema; parts of parts by a section each."""
    schema = PlanDocument.model_json_schema(mode="serialization")
    parts = [_table("plan", schema)]
    parts += [_table(name, part) for name, part in schema["$defs"].items() if name not in ("Objective",)]
    return "\n".join(parts)


def _table(name: str, schema: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| `{field}` | {_kind(about)} | {_said(about)} |" for field, about in schema["properties"].items()
    )
    about = " ".join(schema.get("description", "").split())
    return f"**{name}**: {about}\n\n| field | type | meaning |\n|---|---|---|\n{rows}\n"


def _kind(about: dict[str, Any]) -> str:
    if "$ref" in about:
        return str(about["$ref"]).rpartition("/")[2]
    if "anyOf" in about:
        return " or ".join(_kind(one) for one in about["anyOf"])
    if "const" in about or "enum" in about:
        return " or ".join(f"`{value}`" for value in about.get("enum", [about.get("const")]))
    if about.get("type") == "array":
        return f"list of {_kind(about['items'])}" if "items" in about else "pair of number"
    if about.get("type") == "object":
        return f"{_kind(about['additionalProperties'])} by name"
    return str(about.get("format", about.get("type")))


def _said(about: dict[str, Any]) -> str:
    return " ".join(str(about.get("description", "")).split())


def permissions(cloud: str) -> str:
    """What a principal of a cloud needs: a table by purpose, then all of it as that cloud takes it."""
    known = import_module(f"sky_core.clouds.{cloud}.account.permissions")
    needs: tuple[Need, ...] = known.NEEDS
    lines = [
        f"| {need.purpose} | {WHEN[need.when]} | {', '.join(f'`{name}`' for name in need.actions)} |" for need in needs
    ]
    everything = sorted({name for need in needs for name in need.actions if not need.data})
    on_data = sorted({name for need in needs for name in need.actions if need.data})
    shape: dict[str, Any] = {
        "aws": aws_policy(everything),
        "gcp": {"title": "Skyloom", "stage": "GA", "includedPermissions": everything},
        "azure": {
            "Name": "Skyloom",
            "Actions": everything,
            "DataActions": on_data,
            "AssignableScopes": ["/subscriptions/…"],
        },
    }[cloud]
    table = "\n".join(["| for | needed | permissions |", "|---|---|---|", *lines])
    return f"{table}\n\n```json\n{json.dumps(shape, indent=2, ensure_ascii=False)}\n```\n"


# Who may use these on any role may become any of them.
ON_ROLES: dict[str, dict[str, Any]] = {
    "sts:AssumeRole": {"Resource": "arn:aws:iam::ACCOUNT:role/MACHINE_ROLE"},
    "iam:PassRole": {
        "Resource": ["arn:aws:iam::ACCOUNT:role/MACHINE_IDENTITY", "arn:aws:iam::ACCOUNT:role/EMR_*"],
        "Condition": {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com", "elasticmapreduce.amazonaws.com"]}},
    },
}


def aws_policy(actions: list[str]) -> dict[str, Any]:
    """An IAM policy that allows the actions, on roles of one's own only where they are about roles."""
    free = [action for action in actions if action not in ON_ROLES]
    statements: list[dict[str, Any]] = [{"Effect": "Allow", "Action": free, "Resource": "*"}]
    statements += [
        {"Effect": "Allow", "Action": action, **about} for action, about in ON_ROLES.items() if action in actions
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def made(what: str) -> str:
    """What belongs between the markers."""
    if what == "fields of plan":
        return fields() + "\n"
    if what.startswith("measured "):
        kept = ROOT / "docs" / "figures" / f"{what.removeprefix('measured ')}.txt"
        return f"```text\n{kept.read_text()}```\n"
    if what.startswith("permissions "):
        return permissions(what.removeprefix("permissions "))
    file, _, as_json = what.removeprefix("plan ").partition(" as ")
    if as_json:
        return f"```json\n{PlanDocument.of(plan(file)).model_dump_json(indent=2)}\n```\n"
    lines = (line.rstrip() for line in plan_text(plan(file), WIDTH).rstrip().splitlines())
    return "```text\n" + "\n".join(lines) + "\n```\n"


def fresh(text: str) -> str:
    """A page with all of its blocks made anew."""
    return BLOCK.sub(lambda block: f"{block[1]}{made(block['what'])}{block[3]}", text)


def schemas() -> dict[Path, str]:
    """The files of the documents' schemas."""
    texts = {
        name: json.dumps(model.model_json_schema(mode="serialization"), indent=2) for name, model in DOCUMENTS.items()
    }
    return {ROOT / "docs" / "schemas" / f"{name}.json": f"{text}\n" for name, text in texts.items()}


def wanted() -> dict[Path, str]:
    """All that is made here, as it would be made now."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {page: fresh(page.read_text()) for page in pages} | schemas()


def stale() -> list[Path]:
    """The files that do not say what would be made now."""
    return [file for file, text in wanted().items() if not file.exists() or file.read_text() != text]


def main() -> None:
    files, texts = stale(), wanted()
    for file in files:
        if "--check" not in sys.argv:
            file.parent.mkdir(exist_ok=True)
            file.write_text(texts[file])
        print(file.relative_to(ROOT))
    sys.exit(1 if files and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()
