"""What agents say of their jobs, taken for what it is: bytes from a machine that runs somebody's code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Annotated, Any, Literal

from pydantic import Base64Bytes, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from sky_core.errors import MachineError

Phase = Literal["inputs", "setup", "running", "outputs", "done", "lost", "missing"]

LONGEST_DETAIL = 4000  # characters
MOST_NAMES = 10_000  # inputs or outputs of one task
TAIL = 1 << 20  # bytes of log that come with a verdict, at most

Size = Annotated[int, Field(strict=True, ge=0, lt=1 << 60)]
Seconds = Annotated[float, Field(ge=0, lt=1e10, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
ExitCode = Annotated[int, Field(strict=True, ge=0, le=255)]


def _shortened(text: Any) -> Any:
    return text[:LONGEST_DETAIL] if isinstance(text, str) else text


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class JobState:
    """What is known of an attempt: of one rank of it, or of all together (:mod:`sky_core.remote.gangs.together`).

    Attributes:
        phase: ``lost``: nothing of it runs any more and it did not end; ``missing``: this machine never heard of it.
        exit_code: The command's, once ``done``. None if it did not end by itself: see ``detail`` (what failed, or
            ``eviction``, ``cancelled`` or ``moved``).
        log: The log from the asked offset on; ``log_offset`` is where to go on, ``log_size`` how much there is.
        offsets: Where to go on in the log of each rank; a gang's ``log_offset`` and ``log_size`` are sums.
        lost_rank: Which machine of a gang has made it ``lost``, if it was one of those that only serve rank 0.
        serves: This rank has no command of its own, and ends when rank 0 has ended.
        spare: The gang goes on without this rank, and does not fail with it.
        done, done_of: What the command has said of its progress: how much is done, and of how much…
        done_at: …and when, by the machine's clock.
        ended_at: When it came to its end, by the machine's clock.
        eviction: The cloud has announced that it takes the machine back.
        checkpoint_bytes, checkpoint_seconds: Size of this attempt's newest generation, and how long saving it took.
        last_checkpoint: The store has the job's newest state: nothing would be lost by its end.
        moved: ``{"inputs": {name: bytes}, "outputs": {name: bytes}}``, as far as moved by now.
        seconds: Time spent in each phase that is over.
        unfit: Why the machine cannot do what it was rented for; the command has not run there. "" where it can.
    """

    phase: Phase
    exit_code: ExitCode | None = None
    log: bytes = b""
    log_offset: Size = 0
    log_size: Size = 0
    offsets: tuple[int, ...] = ()
    lost_rank: int | None = None
    serves: bool = False
    spare: bool = False
    done: Amount = 0.0
    done_of: Amount | None = None
    done_at: Amount | None = None
    ended_at: Amount | None = None
    eviction: bool = False
    last_checkpoint: bool = False
    checkpoint_generation: Size | None = None
    checkpoint_bytes: Size = 0
    checkpoint_seconds: Seconds = 0.0
    restored_generation: Size | None = None
    restored_bytes: Size = 0
    moved: Annotated[Mapping[str, Annotated[Mapping[str, Size], Field(max_length=MOST_NAMES)]], Field(max_length=2)] = (
        field(default_factory=dict)
    )
    seconds: Annotated[Mapping[Phase, Seconds], Field(max_length=10)] = field(default_factory=dict)
    detail: Annotated[str, BeforeValidator(_shortened)] = ""
    unfit: Annotated[str, BeforeValidator(_shortened)] = ""

    @property
    def over(self) -> bool:
        """Whether the attempt has ended, one way or the other."""
        return self.phase in ("done", "lost")

    @property
    def log_is_whole(self) -> bool:
        """Whether all of the log has come; what comes no more although there should be some is not waited for."""
        return not self.log or self.log_offset >= self.log_size


class _Verdict(BaseModel):
    """What an attempt that ended by itself leaves in its bucket, beside its state."""

    model_config = ConfigDict(extra="ignore")
    exit_code: ExitCode
    tail: Annotated[Base64Bytes, Field(max_length=TAIL)] = b""
    tail_from: Size = 0


_STATE = TypeAdapter(JobState)


def poll_answer(answer: bytes, offset: int) -> JobState:
    """What the agent said when asked for the log from ``offset`` on: a line of JSON, and the log.

    Raises:
        MachineError: if no agent would say that.
    """
    head, _, log = answer.partition(b"\n")
    try:
        state = _STATE.validate_json(head)
    except ValidationError as error:
        raise MachineError(f"the agent's answer makes no sense: {_first(error)}") from None
    return replace(state, log=log, log_offset=max(offset, 0) + len(log))


def verdict(content: bytes, log_offset: int) -> JobState:
    """How an attempt ended, from what it left in its bucket; with its log from ``log_offset`` on, as far as kept.

    Raises:
        MachineError: if no agent would write that.
    """
    try:
        left, state = _Verdict.model_validate_json(content), _STATE.validate_json(content)
    except ValidationError as error:
        raise MachineError(f"the verdict in the bucket makes no sense: {_first(error)}") from None
    log = left.tail[max(0, log_offset - left.tail_from) :]
    if left.tail_from > log_offset:
        log = b"[skyloom] %d bytes of the log went with the machine\n" % (left.tail_from - log_offset) + log
    return replace(state, phase="done", exit_code=left.exit_code, log=log, log_offset=log_offset + len(log))


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'all of it'}: {first['msg']}"
