"""The variables of a task's commands: each has one value, and some are the job's own to give."""

from __future__ import annotations

from collections.abc import Iterable

from sky_core.errors import SpecError
from sky_core.spec.values import ENV_NAME

GIVEN = frozenset(
    {"SKY_CHECKPOINT_DIR", "SKY_EVICTION_FILE", "SKY_NODE_RANK", "SKY_NUM_NODES", "SKY_NODE_IPS", "SKY_JOB_ID",
     "SKY_ATTEMPT", "SKY_PROGRESS_FILE", "SKY_RELIABLE"}
)  # fmt: skip
"""What each command finds, whatever its task says, besides a variable for each input and output."""


def refuse_variables(
    task: str, envs: Iterable[str], secrets: Iterable[str], inputs: Iterable[str], outputs: Iterable[str]
) -> None:
    """See that no variable is given twice, nor one that the job sets itself: one of the two values would be lost.

    All by name. Not a part of :class:`~sky_core.spec.Task`, which has to load what was stored before this was asked.

    Raises:
        SpecError: naming the variable.
    """
    given = (
        GIVEN | {f"SKY_INPUT_{name.upper()}" for name in inputs} | {f"SKY_OUTPUT_{name.upper()}" for name in outputs}
    )
    envs, secrets = set(envs), set(secrets)
    for field, names in (("envs", envs), ("secrets", secrets)):
        if taken := sorted(given & names):
            raise SpecError(f"Task.{task}: {field}: {taken[0]} is set by the job itself", cure="give it another name")
    if twice := sorted(envs & secrets):
        raise SpecError(f"Task.{task}: secrets: {twice[0]} stands in envs, too", cure="leave it out of one of them")
    if odd := sorted(name for name in envs if not ENV_NAME.match(name)):
        raise SpecError(f"Task.{task}: envs: {odd[0]!r} is not a name of an environment variable")
