"""Every error a user of Skyloom can meet, each with its cure.

The tree has one root, :class:`SkyloomError`. Its message says what is wrong, naming the field or the
offering; ``cure`` says what to do about it. Engines turn these into failed tasks, the CLI into one line
on stderr and exit code 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

# How much a refusal tells about. "family": all machines with this accelerator in this market of the region; "market":
# spot, or on-demand, of the whole cloud; "type": this kind of machine in the whole cloud, whatever the market;
# "reservation": the one that was asked for, and nothing of what is sold to all.
Scope = Literal["zone", "region", "family", "cloud", "market", "type", "reservation"]


class SkyloomError(Exception):
    """Root of all errors raised on purpose.

    Attributes:
        cure: What the user can do, one sentence, or "" where the message says it all.
    """

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(message)
        self.cure = cure

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.cure})" if self.cure else message

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled as what it is, not by a call of __init__ with the message, which most of them do not take.
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[SkyloomError], args: tuple[Any, ...]) -> SkyloomError:
    error = kind.__new__(kind)
    error.args = args
    return error


class SpecError(SkyloomError):
    """What the user wrote cannot be meant: the message starts with the field, e.g. ``Task.train: hours: …``."""


class UnknownAccelerator(SpecError):
    """No cloud in the catalog sells an accelerator of this name."""


class NoFeasibleOffering(SkyloomError):
    """The catalog has no offering for a task; the message says which filter emptied the list.

    Attributes:
        task: Name of the task.
        emptied_by: The field whose filter left nothing, e.g. ``"region"``.
        nearest: Descriptions of the offerings that come closest.
    """

    def __init__(self, task: str, emptied_by: str, nearest: Sequence[str], message: str, *, cure: str = "") -> None:
        super().__init__(message, cure=cure)
        self.task = task
        self.emptied_by = emptied_by
        self.nearest = tuple(nearest)


class Infeasible(SkyloomError):
    """No plan satisfies a constraint of the whole pipeline.

    Attributes:
        constraint: ``"deadline_hours"``, ``"budget_usd"`` or the name of the capacity that cannot be met.
        least: The least deadline (hours) or budget (USD) that would do, or None where unknown.
    """

    def __init__(self, constraint: str, least: float | None, message: str, *, cure: str = "") -> None:
        super().__init__(message, cure=cure)
        self.constraint = constraint
        self.least = least


class BadSource(SkyloomError):
    """A source of prices is down, or what it sent cannot be used; the catalog is as it was before."""


class NoCloudEnabled(SkyloomError):
    """Not one cloud has usable credentials."""


class SandboxNotRunning(SkyloomError):
    """The sandbox profile is selected and no sandbox answers."""

    def __init__(self, detail: str) -> None:
        super().__init__(f"the sandbox is not running: {detail}", cure="start it with: skyloom sandbox up")


class StoreTrouble(SkyloomError):
    """The store cannot be used at present. What was asked of it was not done; asking again later may do."""


class StoreBusy(StoreTrouble):
    """Others keep the store to themselves: its write lock is held, or all its connections are in use."""


class StoreAway(StoreTrouble):
    """The store cannot be reached or written: server down, disk full, read-only or failing."""


class StoreRefused(StoreAway):
    """The database server does not let us in; only waiting for somebody to change that helps."""


class StoreDamaged(SkyloomError):
    """What is in the file is not a database any more."""


class StoreTooNew(SkyloomError):
    """A newer Skyloom has upgraded the store; this one would write what the newer one cannot read."""

    def __init__(self, url: str, theirs: str, ours: str) -> None:
        cure = "upgrade Skyloom here as well: pip install --upgrade skyloom"
        super().__init__(f"the store {url} has schema {theirs}; this Skyloom knows {ours} and before", cure=cure)


class MissingExtra(SkyloomError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed", cure=f"pip install 'skyloom[{extra}]'")


class CloudError(SkyloomError):
    """A cloud refused or failed a call. Failover reads the subclass, ``scope`` and ``settled`` only, never the message.

    Attributes:
        settled: False where a launch was refused and an earlier call with its token was unclear: what could be seen
            of that one was ended, but more of it may still appear, until the cloud's ``settle_s`` have passed.
        own: True where it is about what this one request names, its image or its token: in ``scope`` that is of no
            use to this job, and others may have what it was refused.
    """

    settled = True
    own = False

    def __init__(self, message: str, *, code: str = "", cure: str = "") -> None:
        super().__init__(message, cure=cure)
        self.code = code


class CapacityError(CloudError):
    """The cloud has no such machine to give right now in ``scope``."""

    def __init__(self, message: str, *, scope: Scope = "zone", code: str = "") -> None:
        super().__init__(message, code=code)
        self.scope: Scope = scope


class QuotaError(CloudError):
    """The account may not have more of this in ``scope``.

    Attributes:
        elsewhere: Other regions of which the same is known, as far as that came with the answer.
    """

    elsewhere: tuple[str, ...] = ()

    def __init__(self, message: str, *, scope: Scope = "region", code: str = "") -> None:
        super().__init__(message, code=code, cure="raise the quota, or let the task run elsewhere")
        self.scope: Scope = scope


class AuthError(CloudError):
    """Credentials are missing, expired or lack a permission: until that changes ``scope`` cannot be used."""

    def __init__(self, message: str, *, scope: Scope = "cloud", code: str = "", cure: str = "") -> None:
        super().__init__(message, code=code, cure=cure)
        self.scope: Scope = scope


class NotSetUp(AuthError):
    """The account works, and lacks in ``scope`` what only its owner can give it: a network, an API, a region."""


class NotConnected(AuthError):
    """This machine cannot connect a cloud at all: its SDK or its account is missing here, or nobody provides it."""


class Throttled(CloudError):
    """Too many calls: the same call may be made again a little later."""


class InvalidRequest(CloudError):
    """The cloud will never accept this request as it stands, in ``scope``."""

    def __init__(self, message: str, *, scope: Scope = "zone", code: str = "", cure: str = "") -> None:
        super().__init__(message, code=code, cure=cure)
        self.scope: Scope = scope


class NoWayIn(InvalidRequest):
    """The settings lead to no machine in ``scope``: it would be paid for and never reached."""


class UnknownOutcome(CloudError):
    """The call may or may not have taken effect (time-out, 5xx): look before asking again."""


Refusal = TypeVar("Refusal", bound=CloudError)


def of_its_own(error: Refusal) -> Refusal:
    """The error as one that is about what its request names only (:attr:`CloudError.own`)."""
    error.own = True
    return error


class SealBroken(SkyloomError):
    """Sealed values cannot be opened: another key sealed them, or they are another job's."""


class LinkLost(SkyloomError):
    """The SSH link broke or the machine does not answer; nothing is known about the job from that alone."""


class PartlySilent(LinkLost):
    """Some machines of a gang do not answer, and others do.

    Attributes:
        ranks: Those that do not.
    """

    def __init__(self, message: str, ranks: tuple[int, ...]) -> None:
        super().__init__(message)
        self.ranks = ranks


class ProxyBroken(LinkLost):
    """The settings' ``proxy_command`` does not lead to any machine: a wrong setting, or a bastion that is away.

    Attributes:
        lasting: Whether only somebody who changes the setting, or the bastion, can mend it.
    """

    def __init__(self, said: str, *, lasting: bool) -> None:
        super().__init__(f"proxy_command: {said}", cure="look at it in config.toml, and at the bastion that it names")
        self.said, self.lasting = said, lasting


class LoginRefused(LinkLost):
    """The machine answers and takes none of our keys."""


class MachineError(SkyloomError):
    """A machine answers but cannot do what Skyloom needs of it: no Python, disk full, …"""


class HostKeyMismatch(SkyloomError):
    """The machine that answers is not the one that was launched."""


class TransferError(SkyloomError):
    """An artifact or checkpoint could not be moved or does not match its manifest."""


class TooLarge(TransferError):
    """A value has more bytes than may go through the store: asking again will not help."""


class TaskFailed(SkyloomError):
    """The user's own command or function failed on the machine.

    Attributes:
        exit_code: Exit status of the command.
        tail: The last lines of its log.
    """

    def __init__(self, task: str, exit_code: int, tail: str) -> None:
        super().__init__(f"task {task!r} exited with code {exit_code}; last log lines:\n{tail}")
        self.exit_code = exit_code
        self.tail = tail


class JobFailed(SkyloomError):
    """A job ended without success for a reason that is not the user's command."""


class JobCancelled(SkyloomError):
    """A job was cancelled before it ended."""
