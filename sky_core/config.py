"""Where Skyloom keeps its things and how it reaches the clouds.

Settings come from ``$SKYLOOM_HOME/config.toml`` (default home ``~/.skyloom``), overridden by environment
variables ``SKYLOOM_STORE``, ``SKYLOOM_PROFILE``, ``SKYLOOM_CLOUDS``, ``SKYLOOM_KEY`` and ``SKYLOOM_PERSON``. The
profile ``default`` means the real clouds with each SDK's own credential chain. The profile ``sandbox`` means the
emulator on loopback: endpoints, throw-away credentials and the time scale are read from the file that ``skyloom
sandbox up`` writes.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from sky_core.endpoints import read_sandbox
from sky_core.errors import SpecError
from sky_core.facts import clouds as known_clouds
from sky_core.home import VARIABLES, read_home
from sky_core.inventory import Host, Inventory
from sky_core.measures.scale import Scale
from sky_core.networks import Networks
from sky_core.plugins import names
from sky_core.recovery.policies import NAMES, make_policy
from sky_core.spec import Amount
from sky_core.ssh import pins
from sky_core.ssh.machine import Machine
from sky_core.webhooks import Webhook

EVERY_REGION = ("*",)
LOGIN_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")  # below ~/.ssh, in the order in which ssh tries them


def _known_policy(name: str) -> str:
    known = (*NAMES, *names("skyloom.policies"))
    if name not in known:
        raise ValueError(f"{name!r} is none of {', '.join(known)}{_nearest(name, known)}")
    return name


def _a_day_or_never(days: float) -> float:
    if days != 0 and not days >= 1:
        raise ValueError("has to be a day at least, or 0 for never")
    return days


class CloudConfig(BaseModel):
    """How one cloud is reached. On the real clouds everything may stay unset: the SDK's default chain decides.

    Attributes:
        regions: Patterns (``eu-*``) of the regions that jobs may run in.
        endpoint: Base URL of the compute API, or None for the real one.
        storage_endpoint: Base URL of the object store's API, or None for the real one.
        account: AWS account id (sandbox only), GCP project, Azure subscription id.
        storage_account: Azure storage account that holds Skyloom's container; unused elsewhere.
        bucket_prefix: Skyloom's buckets are called ``<prefix>-<region>``.
        machine_identity: What this cloud's machines are, by which they reach its object store: the name of an instance
            profile, the email of a service account, the ARM id of a user-assigned identity. Without it they are lent
            short-lived credentials for what their job needs.
        tpu_identity: Email of the service account of TPU VMs (Google), for which ``tpu.nodes.delete`` is enough: a node
            costs the same when it is off, so one that nobody looks after has to delete itself.
        machine_role: ARN of the role that is assumed to lend them (AWS, for logins that are temporary themselves).
        lent_h: Hours that what machines are lent lasts, where the cloud leaves that to us (AWS for IAM users, Azure).
        credentials: Throw-away credentials of the sandbox; never set for real clouds.
        ca_file: CA bundle to trust for ``endpoint`` (the sandbox's Azure speaks TLS).
        ssh_port: Port of sshd on launched machines.
        ssh_user: Login on launched machines.
        key_file: Private key that logs in to machines of one's own; None for the first that ssh would try.
        known_hosts: Where the host keys of machines of one's own are pinned, unless catalog.toml does.
        bucket: Where jobs on machines of one's own keep their outputs and checkpoints: a bucket's URL, or a folder
            that they and the driver share (``file:///…``). Its region, where it matters, is ``bucket_region``.
        lost_after_s: Seconds after which a machine of one's own that does not answer is given up.
        hosts: The machines of one's own, from catalog.toml.
        network: Where machines are put and how they are reached.
        address_url: What answers, as plain text, the address that this machine is seen at; None for the usual one.
        min_poll_s: Seconds between polls of a pending operation.
        settle_s: Seconds after a creating call within which a machine may still appear; None for the cloud's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    enabled: bool = True
    regions: tuple[str, ...] = EVERY_REGION
    endpoint: str | None = None
    storage_endpoint: str | None = None
    account: str | None = None
    storage_account: str | None = None
    bucket_prefix: str | None = None
    machine_identity: str | None = None
    tpu_identity: str | None = None
    machine_role: str | None = None
    lent_h: float = Field(12.0, gt=0, le=36)
    credentials: Mapping[str, SecretStr] = Field(default_factory=dict)
    ca_file: Path | None = None
    ssh_port: int = 22
    ssh_user: str = "skyloom"
    key_file: Path | None = None
    known_hosts: Path = Path("~/.ssh/known_hosts")
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9]+://[^/].*[^/]$|^file:///.*[^/]$")] | None = None
    bucket_region: str | None = None
    lost_after_s: float = Field(180.0, ge=0)
    hosts: tuple[Host, ...] = ()
    network: Networks = Networks()
    address_url: str | None = None
    min_poll_s: float = 5.0
    settle_s: float | None = None

    @property
    def login_key(self) -> Path | None:
        """The private key that logs in to machines of one's own; None if there is none to be found."""
        if self.key_file is not None:
            return self.key_file.expanduser()
        usual = (Path("~/.ssh").expanduser() / name for name in LOGIN_KEYS)
        return next((path for path in usual if path.is_file()), None)

    def machine(self, ip: str, host_key: str, region: str = "", user: str = "") -> Machine:
        """How a machine of the cloud is reached.

        Args:
            ip: As its provider tells it: of a machine of one's own, its name.
            host_key: What it was launched with. One's own have theirs: "" as pin if nothing is known of it.
            user: Whom it lets log in, where a service has made it; else the settings say.
        """
        host = next((host for host in self.hosts if host.name == ip), None)
        if host is None:
            proxy = self.network.at(region).proxy_command or ""
            return Machine(ip, self.ssh_port, user or self.ssh_user, host_key, proxy_command=proxy)
        port = host.port or self.ssh_port
        pin = host.host_key or pins.known(self.known_hosts.expanduser(), host.address, port)
        return Machine(host.address, port, host.user or self.ssh_user, pin, str(self.login_key or ""))


Size = Annotated[Amount, BeforeValidator(Amount.parse)]


class Defaults(BaseModel):
    """What a task gets that does not say what it needs.

    Attributes:
        cpus, memory: vCPUs and GiB of a task that names neither, nor an accelerator or a machine type.
        arch: The processors of a task that names none; ``"any"`` lets Arm machines in.
        regions: Patterns of the regions for tasks that name none. ``us-*`` and ``eu-*`` mean those of every cloud;
            ``aws/us-*`` those of one.
        home: Cloud and region (``aws/eu-west-1``) to be preferred where nothing else counts; there buckets of that
            cloud lie whose place is not told.
        spot_floor: Share of the on-demand price below which a spot price of more than 30 days is not believed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    cpus: Size = Amount(low=4, high=math.inf)
    memory: Size = Amount(low=8, high=math.inf)
    arch: Literal["x86_64", "arm64", "any"] = "x86_64"
    regions: tuple[str, ...] = ("us-*", "eu-*")
    home: Annotated[str, Field(pattern=r"^[a-z0-9_-]+/[^/]+$")] | None = None
    spot_floor: float = Field(0.2, ge=0, le=1)

    @property
    def home_place(self) -> tuple[str, str] | None:
        """Cloud and region of ``home``."""
        cloud, slash, region = (self.home or "").partition("/")
        return (cloud, region) if slash else None


class Limits(BaseModel):
    """What may be spent at most, USD; None for as much as it takes. What would exceed it is not launched."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    usd_per_job: float | None = Field(None, gt=0)
    usd_per_run: float | None = Field(None, gt=0)
    usd_per_day: float | None = Field(None, gt=0)


class Granted(Limits):
    """What whoever submits may spend, beside what config.toml says; it goes with his jobs, wherever they are driven.

    Attributes:
        by: Who says so, as errors name it.
    """

    by: str = ""


class PythonSource(BaseModel):
    """Where machines get a Python of our own and the packages that move data; unset, from where uv always does.

    Attributes:
        mirror: Base URL of the builds of Python, in place of their project's releases (``UV_PYTHON_INSTALL_MIRROR``).
        builds: URL of a list of builds of one's own (``UV_PYTHON_DOWNLOADS_JSON_URL``).
        index: URL of a package index; or ``file:///folder``, on the machines' image, with the wheels that are needed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    mirror: str | None = None
    builds: str | None = None
    index: str | None = None

    @property
    def wheels(self) -> str | None:
        """The folder of wheels that stands for an index, or None."""
        return self.index.removeprefix("file://") if self.index and self.index.startswith("file://") else None


class Settings(BaseModel):
    """All settings of one Skyloom home.

    Attributes:
        store_patience_s: How long flows, triggers and commands wait for a store that cannot be used; drivers wait
            for as long as it takes.
        person: Who submits jobs here, as ``skyloom cost --by person`` names them; None for the login of this machine.
        key: The team key itself, from ``SKYLOOM_KEY``; None leaves it to ``key_file``.
        key_file: Where the team key is kept; None for the home's own, ``<home>/key``.
        login: Environment variables by which the clouds' SDKs log in, where they come from elsewhere (Airflow's
            connections). They reach the driver by its environment, and are written nowhere.
        granted: Limits of whoever submits (an Airflow connection's), beside ``limits``.
        max_attempts: Launches without progress after which a job fails, unless its task says otherwise.
        boot_timeout_s: Seconds from a launch to a started agent after which machines count as unreachable. Azure's
            slowest images take several minutes.
        accelerator_timeout_s: Seconds for which a machine may not show its accelerators once its agent runs: Google's
            deep learning images install NVIDIA's driver when they first boot.
        interest_ttl_s: Seconds without a word from whoever waits for a job, after which its engine is asked.
        unwanted_ttl_s: Seconds that a job goes on for when nobody waits and nobody can be asked; 0 for ever.
        spot_policy: What leads jobs on spot: one of ours, or one that a package adds.
        spot_policy_options: What the policy takes, by its parameters' names.
        spot_hour_usd: What an hour of a job on spot without a deadline is worth, USD: whether it waits for spot hangs
            on that. By default what its machines cost by the hour.
        forget_after_days: Days after which packed folders and calls of jobs that are over leave the store; 0 never.
        sweep_s: Seconds between two sweeps of a driver for machines that belong to no live job.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    home: Path
    profile: Literal["default", "sandbox"] = "default"
    store_url: str
    store_patience_s: float = 60.0
    person: str | None = None
    key: SecretStr | None = None
    key_file: Path | None = None
    login: Mapping[str, SecretStr] = Field(default_factory=dict)
    clouds: Mapping[str, CloudConfig]
    scale: Scale = Scale()
    poll_s: float = Field(5.0, gt=0)
    orphan_ttl_s: float = Field(1800.0, gt=0)
    publish_patience_s: float = Field(1800.0, ge=0)
    lease_s: float = Field(60.0, gt=0)
    interest_ttl_s: float = Field(300.0, gt=0)
    unwanted_ttl_s: float = Field(6 * 3600.0, ge=0)
    blocked_ttl_s: float = Field(600.0, ge=0)
    spot_policy: Annotated[str, AfterValidator(_known_policy)] = "skyloom"
    spot_policy_options: Mapping[str, Any] = Field(default_factory=dict)
    spot_hour_usd: float | None = Field(None, ge=0, allow_inf_nan=False)
    max_attempts: int = Field(8, ge=1)
    boot_timeout_s: float = Field(900.0, gt=0)
    accelerator_timeout_s: float = Field(420.0, ge=0)
    forget_after_days: Annotated[float, AfterValidator(_a_day_or_never)] = 30.0
    sweep_s: float = Field(600.0, gt=0)
    limits: Limits = Limits()
    granted: Granted = Granted()
    defaults: Defaults = Defaults()
    python: PythonSource = PythonSource()
    webhooks: tuple[Webhook, ...] = ()

    @model_validator(mode="after")
    def _options_of_the_policy(self) -> Settings:
        if self.spot_policy_options:
            try:
                make_policy(self.spot_policy, **self.spot_policy_options)
            except SpecError as error:
                raise ValueError(f"spot_policy_options: {error}") from None
        return self

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings of ``$SKYLOOM_HOME``.

        Raises:
            SpecError: for a setting that is unknown or cannot be meant; one line that names it and where it stands.
            SandboxNotRunning: when the sandbox profile is chosen and no sandbox was started in this home.
        """
        env = os.environ if environ is None else environ
        file, data = read_home(env)
        home = file.parent
        own = Inventory.read(home).hosts()
        said = _clouds_of(file, data, own)
        clouds: dict[str, Any] = {name: {} for name in known_clouds()} | said
        if data.get("profile") == "sandbox":
            sandbox = read_sandbox(home)
            # Nothing that a job of the sandbox does leaves this machine.
            clouds = {name: table for name, table in said.items() if _ends_here(table)} | dict(sandbox.pop("clouds"))
            data |= sandbox
            own = {name: hosts for name, hosts in own.items() if all(_is_loopback(host) for host in hosts)}
        clouds |= {name: {**said.get(name, {}), "hosts": hosts} for name, hosts in own.items()}
        if env.get("SKYLOOM_CLOUDS"):
            wanted = {name.strip() for name in env["SKYLOOM_CLOUDS"].split(",") if name.strip()}
            _refuse_unknown("SKYLOOM_CLOUDS", wanted, clouds)
            clouds = {name: {**cloud, "enabled": name in wanted} for name, cloud in clouds.items()}
        data["clouds"] = clouds
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise SpecError(_slip(file, env, error)) from None

    def environ(self) -> dict[str, str]:
        """This process's environment, with what logs in to the clouds."""
        return {**os.environ, **{name: value.get_secret_value() for name, value in self.login.items()}}

    def enabled_clouds(self) -> tuple[str, ...]:
        """Names of the clouds that may be used, in alphabetical order."""
        return tuple(sorted(name for name, cloud in self.clouds.items() if cloud.enabled))


TABLES: Mapping[str, Collection[str]] = {
    "clouds": CloudConfig.model_fields,
    "scale": Scale.__dataclass_fields__,
    "defaults": Defaults.model_fields,
    "limits": Limits.model_fields,
    "python": PythonSource.model_fields,
    "webhooks": Webhook.model_fields,
}
"""What the tables of config.toml hold."""


def _clouds_of(file: Path, data: Mapping[str, Any], own: Iterable[str]) -> dict[str, Any]:
    """The tables ``[clouds.<name>]``."""
    said = data.get("clouds", {})
    if not isinstance(said, dict) or not all(isinstance(table, dict) for table in said.values()):
        raise SpecError(f"{file}: clouds: write a table for each cloud, [clouds.gcp]; SKYLOOM_CLOUDS takes a list")
    _refuse_unknown(f"{file}: clouds", said, [*known_clouds(), *own])
    if odd := [name for name, table in said.items() if "hosts" in table]:
        raise SpecError(f"{file}: clouds.{odd[0]}.hosts: hosts stand in catalog.toml, with what they offer")
    return said


def _is_loopback(host: Host) -> bool:
    """Whether it is this very machine: no other may be used by a job of the sandbox."""
    return _is_this_machine(host.address)


def _ends_here(table: Mapping[str, Any]) -> bool:
    """Whether a cloud is an emulated one, on this machine."""
    endpoint = table.get("endpoint")
    return isinstance(endpoint, str) and _is_this_machine(urlsplit(endpoint).hostname or "")


def _is_this_machine(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def _refuse_unknown(source: str, said: Iterable[str], known: Iterable[str]) -> None:
    for name in sorted(set(said) - set(known)):
        raise SpecError(f"{source}: no cloud {name!r}; there are {', '.join(sorted(known))}{_nearest(name, known)}")


def _slip(file: Path, env: Mapping[str, str], error: ValidationError) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors(include_url=False)[0]
    parts = [str(part) for part in first["loc"]]
    variable = VARIABLES.get(parts[0], "")
    source = variable if env.get(variable) else f"{file}: {'.'.join(parts)}"
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = TABLES.get(parts[0], Settings.model_fields)
        return f"{source}: no such setting{_nearest(parts[-1], known)}"
    if first["type"] == "literal_error":
        expected = first["ctx"]["expected"]
        return f"{source}: {first['input']!r} is not {expected}{_nearest(str(first['input']), expected.split(chr(39)))}"
    said = first["msg"].removeprefix("Value error, ")
    return f"{source}: {said[0].lower()}{said[1:]}"


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
