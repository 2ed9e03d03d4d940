"""A sign of life on a terminal, and none where nobody looks."""

import io
import sys

from sky_core.cli.terminal.spinner import CLEAR, Spinner


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def on_a_screen(monkeypatch):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)  # in the test: pytest puts its own there after the fixtures
    return screen


def test_it_draws_before_it_returns_and_says_what_is_done(monkeypatch):
    screen = on_a_screen(monkeypatch)
    spinner = Spinner()
    spinner.say("loading skyloom")
    assert screen.getvalue().startswith("⠋ loading skyloom")
    spinner.say("planning")
    spinner.stop()
    assert screen.getvalue().endswith(CLEAR), "the next line starts on an empty one"


def test_without_a_terminal_nothing_is_drawn(monkeypatch):
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    spinner = Spinner()
    spinner.say("loading")
    spinner.stop()
    assert pipe.getvalue() == ""


def test_it_may_be_stopped_before_it_starts_and_started_again(monkeypatch):
    screen = on_a_screen(monkeypatch)
    spinner = Spinner()
    spinner.stop()
    spinner.say("one")
    spinner.stop()
    spinner.say("two")
    spinner.stop()
    assert "two" in screen.getvalue()
