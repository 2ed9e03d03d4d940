"""From an Airflow connection to a broker."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from sky_core.errors import SpecError

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.config import Settings


class SkyHook(BaseHook):
    """The broker of a ``skyloom`` connection, or of the environment (``SKYLOOM_HOME``, ``SKYLOOM_PROFILE``, …).

    Args:
        sky_conn_id: A connection of type ``skyloom``: host is the home, password the store URL, extras ``profile``,
            ``clouds``, what it allows besides (:mod:`.allowed`), and ``aws_conn_id``, ``gcp_conn_id`` and
            ``azure_conn_id``, which name the connections that log in to the clouds. None means the one that
            ``[skyloom] sky_conn_id`` of Airflow's configuration names; without that all is taken from the environment.
    """

    conn_name_attr = "sky_conn_id"
    default_conn_name = "skyloom_default"
    conn_type = "skyloom"
    hook_name = "Skyloom"

    def __init__(self, sky_conn_id: str | None = None) -> None:
        super().__init__()
        self.sky_conn_id = sky_conn_id or of_all()

    @cached_property
    def settings(self) -> Settings:
        """What the connection says, over the environment.

        Raises:
            SpecError, SandboxNotRunning: if its settings cannot be used.
        """
        from pydantic import SecretStr

        from sky_airflow.hooks.allowed import narrowed
        from sky_core.config import Settings

        settings = Settings.load({**os.environ, **self.variables()})
        if self.sky_conn_id is not None:
            settings = narrowed(settings, self.sky_conn_id, self.get_connection(self.sky_conn_id).extra_dejson)
        login = {name: SecretStr(value) for name, value in self.login(settings.home).items()}
        return settings.model_copy(update={"login": login}) if login else settings

    @cached_property
    def broker(self) -> Broker:
        """The broker, opened on first use; raises what :attr:`settings` raises."""
        from sky_core.broker import Broker

        return Broker.open(self.settings)

    @contextmanager
    def reach(self, cluster: Any) -> Iterator[str]:
        """Where a cluster's clients find it on this host, within the block; it is not ended by it.

        Args:
            cluster: What :class:`~sky_airflow.operators.cluster.SkyClusterOperator` returned, or the id of its job.

        Raises:
            SkyloomError: if it is over.
        """
        from sky_core.broker.clusters.tunnel import reached

        with reached(self.broker.settings, job_id_of(cluster)) as address:
            yield address

    def variables(self) -> dict[str, str]:
        """The variables by which a process is led to the same home and store."""
        if self.sky_conn_id is None:
            return {}
        connection = self.get_connection(self.sky_conn_id)
        extra: dict[str, Any] = connection.extra_dejson
        said = {
            "SKYLOOM_HOME": connection.host,
            "SKYLOOM_STORE": connection.password,
            "SKYLOOM_PROFILE": extra.get("profile"),
            "SKYLOOM_CLOUDS": extra.get("clouds"),
        }
        return {name: value for name, value in said.items() if value}

    def login(self, home: Path) -> dict[str, str]:
        """What logs in to the clouds, from their own connections.

        Raises:
            SpecError: for a connection that names no login, or one that cannot be handed on.
        """
        if self.sky_conn_id is None:
            return {}
        from sky_airflow.hooks.logins import FIELDS, login_of

        extra = self.get_connection(self.sky_conn_id).extra_dejson
        found: dict[str, str] = {}
        for field in FIELDS:
            if name := extra.get(field):
                found |= login_of(field, self.get_connection(name), home)
        return found

    def test_connection(self) -> tuple[bool, str]:
        """What the connection form's test button asks."""
        try:
            return True, f"store {self.broker.store.id}, clouds {', '.join(self.broker.settings.enabled_clouds())}"
        except Exception as error:  # noqa: BLE001 - the form shows whatever it is
            return False, str(error)


def job_id_of(cluster: Any) -> str:
    """The job of a cluster that a task returned.

    Raises:
        SpecError: if that is none.
    """
    found = cluster.get("job_id") if isinstance(cluster, Mapping) else cluster
    if not isinstance(found, str) or not found:
        raise SpecError(f"cluster: {cluster!r} is no cluster", cure="hand on the output of a SkyClusterOperator")
    return found


def of_all() -> str | None:
    """The connection of those who name none, as Airflow's configuration says."""
    from airflow.sdk.configuration import conf

    return conf.get("skyloom", "sky_conn_id", fallback="") or None
