"""Every command without a terminal, as scripts and pagers see it: nothing a user copies is broken, all has its help.

The commands are taken from the command line itself, so that a new one is covered when it is added.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sky_core.cli import terminal
from sky_core.cli.app import app
from sky_core.cli.taskfiles import given_of
from sky_core.config import Settings
from sky_core.errors import SkyloomError, SpecError
from sky_core.store import Store
from tests.unit.cli.calls import DOING, ELSEWHERE, LOOKING
from tests.unit.cli.few_jobs import RUN, fill

WIDTHS = (60, 80, 100, 200)
# Commands that only look, with arguments that a store of few jobs can answer; ``JOB`` is one that is over.
PIPED = (
    ("version",),
    ("jobs",),
    ("jobs", "--csv"),
    ("top",),
    ("logs", "JOB"),
    ("cost",),
    ("cost", "--by", "job"),
    ("cost", "--by", "run,task"),
    ("cost", "--json"),
    ("cost", "--csv"),
    ("cost", "--focus"),
)


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands of a group, and itself."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


COMMANDS = dict(commands(get_command(app)))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def ids(home: Path) -> list[str]:
    """Of the jobs in the home's store."""
    store = Store(Settings.load({"SKYLOOM_HOME": str(home)}).store_url)
    found = [job.id for job in fill(store)]
    store.close()
    return found


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("SKYLOOM_HOME", str(home))
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.setattr(terminal.console(), "_width", request.param)
    return int(request.param)


def said(*words: str) -> str:
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit | SkyloomError):
        raise result.exception
    return result.output


def test_the_help_of_every_command_names_and_explains_each_option(width):
    for path, command in COMMANDS.items():
        text = said(*path, "--help")
        for option in command.params:
            if not isinstance(option, click.Option) or option.hidden:
                continue
            long = max(option.opts, key=len)
            assert re.search(rf"(?<![\w-]){re.escape(long)}(?![\w-])", text), f"{path} {long} is broken at {width}"
            assert option.help, f"{path} {long} has no help"
        assert command.help, f"{path} has no help"


@pytest.mark.parametrize("words", PIPED, ids=" ".join)
def test_what_a_user_copies_stays_in_one_piece(width, ids, words):
    text = said(*(ids[0] if word == "JOB" else word for word in words))
    pieces = re.findall(r"job-\w+", text)
    assert set(pieces) <= set(ids)
    if words in (("jobs",), ("cost", "--by", "job")):
        assert set(pieces) >= set(ids[:3]), "those with a machine"
    if words == ("jobs",) or "run,task" in words:
        assert RUN in text
        assert all(f"{state}-job" in text for state in ("succeeded", "failed", "running"))


def test_every_command_and_option_is_called_by_a_test():
    called = set()
    for call in (*LOOKING, *DOING):
        path = next(
            (name for name in sorted(COMMANDS, key=len, reverse=True) if call.words[: len(name)] == [*name]), ()
        )
        called |= {path, *((*path, word) for word in call.words if word.startswith("--"))}
    missing = []
    for path, command in COMMANDS.items():
        options = [max(option.opts, key=len) for option in command.params
                   if isinstance(option, click.Option) and not option.hidden and option.name != "help"]  # fmt: skip
        wanted = [*([] if getattr(command, "commands", None) else [path]), *((*path, name) for name in options)]
        missing += [" ".join(one) for one in wanted if one not in called and one not in ELSEWHERE]
    assert missing == []


def test_an_option_that_there_is_not_is_a_line_for_every_command():
    for path in COMMANDS:
        result = CliRunner().invoke(app, [*path, "--no-such-option"])
        assert result.exit_code == 2, path
        assert "no such option" in result.output.lower()


def test_what_is_to_be_kept_is_said_as_in_a_file_and_refused_by_its_option():
    assert [given_of(None, None, None, keep=said).warm["keep"] for said in ("0.5", "30m")] == ["0.5h", "30m"]
    for options, why in (({"keep": "30"}, "--keep: machines are kept for 24 h"), ({"keep": "x"}, "--keep: 'x' is not"),
                         ({"cluster": "-x"}, "--cluster: '-x' is not a cluster name")):  # fmt: skip
        with pytest.raises(SpecError, match=f"^{why}"):
            given_of(None, None, None, **options)
