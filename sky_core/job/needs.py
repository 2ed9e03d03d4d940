"""What a job takes along from the process that submitted it, so that a driver on any host can go on with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO

from sky_core.clouds.credentials import why_unusable
from sky_core.config import EVERY_REGION, Granted, Settings
from sky_core.errors import SpecError
from sky_core.planner.plan import Record
from sky_core.remote import workdir
from sky_core.remote.pythons import locking
from sky_core.remote.workdir import Archive
from sky_core.store import Job, Store

PIECE_BYTES = 4 << 20  # of a packed folder in one row: a row has to fit in memory a few times over
LIMIT_BYTES = 512 << 20


class Parcel(Record):
    """A packed folder in the store.

    Attributes:
        sha256: Of the whole archive.
        pieces: SHA-256 of each of its pieces, in order.
    """

    sha256: str
    pieces: tuple[str, ...]


class Needs(Record):
    """What was fixed when the job was submitted.

    Attributes:
        profile: Of the submitter's settings: a job of the sandbox never reaches the real clouds.
        clouds: The clouds it may run in, each with the patterns of the regions allowed there.
        key_id: The team key that its machines bear and its secrets are sealed with.
        workdir: The folder that the command runs in a copy of.
        files: The local files and folders that are mounted.
        environment: The list of the packages that it runs with, and wheels of some of them…
        python: …and the minor version of Python that they are for.
        sealed: The values of its secrets, or "" without any.
        logins: What its submitter logs in to each cloud with, as ``clouds.credentials.login_of`` names it.
        granted: What its submitter may spend, beside the limits of whoever drives it.
        person: Who submitted it.
    """

    profile: str
    clouds: Mapping[str, tuple[str, ...]]
    key_id: str
    workdir: Parcel | None = None
    files: Parcel | None = None
    environment: Parcel | None = None
    python: str = ""
    sealed: str = ""
    logins: Mapping[str, str] = {}
    granted: Granted = Granted()
    person: str | None = None

    @classmethod
    def of(cls, job: Job) -> Needs | None:
        """The needs of a job; None if an earlier version, which did not keep them, submitted it."""
        return cls.model_validate(job.needs) if job.needs else None

    def allows(self, cloud: str, region: str) -> bool:
        """Whether the job may run there."""
        return any(fnmatchcase(region, pattern) for pattern in self.clouds.get(cloud, ()))

    def narrowed(self, settings: Settings) -> Settings:
        """A driver's settings with what the submitter allowed (clouds, regions, money), whatever the driver's say."""
        clouds = {
            name: config.model_copy(
                update={"enabled": name in self.clouds, "regions": self.clouds.get(name, EVERY_REGION)}
            )
            for name, config in settings.clouds.items()
        }
        return settings.model_copy(update={"clouds": clouds, "granted": self.granted})


def allowed_clouds(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The clouds that may be used here, each with its regions, as :class:`Needs` keeps them."""
    clouds, environ = settings.clouds, settings.environ()
    return {name: config.regions for name, config in clouds.items() if why_unusable(name, config, environ) is None}


def keep_folder(store: Store, folder: Path, task: str) -> Parcel:
    """Pack a folder into the store; what is there already is not sent again.

    Raises:
        SpecError: if it is larger than ``LIMIT_BYTES`` when packed; ``task`` is its task's name.
    """
    with workdir.packed(str(folder)) as (digest, file):
        return _keep(store, digest, file, f"Task.{task}: workdir: {folder} has")


def keep_sources(store: Store, sources: Sequence[Path], task: str) -> Parcel:
    """Pack the local files and folders that a task mounts into the store, as :func:`keep_folder` does.

    Raises:
        SpecError: if together they are larger than ``LIMIT_BYTES`` when packed.
    """
    with workdir.packed_sources(sources) as (digest, file):
        return _keep(store, digest, file, f"Task.{task}: file_mounts: the local files have")


def keep_environment(store: Store, environment: str, base: Path, task: str) -> Parcel:
    """Write down the packages of an environment, see :mod:`sky_core.remote.pythons.locking`, and keep that.

    Raises:
        SpecError: if that cannot be done.
    """
    with tempfile.TemporaryDirectory(prefix="skyloom-environment-") as folder:
        locking.write(environment, base, Path(folder))
        return keep_folder(store, Path(folder), task)


def _keep(store: Store, digest: str, file: BinaryIO, what: str) -> Parcel:
    size = file.seek(0, 2)
    if size > LIMIT_BYTES:
        raise SpecError(
            f"{what} {size >> 20} MiB when packed, more than {LIMIT_BYTES >> 20}",
            cure="keep data out of it (.gitignore and .skyignore count) and give it as an input",
        )
    file.seek(0)
    pieces = [store.put_payload(piece) for piece in iter(lambda: file.read(PIECE_BYTES), b"")]
    return Parcel(sha256=digest, pieces=tuple(pieces))


def kept_folder(store: Store, parcel: Parcel) -> Archive:
    """The folder that :func:`keep_folder` kept, read from the store only when a machine lacks it."""

    def pieces() -> Iterator[bytes]:
        return (store.payload(sha) for sha in parcel.pieces)

    return Archive(parcel.sha256, pieces)
