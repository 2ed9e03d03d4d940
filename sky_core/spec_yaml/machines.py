"""From ``resources`` of a file to :class:`~sky_core.spec.Resources`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from sky_core.facts import clouds
from sky_core.spec import Resources, did_you_mean
from sky_core.spec_yaml.fields import ResourceFields
from sky_core.spec_yaml.slips import Slip
from sky_core.spec_yaml.units import memory, ports, whole_gib

Note = Callable[[str, str], None]  # field, what is made of it

KUBERNETES = frozenset({"k8s", "kubernetes"})
# What SkyPilot also runs on, https://docs.skypilot.co/en/latest/reference/yaml-spec.html
ELSEWHERE = {
    "lambda", "runpod", "vast", "oci", "ibm", "nebius", "cudo", "paperspace", "do", "fluidstack", "scp", "vsphere",
    "hyperbolic", "seeweb", "primeintellect", "shadeform", "slurm", "mithril", "verda", "yotta", "coreweave", "local",
}  # fmt: skip
FEATURES = frozenset(
    {"confidential", "generation", "withdrawn", "retirement"}
)  # labels that the catalog's own facts give
ACCEPTED = {
    "disk_tier": "the cloud's standard disk is used",
    "network_tier": "machines talk over the cloud's standard network; EFA and the like are not set up",
    "local_disk": "no machine is chosen for its local disks",
    "spot_recovery": "left out: what follows a preemption is decided anew",
    "autostop": "left out: a job ends its machines when it is over, unless its task says keep: 30m",
    "priority": "left out: all jobs start at once",
    "priority_class": "left out: all jobs start at once",
    "hooks": "not run; a command is sent SIGTERM when its machine is to end, see $SKY_EVICTION_FILE",
    "termination_hook": "not run; a command is sent SIGTERM when its machine is to end, see $SKY_EVICTION_FILE",
}
SAME = (
    "exclude",
    "instance_type",
    "arch",
    "use_spot",
    "max_hourly_cost",
    "queue",
    "cpus",
    "managed",
    "version",
)  # as they are in Resources
PLACES = ("cloud", "region", "zone")
QUEUE = "30m"  # how long a machine is waited for that a file only says is to be queued for; SkyPilot has no limit
ALTERNATIVES = {"any_of": "any_of", "candidates": "any_of", "ordered": "ordered"}  # what each is in Resources


def resources_of(fields: ResourceFields, note: Note) -> Resources:
    """What the file asks for.

    Raises:
        Slip: for what cannot be had or meant; its place is below ``resources``.
        SpecError: from :class:`Resources`.
    """
    common = _plain(fields, note, ())
    said = [name for name in ALTERNATIVES if getattr(fields, name)]
    if len(said) > 1:
        raise Slip((said[-1],), f"{' and '.join(said)} cannot stand together", "keep one of them")
    choices = _choices(getattr(fields, said[0]), said[0], note) if said else [{}]
    choices = [one for choice in choices for one in _by_region(common, choice)]
    if isinstance(common.get("image"), Mapping):
        del common["image"]
    if len(choices) == 1:
        return Resources(**common | choices[0])
    return Resources(**common, **{ALTERNATIVES[said[0]] if said else "any_of": choices})


def _by_region(common: Mapping[str, Any], choice: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The alternative, once for each region where its image is said by region."""
    image, region = ({**common, **choice}.get(name) for name in ("image", "region"))
    if not isinstance(image, Mapping):
        return [dict(choice)]
    if region is not None and region not in image:
        raise Slip(("image_id",), f"there is no image for {region}", f"there are images for {', '.join(image)}")
    return [{**choice, "region": name, "image": image[name]} for name in ([region] if region else image)]


def _choices(alternatives: list[ResourceFields], named: str, note: Note) -> list[dict[str, Any]]:
    """The alternatives that can be had at all; those on other clouds are told."""
    found, refused = [], []
    for number, choice in enumerate(alternatives):
        try:
            if deeper := [name for name in ALTERNATIVES if getattr(choice, name)]:
                cure = "write each combination as an alternative of its own"
                raise Slip((deeper[0],), "alternatives cannot have alternatives of their own", cure)
            found.append(_plain(choice, note, (named, number)))
        except NotHere as slip:
            slip.at = (named, number, *slip.at)
            refused.append(slip)
        except Slip as slip:
            slip.at = (named, number, *slip.at)
            raise
    if not found:
        raise refused[0]
    for other in refused:
        note("resources." + ".".join(map(str, other.at)), f"left out: {other}")
    return found


class NotHere(Slip):
    """A place on no cloud of ours."""


def _plain(fields: ResourceFields, note: Note, at: tuple[str | int, ...]) -> dict[str, Any]:
    """The fields without the alternatives, as keyword arguments; only those that are given."""
    data: dict[str, Any] = {name: value for name in SAME if (value := getattr(fields, name)) is not None}
    data |= _place(fields)
    for name, reason in ACCEPTED.items():
        if getattr(fields, name) is not None:
            note(".".join(map(str, ("resources", *at, name))), reason)
    if fields.volumes:
        raise Slip(("volumes",), "disks that outlive a job are not kept", "mount a bucket in file_mounts instead")
    if fields.accelerators is not None:
        data["accelerators"] = _accelerators(fields.accelerators, note)
    if fields.ephemeral_storage is not None and fields.disk_size is not None:
        raise Slip(("ephemeral_storage",), "ephemeral_storage and disk_size are the same", "keep disk_size")
    sizes: list[tuple[str, Callable[[Any], Any]]] = [
        ("memory", memory),
        ("disk_size", whole_gib),
        ("ephemeral_storage", whole_gib),
        ("ports", ports),
    ]
    for name, read in sizes:
        if (value := getattr(fields, name)) is not None:
            data["disk_size" if name == "ephemeral_storage" else name] = _read(name, read, value)
    if fields.image_id is not None and fields.image is not None:
        raise Slip(("image",), "image and image_id are the same", "keep one of them")
    if (image := fields.image if fields.image is not None else fields.image_id) is not None:
        data["image"] = _image(image, "image" if fields.image is not None else "image_id", note)
    _arguments(fields.accelerator_args or {}, data, note)
    return {name: value for name, value in (data | _labels(fields)).items() if value not in (None, {}, "")}


def _read(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise Slip((name,), str(error)) from None


def _place(fields: ResourceFields) -> dict[str, Any]:
    data = {name: value for name in PLACES if (value := getattr(fields, name)) not in (None, "", "*")}
    if fields.infra and fields.infra.strip():
        parts = [part.strip() for part in fields.infra.strip().strip("/").split("/")]
        if len(parts) > len(PLACES) and parts[0].lower() not in KUBERNETES:
            raise Slip(("infra",), f"{fields.infra!r} has too many parts", "write cloud/region/zone")
        said = {name: part for name, part in zip(PLACES, parts, strict=False) if part not in ("", "*")}
        if twice := said.keys() & data.keys():
            raise Slip(("infra",), f"infra and {min(twice)} both say where", "keep infra")
        data |= said
    named, ours = data.get("cloud", []), clouds()
    for cloud in [named] if isinstance(named, str) else named:
        if cloud.lower() in ours:  # a package may have added one of those below
            continue
        if cloud.lower() in KUBERNETES:
            raise NotHere(
                ("infra" if fields.infra else "cloud",),
                "Kubernetes is none of Skyloom's clouds",
                f"leave it out to have any of {', '.join(ours)}, or name one",
            )
        if cloud.lower() in ELSEWHERE:
            raise NotHere(
                ("infra" if fields.infra else "cloud",),
                f"{cloud} is none of Skyloom's clouds",
                f"write one of {', '.join(ours)}",
            )
    return data


def _accelerators(value: Any, note: Note) -> list[tuple[str, float]]:
    """Any of these. Of a part of one, the part or a whole one."""
    pairs = [pair for item in _items(value) for pair in _pair(item)]
    found: list[tuple[str, float]] = []
    for name, count in pairs:
        found.append((name, count))
        if name.lower() == "inferentia":
            note("resources.accelerators", f"{name}:{count:g}: of either generation, which SkyPilot calls by one name")
            found.append(("Inferentia2", count))
        if not count.is_integer():
            note("resources.accelerators", f"{name}:{count:g}: a whole one where no cloud sells the part")
            found.append((name, float(math.ceil(count))))
    return found


def _items(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return [name if count is None else (name, count) for name, count in value.items()]
    if isinstance(value, list):
        return [item for entry in value for item in (_items(entry) if isinstance(entry, Mapping) else [entry])]
    return [value]


def _pair(item: Any) -> list[tuple[str, float]]:
    name, count = item if isinstance(item, tuple) else (str(item), None)
    if count is None:
        name, _, text = name.strip().partition(":")
        try:
            count = float(text) if text.strip() else 1.0
        except ValueError:
            count = math.nan
    name = str(name).strip()
    if not name or not (math.isfinite(count) and count > 0):
        raise Slip(("accelerators",), f"{item!r} is not an accelerator with its number", "write e.g. V100:4")
    return [(name, float(count))]


def _image(image: Any, name: str, note: Note) -> Any:
    names = list(image.values()) if isinstance(image, Mapping) else [image]
    for one in names:
        if one.startswith("skypilot:"):
            note(f"resources.{name}", f"left out: {one} is SkyPilot's; the cloud's own image is used, with GPU drivers")
            return None
    if isinstance(image, Mapping) and len(image) == 1 and "None" in image:
        return image["None"]
    return image


def _arguments(given: Mapping[str, Any], data: dict[str, Any], note: Note) -> None:
    for name, value in given.items():
        if name == "runtime_version":
            data["image"] = str(value)
        elif name == "gcp_queued_resource":
            if not isinstance(value, bool):
                raise Slip(("accelerator_args", name), f"{value!r} is neither true nor false", "write true")
            if value and data.setdefault("queue", QUEUE) == QUEUE:
                note(f"resources.accelerator_args.{name}", f"queue: {QUEUE}, after which the next best place is tried")
        elif name == "tpu_vm" and value is True:
            continue
        elif name in ("tpu_vm", "tpu_name"):
            note(f"resources.accelerator_args.{name}", "left out: TPUs are always VMs, named by Skyloom")
        else:
            cure = did_you_mean(name, ["runtime_version", "tpu_vm", "tpu_name", "gcp_queued_resource"])
            raise Slip(("accelerator_args", name), "no such field", cure or "there is runtime_version")


def _labels(fields: ResourceFields) -> dict[str, Any]:
    """Tags of the machine, and what it has to have; a label that only looks like such a need is refused."""
    tags, features = {}, dict(fields.features or {})
    for name, value in (fields.labels or {}).items():
        if name in FEATURES:
            features.setdefault(name, True if str(value).lower() == "true" else str(value))
        elif near := did_you_mean(name, ["confidential"]):  # a slip there would cost what it asks for
            raise Slip(("labels", name), f"a tag, or a need? {near}", "a tag of that name has to be renamed")
        else:
            tags[name] = "" if value is None else str(value)
    return {"tags": tags, "labels": features}
