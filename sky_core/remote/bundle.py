"""The agent as one zip file that Python runs: standard library only, with the driver's cloudpickle beside it.

With it comes :mod:`sky_core.checkpoint`, for the loops of who has not installed Skyloom there. A machine whose Python
is of the driver's version finds the agent compiled: to compile it is a third of what its start costs.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import marshal
import zipfile
from functools import cache
from pathlib import Path

import cloudpickle

from sky_core.facts import clouds
from sky_core.remote.agent.job import BROUGHT

PACKAGE = "skyloom_agent"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes
WITHOUT_REFERENCES = 2
"""The last of marshal's versions whose bytes do not hang on what else the process holds: later ones mark that."""
UNCHECKED = (1).to_bytes(4, "little")  # its source lies beside it and is of the same file; see PEP 552


@cache
def agent() -> tuple[str, bytes]:
    """Name (with a hash of the sources) and content of the zip file."""
    folder = Path(__file__).parent / "agent"
    found = sorted(folder.rglob("*.py"))
    files = {f"{PACKAGE}/{file.relative_to(folder).as_posix()}": file.read_bytes() for file in found}
    for cloud, facts in clouds().items():
        if facts.on_machine:
            files[f"{PACKAGE}/host/clouds/{cloud}.py"] = source_of(facts.on_machine).encode()
    files["__main__.py"] = files.pop(f"{PACKAGE}/__main__.py")
    for file in sorted(Path(cloudpickle.__file__).parent.glob("*.py")):
        files[f"vendor/cloudpickle/{file.name}"] = file.read_bytes()
    files[f"{BROUGHT}/sky_core/__init__.py"] = (folder.parent / "pythons/standin.py").read_bytes()
    for name in ("checkpoint.py", "progress.py"):
        files[f"{BROUGHT}/sky_core/{name}"] = (folder.parents[1] / name).read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, source in files.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), source, zipfile.ZIP_DEFLATED)
            if name.startswith(PACKAGE):
                archive.writestr(zipfile.ZipInfo(f"{name}c", EPOCH), _compiled(name, source), zipfile.ZIP_DEFLATED)
    known = hashlib.sha256(
        b"".join(b"%s\0%d\0%s" % (name.encode(), len(source), source) for name, source in files.items())
    )
    return f"agent-{known.hexdigest()[:16]}.pyz", buffer.getvalue()


def _compiled(name: str, source: bytes) -> bytes:
    """What this Python makes of a module; one of another version passes over it, by its magic number."""
    code = marshal.dumps(compile(source, name, "exec", dont_inherit=True), WITHOUT_REFERENCES)
    return importlib.util.MAGIC_NUMBER + UNCHECKED + importlib.util.source_hash(source) + code


def source_of(module: str) -> str:
    """The text of a module that is one file, such as :attr:`CloudFacts.on_machine` names."""
    file = importlib.import_module(module).__file__
    assert file is not None, f"{module} is a folder"
    return Path(file).read_text()
