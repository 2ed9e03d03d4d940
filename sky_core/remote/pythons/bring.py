"""Bringing Python to a machine over SSH: uv, an interpreter of the caller's minor version, the packages that move data.

Once for each machine: what is there is found again. All of it lies in folders of ours; the image's Python stays as it
is.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from sky_core.config import PythonSource
from sky_core.errors import MachineError
from sky_core.remote.pythons import uv
from sky_core.ssh.link import Link

HOME = ".skyloom"
BRING_S = 300.0  # some 50 MB from the mirror and the index
OURS = f"{sys.version_info.major}.{sys.version_info.minor}"

# Fed on stdin: an index's URL may hold a password, and command lines are for all to see.
SCRIPT = """\
set -eu
umask 077
cd "$HOME/.skyloom"
mkdir -p bin pythons
trap 'rm -rf "$UV_CACHE_DIR" "pythons/{key}.$$" "bin/uv.$$"' EXIT
export UV_PYTHON_INSTALL_DIR="$PWD/pythons/builds" UV_CACHE_DIR="$PWD/pythons/cache.$$" UV_PYTHON_INSTALL_BIN=0
export UV_PYTHON_PREFERENCE=only-managed UV_NO_PROGRESS=1 UV_NO_CONFIG=1 UV_LINK_MODE=copy
{settings}
if ! test -x bin/uv-{version}; then
  gzip -dc uv-{version}.gz >bin/uv.$$
  chmod 700 bin/uv.$$
  mv bin/uv.$$ bin/uv-{version}
fi
ln -sfn uv-{version} bin/uv
rm -f uv-{version}.gz
uv=$PWD/bin/uv
for minor in {minors}; do
  test -x "pythons/$minor" && continue
  "$uv" python install --quiet "$minor"
  ln -sfn "$("$uv" python find "$minor")" "pythons/$minor"
done
if ! test -x pythons/{key}/bin/python; then
  "$uv" venv --quiet --no-project --python {ours} pythons/{key}.$$
  {install}
  mv -T pythons/{key}.$$ pythons/{key} 2>/dev/null || rm -rf pythons/{key}.$$
fi
"""


@dataclass(frozen=True)
class Wanted:
    """What a job needs of a machine's Pythons.

    Attributes:
        requirements: Packages for the agent, as pip spells them.
        minor: Version of Python that its function was pickled by, such as "3.12"; "" for a command.
    """

    requirements: Sequence[str]
    minor: str = ""

    @property
    def python(self) -> str:
        """Where the agent's Python is once it was brought, below the home of the machine's user."""
        key = hashlib.sha256("\n".join([OURS, *self.requirements]).encode()).hexdigest()[:12]
        return f"{HOME}/pythons/{key}/bin/python"


def bring(link: Link, wanted: Wanted, source: PythonSource, processor: str) -> None:
    """See that the machine has what is wanted. Doing so again costs one look.

    Args:
        processor: What ``uname -m`` says there.

    Raises:
        LinkLost, HostKeyMismatch: as :meth:`Link.run`.
        MachineError: if it cannot be brought: this place does not serve, whatever the job.
    """
    there = link.run(f"test -x {HOME}/bin/uv-{uv.VERSION} && echo yes || true").strip() == b"yes"
    if not there:
        with uv.packed(processor).open("rb") as file:
            link.put(file, f"{HOME}/uv-{uv.VERSION}.gz")
    try:
        link.run(["sh", "-s"], _script(wanted, source).encode(), BRING_S)
    except MachineError as error:
        raise MachineError(
            f"no Python of our own could be brought there: {error}",
            cure="machines need a way out to a package index and to uv's builds of Python, or [python] index and mirror"
            " in config.toml; or an image whose python3 is the caller's and has s3fs, gcsfs or adlfs",
        ) from None


def _script(wanted: Wanted, source: PythonSource) -> str:
    minors = dict.fromkeys([OURS, *([wanted.minor] if wanted.minor else [])])
    settings = {
        "UV_PYTHON_INSTALL_MIRROR": source.mirror,
        "UV_PYTHON_DOWNLOADS_JSON_URL": source.builds,
        "UV_DEFAULT_INDEX": None if source.wheels else source.index,
    }
    key = wanted.python.split("/")[-3]
    where = ["--no-index", "--find-links", source.wheels] if source.wheels else []
    packages = shlex.join(["pip", "install", "--quiet", *where, *wanted.requirements])
    return SCRIPT.format(
        settings="\n".join(f"export {name}={shlex.quote(value)}" for name, value in settings.items() if value),
        version=uv.VERSION,
        minors=" ".join(minors),
        key=key,
        ours=OURS,
        install=f'"$uv" {packages} --python pythons/{key}.$$/bin/python' if wanted.requirements else ":",
    )
