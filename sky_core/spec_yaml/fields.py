"""What a file may say: the schema that every file is held against, and that docs/yaml.md is made of.

Each field says what it means, gives an example, which is the cure where the field is written wrongly, and belongs to
SkyPilot's format or is Skyloom's own. What SkyPilot knows and Skyloom does otherwise is accepted here and told as a
note or refused in :mod:`.task`, so that nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Source = Literal["both", "skypilot", "skyloom"]


def described(text: str, example: str, of: Source = "both", default: Any = None, **more: Any) -> Any:
    """A field with its meaning, an example of a line, and whose it is."""
    return Field(default, description=text, examples=[example], json_schema_extra={"of": of}, **more)


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


class Fields(BaseModel):
    """Base of the schema: no unknown fields; an empty field is as if it were not there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {key: value for key, value in data.items() if value is not None or key not in cls.model_fields}


Words = str | int | float | bool | None
Values = Mapping[str, Words | dict[str, Any] | list[Any]]


class RecoveryFields(Fields):
    """``job_recovery``."""

    strategy: str | None = described("accepted; the strategy is Skyloom's own", "strategy: FAILOVER", "skypilot")
    max_restarts_on_errors: int | None = described(
        "how often a command that failed is run again on its machine; not for gangs",
        "max_restarts_on_errors: 3",
        "skypilot",
        ge=0,
    )
    recover_on_exit_codes: Annotated[list[Annotated[int, Field(ge=1, le=255)]] | None, BeforeValidator(_as_list)] = (
        described("exit codes after which it always is", "recover_on_exit_codes: [33]", "skypilot")
    )
    min_nodes: int | None = described(
        "accepted; all machines of a gang run, or none does", "min_nodes: 2", "skypilot", ge=1
    )


class ResourceFields(Fields):
    """``resources``: what each machine of a task has to be."""

    infra: str | None = described(
        "where: cloud, cloud/region or cloud/region/zone; `*` stands for any", "infra: aws/us-east-1"
    )
    cloud: str | list[str] | None = described("the cloud, or several", "cloud: gcp")
    region: str | list[str] | None = described("the region, or several; patterns such as `eu-*`", "region: us-east-1")
    zone: str | list[str] | None = described("the zone, or several", "zone: us-east-1a")
    exclude: str | list[str] | None = described("clouds, regions, zones to stay away from", "exclude: ap-*", "skyloom")
    accelerators: str | dict[str, float | None] | list[Any] | None = described(
        "GPUs, TPUs and the like, with their number; a list or set means any of them. A part of one (`T4:0.5`) is a "
        "whole one where no cloud sells the part",
        "accelerators: L4:4",
    )
    accelerator_args: dict[str, Any] | None = described(
        "for TPUs: `runtime_version` is used, `gcp_queued_resource` is a `queue` of 30 minutes, the rest is said",
        "accelerator_args: {runtime_version: tpu-vm-base}",
        "skypilot",
    )
    cpus: str | int | float | None = described("vCPUs: `8` exactly, `8+` at least, `8-16` a range", "cpus: 8+")
    memory: str | int | float | None = described(
        "GiB, with a unit if you like; `32+` at least, `4x` four or more for each vCPU", "memory: 32GB+"
    )
    instance_type: str | list[str] | None = described("a machine type, or several", "instance_type: m5.large")
    arch: Literal["x86_64", "arm64"] | None = described("the processor's architecture", "arch: x86_64", "skyloom")
    use_spot: bool | None = described("a spot machine may be used where one is cheaper", "use_spot: true")
    job_recovery: str | RecoveryFields | None = described(
        "when a command that failed is run again; what happens after a preemption is Skyloom's own affair",
        "job_recovery: {max_restarts_on_errors: 3}",
        "skypilot",
    )
    disk_size: str | int | float | None = described("GiB of the boot disk, with a unit if you like", "disk_size: 256")
    disk_tier: str | None = described("accepted; the cloud's standard disk is used", "disk_tier: high", "skypilot")
    network_tier: str | None = described(
        "accepted; machines talk over the cloud's standard network", "network_tier: best", "skypilot"
    )
    local_disk: str | None = described("accepted; no machine is chosen for its disks", "local_disk: nvme", "skypilot")
    max_hourly_cost: float | None = described("USD that one machine may cost per hour", "max_hourly_cost: 20", gt=0)
    # bool: else pydantic would make 1 of true, an hour; Resources refuses it.
    queue: str | bool | int | float | None = described(
        "how long to wait at most in the cloud's own queue (Google has them for TPUs, and for GPUs on demand) before "
        "the next best place is tried; without it a machine is had at once or not at all",
        "queue: 30m",
        "skyloom",
    )
    managed: Literal["spark"] | None = described(
        "a cluster of a cloud's own service for this engine, see [clusters](clusters.md)", "managed: spark", "skyloom"
    )
    version: str | None = described("the version of the managed engine", 'version: ">=3.3"', "skyloom")
    ports: Annotated[list[int | str] | None, BeforeValidator(_as_list)] = described(
        "ports to open: numbers and ranges", "ports: [8080, 9000-9003]"
    )
    image_id: str | dict[str, str] | None = described(
        "the image that setup and run happen in a container of, after `docker:`; or the machine's own; or one for each "
        "region",
        "image_id: docker:python:3.12",
        "skypilot",
    )
    image: str | dict[str, str] | None = described("the same as `image_id`", "image: ami-0123456789abcdef0", "skyloom")
    labels: dict[str, Words] | None = described("tags to put on the machine", "labels: {team: research}")
    features: dict[str, str | bool] | None = described(
        "what the machine has to have by the catalog's labels", "features: {confidential: sgx}", "skyloom"
    )
    spot_recovery: str | None = described(
        "accepted, as a strategy of `job_recovery`", "spot_recovery: failover", "skypilot"
    )
    ephemeral_storage: str | int | float | None = described(
        "the same as `disk_size`", "ephemeral_storage: 256GB", "skypilot"
    )
    autostop: bool | int | str | dict[str, Any] | None = described(
        "accepted; a job ends its machines when it is over, unless the task says `keep`",
        "autostop: {idle_minutes: 10}",
        "skypilot",
    )
    priority: int | None = described("accepted; all jobs start at once", "priority: 500", "skypilot")
    priority_class: str | None = described("accepted, as `priority`", "priority_class: high", "skypilot")
    hooks: Any = described("accepted, and not run", "hooks: []", "skypilot")
    termination_hook: Any = described("accepted, and not run", "termination_hook: {command: ./bye.sh}", "skypilot")
    volumes: list[Any] | None = described("refused: disks that outlive a job", "volumes: []", "skypilot")
    any_of: list[ResourceFields] | None = described(
        "alternatives, of which the best is taken; each may differ in whatever is said here",
        "any_of: [{infra: aws}, {infra: gcp}]",
    )
    candidates: list[ResourceFields] | None = described(
        "the same as `any_of`", "candidates: [{accelerators: T4:4}, {accelerators: V100:4}]", "skypilot"
    )
    ordered: list[ResourceFields] | None = described(
        "alternatives, of which the first that can be had is taken", "ordered: [{infra: gcp}, {infra: aws}]"
    )


class StorageFields(Fields):
    """A value of ``file_mounts`` that is more than a path or a URI."""

    name: str | None = described("a bucket, which is made where there is none", "name: team-checkpoints")
    source: str | list[str] | None = described(
        "a bucket's URI, or local files or folders that go to the bucket of that name", "source: s3://bucket/data"
    )
    store: str | None = described("where the bucket `name` is: s3, gcs or azure", "store: s3")
    mode: str | None = described(
        "MOUNT (the default) or MOUNT_CACHED: what the job writes is written back to the bucket; COPY: it is not",
        "mode: MOUNT",
    )
    persistent: bool | None = described("accepted; buckets are never removed", "persistent: true", "skypilot")
    force_managed: bool | None = described("accepted, as `persistent`", "force_managed: true", "skypilot")
    type: str | None = described("accepted", "type: MODEL_CHECKPOINT_RW", "skypilot")
    config: dict[str, Any] | None = described("accepted; a cache is not set up", "config: {}", "skypilot")
    size_gb: float | None = described("GB of it, for the plan", "size_gb: 120", "skyloom", ge=0)


class GitFields(Fields):
    """``workdir`` as a repository."""

    url: str = Field(description="the repository", examples=["url: https://github.com/team/project.git"])
    ref: str | None = described("a branch, tag or commit", "ref: main")


class ArtifactFields(Fields):
    """A value of ``inputs`` or ``outputs`` that is more than a reference or a URI."""

    uri: str | None = described("where it lies", "uri: s3://bucket/path", "skyloom")
    size_gb: float | None = described("GB of it, for the plan", "size_gb: 2", "skyloom", ge=0)
    location: str | None = described(
        "cloud/region of the bucket, where its URI does not tell", "location: aws/us-east-1", "skyloom"
    )


class TaskFields(Fields):
    """A task."""

    name: str | None = described("its name", "name: train")
    run: str | None = described("the shell script; runs on each machine of the task", "run: python train.py")
    setup: str | None = described("a shell script to run before", "setup: pip install -r requirements.txt")
    workdir: str | GitFields | None = described(
        "a folder to take along, or a git repository to clone; `run` starts in it", "workdir: ."
    )
    environment: str | None = described(
        "the packages that `run` finds: a `uv.lock`, `pyproject.toml` or `requirements.txt`, or `caller` for those of "
        "the Python that submits",
        "environment: uv.lock",
        "skyloom",
    )
    envs: Values | None = described(
        "environment variables. One without a value has to come from `--env`, `--env-file` or the environment; "
        "mappings and lists are written as JSON",
        "envs: {EPOCHS: 10}",
    )
    secrets: str | list[str] | dict[str, Words] | None = described(
        "variables whose values come from the environment, `--secret` or `--env-file`; a value here is what counts "
        "without them, and is stored nowhere",
        "secrets: [API_TOKEN]",
    )
    managed_secrets: list[str] | None = described("the same as `secrets`", "managed_secrets: [API_TOKEN]", "skypilot")
    num_nodes: int | None = described("machines of the task", "num_nodes: 2", ge=1)
    engine: str | dict[str, Any] | None = described(
        "what makes one computer of the machines: torchrun, jax, mpi, ray, dask or spark; or a mapping with its `name` "
        "and [options](clusters.md#engines)",
        "engine: ray",
        "skyloom",
    )
    elastic: dict[str, Any] | None = described(
        "let machines [come and go](clusters.md#elastic-gangs) with spot while `run` goes on: `max` and `min` of all, "
        "`reliable` of them on demand",
        "elastic: {min: 1, max: 8, reliable: 1}",
        "skyloom",
    )
    resources: ResourceFields | None = described("what each machine has to be", "resources: {accelerators: L4:4}")
    file_mounts: dict[str, str | StorageFields] | None = described(
        "what lies at which path of the machine: a bucket's URI, a local file or folder, or a storage mount",
        "file_mounts: {/data: s3://bucket/data}",
    )
    inputs: dict[str, str | float | ArtifactFields] | None = described(
        "data it reads, at `$SKY_INPUT_<NAME>`: a URI, or another task's output as task.output",
        "inputs: {images: process.images}",
        "skyloom",
    )
    outputs: dict[str, str | float | ArtifactFields | None] | None = described(
        "data it writes, at `$SKY_OUTPUT_<NAME>`", "outputs: {model: {size_gb: 2}}", "skyloom"
    )
    restarts: int | None = described("as `max_restarts_on_errors`", "restarts: 3", "skyloom", ge=0)
    restart_on: list[int] | None = described("as `recover_on_exit_codes`", "restart_on: [33]", "skyloom")
    hours: float | str | dict[str, float | str] | None = described(
        "how long it takes, in hours: one number, or one for each accelerator or machine type",
        "hours: {L4:4: 8.4, T4: 20}",
        "skyloom",
    )
    checkpoint: bool | int | float | str | dict[str, Any] | None = described(
        "keep `$SKY_CHECKPOINT_DIR`: true, or how often", "checkpoint: 10m", "skyloom"
    )
    deadline: int | float | str | None = described(
        "when it has to be done: hours or a duration from its submission, or a point in time", "deadline: 6h", "skyloom"
    )
    max_attempts: int | None = described(
        "launches in a row that may come to nothing", "max_attempts: 4", "skyloom", ge=1
    )
    budget_usd: float | None = described("USD that it may cost", "budget_usd: 40", "skyloom", gt=0)
    keep: int | float | str | None = described(
        "how long its machines are [kept](command-line.md#warm-machines), idle and paid for, when its command has "
        "ended: hours or a duration; `--keep` counts before it",
        "keep: 30m",
        "skyloom",
    )
    cluster: str | None = described(
        "the name that they are kept under, and that machines to run on are looked for under; else the task's; "
        "`--cluster` counts before it",
        "cluster: dev",
        "skyloom",
    )
    max_hourly_cost: float | None = described("the same as in resources", "max_hourly_cost: 20", gt=0)
    config: dict[str, Any] | None = described("accepted; settings are in config.toml", "config: {}", "skypilot")
    experimental: dict[str, Any] | None = described("accepted, as `config`", "experimental: {}", "skypilot")
    api_server_access: bool | None = described(
        "accepted; there is no such server", "api_server_access: true", "skypilot"
    )
    event_callback: str | None = described("accepted, and not run", "event_callback: ./tell.sh", "skypilot")
    volumes: dict[str, Any] | None = described("refused: disks that outlive a job", "volumes: {}", "skypilot")
    service: dict[str, Any] | None = described("refused: Skyloom does not serve", "service: {}", "skypilot")
    pool: dict[str, Any] | None = described("refused: Skyloom keeps no pools", "pool: {}", "skypilot")


class PipelineHead(Fields):
    """The fields of a pipeline beside its tasks; also a first document that only says what follows."""

    name: str | None = described("its name", "name: nightly")
    minimize: Literal["cost", "time", "cost*time"] | None = described(
        "what the plan minimizes", "minimize: time", "skyloom"
    )
    deadline: int | float | str | None = described("for all of it", "deadline: 6h", "skyloom")
    budget: float | None = described("USD for all of it", "budget: 40", "skyloom", gt=0)
    budget_usd: float | None = described("the same as `budget`", "budget_usd: 40", "skyloom", gt=0)
    execution: Literal["serial", "parallel"] | None = described(
        "serial: the documents that follow are a chain; parallel: they run side by side",
        "execution: parallel",
        "skypilot",
    )
    primary_tasks: str | list[str] | None = described(
        "accepted; all tasks run to their end", "primary_tasks: [a]", "skypilot"
    )
    termination_delay: str | int | dict[str, Any] | None = described(
        "accepted, as primary_tasks", "termination_delay: 30s", "skypilot"
    )
    inter_connection: Any = described(
        "accepted; tasks do not see each other's machines", "inter_connection: true", "skypilot"
    )


class PipelineFields(PipelineHead):
    """A pipeline of named tasks."""

    tasks: list[dict[str, Any]] | dict[str, dict[str, Any]] = Field(
        description="the tasks: a list, or a mapping from their names", examples=["tasks: [{name: a, run: ./a.sh}]"]
    )
    order: list[list[str] | str] | None = described(
        "which task waits for which, beside those whose data it takes", "order: [[extract, load]]", "skyloom"
    )


HEAD = frozenset(PipelineHead.model_fields)
AS_WRITTEN = frozenset({"envs", "secrets", "labels", "name", "run", "setup", "ref", "memory", "disk_size", "cpus",
                        "version"})  # fmt: skip
