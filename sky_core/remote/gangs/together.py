"""What the machines of a gang have said, told as one attempt. Pure: the executor asks them, and ends them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from sky_core.remote.answers import JobState

LONGEST_LINE = 1 << 20  # bytes of a line that is waited for to end
LINE = re.compile(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+")


def together(answers: Sequence[JobState]) -> JobState:
    """One state for all ranks, in their order.

    It is over when every rank is, or sooner by the first that failed, is lost or was told to end; ranks that only
    serve rank 0, and those that the gang goes on without, are not waited for. Each line of its log names its rank, and
    ``offsets`` says where to go on in each.
    """
    if len(answers) == 1:
        return replace(answers[0], offsets=(answers[0].log_offset,))
    log, offsets = told(answers)
    # What a rank goes on to say after the end of all is not waited for.
    sizes = sum(each.log_size if each.over else offset for each, offset in zip(answers, offsets, strict=True))
    evicted = any(answer.eviction for answer in answers if not answer.spare)
    whole = replace(answers[0], log=log, offsets=offsets, log_offset=sum(offsets), log_size=sizes, eviction=evicted)
    if (failed := first_to_fail(answers)) is not None:
        why = answers[failed].detail or f"exit code {answers[failed].exit_code}"
        return replace(whole, phase="done", exit_code=answers[failed].exit_code, detail=f"rank {failed}: {why}")
    if answers[0].phase in ("missing", "lost"):
        return whole
    over = answers[0].phase == "done"
    for rank, answer in enumerate(answers):
        detail = f"rank {rank}: {answer.detail or answer.phase}"
        aside = answer.serves or answer.spare
        if aside and (over or (answer.spare and answer.exit_code == 0)):
            continue
        if answer.phase in ("lost", "missing") or (aside and answer.phase == "done"):
            serving = rank if aside else None
            return replace(whole, phase="lost", exit_code=None, detail=detail, lost_rank=serving)
        if answer.phase == "done" and answer.exit_code is None:
            unfit = answer.unfit and f"rank {rank}: {answer.unfit}"
            return replace(whole, phase="done", exit_code=None, detail=detail, unfit=unfit)
    awaited = [answer for answer in answers if not (answer.serves or answer.spare)]
    running = [answer.phase for answer in awaited if answer.phase != "done"]
    return replace(whole, phase=running[0], exit_code=None, detail="") if running else whole


def first_to_fail(answers: Sequence[JobState]) -> int | None:
    """The rank whose command failed before any other's did, by the machines' clocks; the others' may follow from it.

    One that the gang goes on without does not count.
    """
    ended = [rank for rank, answer in enumerate(answers) if answer.phase == "done" and not answer.spare]
    failed = [rank for rank in ended if answers[rank].exit_code]
    return min(failed, key=lambda rank: (answers[rank].ended_at or 0.0, rank), default=None)


def told(answers: Sequence[JobState]) -> tuple[bytes, tuple[int, ...]]:
    """The logs' whole lines with their ranks, rank by rank, and the offset in each log up to which they are told."""
    parts, offsets = [], []
    for rank, answer in enumerate(answers):
        start = answer.log_offset - len(answer.log)
        size = len(answer.log) if answer.over and answer.log_is_whole else ended_lines(answer.log)
        parts.append(prefixed(rank, answer.log[:size]))
        offsets.append(start + size)
    return b"".join(parts), tuple(offsets)


def ended_lines(log: bytes) -> int:
    """Bytes up to the last line that has ended, by a newline or by a carriage return that is not half of one."""
    end = max(log.rfind(b"\n"), log.rfind(b"\r", 0, -1)) + 1
    return len(log) if len(log) - end > LONGEST_LINE else end


def prefixed(rank: int, log: bytes) -> bytes:
    """The lines with their rank before each; a last one that has not ended is ended."""
    lines = [b"(rank %d) %s" % (rank, line) for line in LINE.findall(log)]
    if lines and not lines[-1].endswith((b"\n", b"\r")):
        lines.append(b"\n")
    return b"".join(lines)
