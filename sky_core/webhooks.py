"""Who is told what happens to jobs: the addresses in ``[[webhooks]]`` of config.toml."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr

Topic = Literal["preempted", "late", "over budget", "finished"]


class Webhook(BaseModel):
    """An address that is told what happens to jobs.

    Attributes:
        events: Of what it is told; of all, if it says nothing.
        secret: What its calls are signed with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    url: Annotated[str, Field(pattern=r"^https?://[^/]")]
    events: tuple[Topic, ...] = get_args(Topic)
    secret: SecretStr | None = None
