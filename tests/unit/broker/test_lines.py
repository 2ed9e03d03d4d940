"""A command's output as lines: none lost, none twice, a progress bar as it goes on."""

from hypothesis import example, given
from hypothesis import strategies as st

from sky_core.broker.lines import Lines


def test_a_progress_bar_is_seen_while_it_is_drawn():
    lines = Lines()
    assert lines.feed(b"begin\n\rstep 0\rstep 1") == ["begin", "step 0"]
    assert lines.feed(b"\rstep 2") == ["step 1"]
    assert lines.feed(b"") == []
    assert lines.feed(b"\rstep 3\ndone") == ["step 3"]
    assert lines.feed(b"", end=True) == ["done"]


def test_a_bar_that_ends_as_it_was_last_seen_is_not_told_twice():
    lines = Lines()
    assert lines.feed(b"100%\r") == ["100%"]
    assert lines.feed(b"\n") == []
    assert lines.feed(b"a\r\nb\r\n") == ["a", "b"]


@example([b" "])
@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\r", b"-")), max_size=20))
def test_lines_without_carriage_returns_are_what_they_were(pieces):
    lines = Lines()
    found = [line for piece in pieces for line in lines.feed(piece)] + lines.feed(b"", end=True)
    whole = b"".join(pieces).split(b"\n")
    assert found == [line.decode(errors="replace") for line in (whole if whole[-1] else whole[:-1])]
