"""What the documents point to is there, and what they show can be read by what it is written for."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<to>[^)\s]+)\)")
BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^ *```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
READERS = {"python": ast.parse, "toml": tomllib.loads, "yaml": yaml.safe_load, "json": json.loads}


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.finditer(CODE.sub("", page.read_text())):
        target, _, anchor = link["to"].partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name}: {link['to']}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {link['to']}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_can_be_read(page: Path) -> None:
    for block in BLOCK.finditer(page.read_text()):
        reader = READERS.get(block["kind"])
        text = "".join(line.removeprefix(block["indent"]) for line in block["text"].splitlines(keepends=True))
        if reader is not None:
            try:
                reader(text)
            except (SyntaxError, ValueError, yaml.YAMLError) as error:
                pytest.fail(f"{page.name}: {error}\n{text}")


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_a_page_can_be_found(page: Path) -> None:
    assert page.name == "index.md" or f"docs/{page.name}" in (ROOT / "README.md").read_text(), "link it in README.md"
