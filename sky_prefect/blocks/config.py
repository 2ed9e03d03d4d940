"""Which Skyloom a flow uses, and what logs in to the clouds."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from sky_core.errors import SpecError

if TYPE_CHECKING:
    from sky_core.config import Settings

ON_A_MACHINE = "SKY_JOB_ID"


class SkyloomConfig(Block):
    """A Skyloom's home, store, key and logins, in place of the environment of the flow's process.

    >>> SkyloomConfig(store="postgresql://…", key="…", credentials=["aws-credentials/prod"]).save("team")
    >>> @flow(task_runner=SkyTaskRunner(config="team"))
    ... def train(): ...
    """

    _block_type_name = "Skyloom Config"
    _block_type_slug = "skyloom-config"
    _description = "Which Skyloom flows use: its store and key, and what logs in to the clouds."

    home: str | None = Field(None, description="SKYLOOM_HOME where the flow runs.")
    store: SecretStr | None = Field(None, description="URL of the team's store; it may have a password in it.")
    key: SecretStr | None = Field(None, description="The team key, by which secrets are sealed.")
    profile: Literal["default", "sandbox"] | None = Field(None, description="Real clouds, or the sandbox's.")
    clouds: list[str] | None = Field(None, description="The clouds that may be used; all by default.")
    credentials: list[str] = Field(
        default_factory=list,
        description="Blocks of prefect-aws, prefect-gcp and prefect-azure that log in, such as aws-credentials/prod.",
    )

    def settings(self) -> Settings:
        """What the block says, over the environment.

        Raises:
            SpecError, SandboxNotRunning: if its settings cannot be used.
        """
        from sky_core.config import Settings
        from sky_prefect.blocks.logins import login_of

        settings = Settings.load({**os.environ, **self.variables()})
        login = {
            variable: SecretStr(value)
            for name in self.credentials
            for variable, value in login_of(name, _loaded(Block, name), settings.home).items()
        }
        return settings.model_copy(update={"login": login}) if login else settings

    def variables(self) -> dict[str, str]:
        """The variables by which a process is led to the same home and store."""
        said = {
            "SKYLOOM_HOME": self.home,
            "SKYLOOM_STORE": self.store and self.store.get_secret_value(),
            "SKYLOOM_KEY": self.key and self.key.get_secret_value(),
            "SKYLOOM_PROFILE": self.profile,
            "SKYLOOM_CLOUDS": ",".join(self.clouds or ()),
        }
        return {name: value for name, value in said.items() if value}


def settings_of(config: SkyloomConfig | str | None) -> Settings | None:
    """The settings of a block or of the block of that name; None for those of the environment."""
    if config is None:
        return None
    found: SkyloomConfig = _loaded(SkyloomConfig, config) if isinstance(config, str) else config
    return found.settings()


def lasting(settings: Settings | None) -> Settings:
    """The settings, or those of the environment, if what they keep records in is there when this process is not.

    Raises:
        SpecError: on a job's machine, whose own store nobody could read once it is gone: what a flow there has
            launched would run on unseen.
    """
    from sky_core.config import Settings

    found = settings or Settings.load()
    if ON_A_MACHINE in os.environ and found.store_url.startswith(f"sqlite:///{found.home}"):
        raise SpecError(
            f"SkyTaskRunner: this flow runs on the machine of {os.environ[ON_A_MACHINE]}, whose store ends with it",
            cure="give the team's store and key, and what logs in to the clouds: SkyTaskRunner(config=…), or "
            "SKYLOOM_STORE, SKYLOOM_KEY and the clouds' own variables in the work pool's env",
        )
    return found


def _loaded(kind: type[Block], name: str) -> Any:
    load: Any = kind.load  # untold, it gives a coroutine in an async flow
    return load(name, _sync=True)
