"""What machines a task may run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    field_validator,
    model_validator,
)

from sky_core.measures.versions import clauses
from sky_core.spec.values import Amount, Hours, Places, Spec, _parse_accelerators, one_or_several

DOCKER = "docker:"  # before the name of a container's image


class Resources(Spec):
    """What a task needs of each machine.

    ``accelerators`` is an *any of*: ``"V100:4"``, ``{"V100": 4}``, or a list or set of such. ``cpus`` and
    ``memory`` (GiB) take ``8`` (exactly), ``"8+"`` (at least) or ``"8-16"``. ``cloud``, ``region``, ``zone`` and
    ``instance_type`` take one name, several, or glob patterns; ``exclude`` removes places by the same
    patterns (matched against cloud, region and zone). ``labels`` ask for features, e.g.
    ``{"confidential": "sgx"}`` or ``{"confidential": True}`` for any kind of it; ``tags`` are put on the machine.
    ``image`` is what the machine boots, as its cloud calls it; or, after ``docker:``, what commands run in.
    ``max_hourly_cost`` is what one machine may cost, USD. ``queue`` (hours, or ``"30m"``) is how long to wait at most
    in the cloud's own queue for such machines before the next best place is tried; where there is none, it means
    nothing.

    ``managed="spark"`` asks for a cluster that a cloud's own service runs, with a ``version`` of Spark such as
    ``">=3.3"`` (``"3.5"`` is any 3.5); its fee counts as the machines' price.

    ``any_of`` are alternatives, ``ordered`` those of which the first is taken that can be had: what one of them says
    stands in place of what is said here.
    """

    accelerators: Annotated[tuple[tuple[str, float], ...], BeforeValidator(_parse_accelerators)] = ()
    cpus: Annotated[Amount, BeforeValidator(Amount.parse)] | None = None
    memory: Annotated[Amount, BeforeValidator(Amount.parse)] | None = None
    instance_type: Places = ()
    cloud: Places = ()
    region: Places = ()
    zone: Places = ()
    exclude: Places = ()
    arch: Literal["x86_64", "arm64"] | None = None
    use_spot: bool = False
    disk_size: Annotated[int, Field(gt=0)] = 64
    image: str | None = None
    ports: Annotated[tuple[int, ...], BeforeValidator(one_or_several)] = ()
    labels: Mapping[str, str | bool] = Field(default_factory=dict)
    tags: Mapping[str, str] = Field(default_factory=dict)
    max_hourly_cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    queue: Hours | None = None
    managed: Literal["spark"] | None = None
    version: str | None = None
    any_of: tuple[Resources, ...] = ()
    ordered: tuple[Resources, ...] = ()

    @property
    def container(self) -> str | None:
        """The image of the container that commands run in, on the machine; None: on the machine itself."""
        return self.image[len(DOCKER) :] if self.image and self.image.startswith(DOCKER) else None

    @property
    def machine_image(self) -> str | None:
        """The image that the machine boots; None: the one that its cloud's provider chooses."""
        return None if self.container else self.image

    @property
    def alternatives(self) -> tuple[Resources, ...]:
        """What would do, each whole: itself, where it names none."""
        return self.any_of or self.ordered or (self,)

    @property
    def may_use_spot(self) -> bool:
        """Whether any of its alternatives may use spot."""
        return any(wanted.use_spot for wanted in self.alternatives)

    @model_validator(mode="before")
    @classmethod
    def _whole_alternatives(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not (data.get("any_of") or data.get("ordered")):
            return data
        if data.get("any_of") and data.get("ordered"):
            raise ValueError("any_of: give any_of or ordered, not both")
        common = {key: value for key, value in data.items() if key not in ("any_of", "ordered")}
        whole = {
            field: tuple(
                Resources(**{**common, **choice}) if isinstance(choice, Mapping) else choice
                for choice in data.get(field) or ()
            )
            for field in ("any_of", "ordered")
        }
        return {**common, **whole}

    @field_validator("queue", mode="before")
    @classmethod
    def _time_to_wait(cls, value: Any) -> Any:
        if isinstance(value, bool):  # which a number of hours would take for 0 or 1
            raise ValueError("a time, e.g. 30m; leave it out to wait for nothing")
        return value

    @field_validator("version", mode="before")
    @classmethod
    def _versions(cls, value: Any) -> Any:
        if value is not None:
            clauses(str(value))
        return None if value is None else str(value)

    @model_validator(mode="after")
    def _what_services_have(self) -> Resources:
        if self.any_of or self.ordered:
            return self
        if self.version is not None and self.managed is None:
            raise ValueError("version: say managed='spark' beside it; on machines the environment has the versions")
        if self.managed is not None:
            for name in ("accelerators", "image", "ports"):
                if getattr(self, name):
                    raise ValueError(f"managed: clusters of a service are not to be had with {name}; leave it out")
        return self

    @field_validator("cpus")
    @classmethod
    def _cpus_count(cls, value: Amount | None) -> Amount | None:
        if value is not None and value.per_cpu:
            raise ValueError("only memory is counted for each vCPU; write e.g. 8 or '8+'")
        return value

    @field_validator("image")
    @classmethod
    def _named_image(cls, value: str | None) -> str | None:
        if value is not None and value.startswith(DOCKER) and not value[len(DOCKER) :].strip():
            raise ValueError("docker: without the name of an image; write e.g. docker:python:3.12")
        return value

    @field_validator("cloud")
    @classmethod
    def _lower_case(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Custom rows (on-premises) bring clouds of their own; the planner rejects what no row has.
        return tuple(item.lower() for item in value)
