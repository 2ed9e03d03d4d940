"""The agent as one zip file that Python runs: standard library only, with the driver's cloudpickle beside it.

With it comes :mod:`sky_core.checkpoint`, for the loops of who has not installed Skyloom there.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import zipfile
from functools import cache
from pathlib import Path

import cloudpickle

from sky_core.facts import clouds
from sky_core.remote.agent.job import BROUGHT

PACKAGE = "skyloom_agent"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content gives the same bytes


@cache
def agent() -> tuple[str, bytes]:
    """Name (with a hash of the content) and content of the zip file."""
    folder = Path(__file__).parent / "agent"
    sources = sorted(folder.rglob("*.py"))
    files = {f"{PACKAGE}/{source.relative_to(folder).as_posix()}": source.read_bytes() for source in sources}
    for cloud, facts in clouds().items():
        if facts.on_machine:
            files[f"{PACKAGE}/host/clouds/{cloud}.py"] = source_of(facts.on_machine).encode()
    files["__main__.py"] = files.pop(f"{PACKAGE}/__main__.py")
    for source in sorted(Path(cloudpickle.__file__).parent.glob("*.py")):
        files[f"vendor/cloudpickle/{source.name}"] = source.read_bytes()
    files[f"{BROUGHT}/sky_core/__init__.py"] = (folder.parent / "pythons/standin.py").read_bytes()
    files[f"{BROUGHT}/sky_core/checkpoint.py"] = (folder.parents[1] / "checkpoint.py").read_bytes()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED)
    content = buffer.getvalue()
    return f"agent-{hashlib.sha256(content).hexdigest()[:16]}.pyz", content


def source_of(module: str) -> str:
    """The text of a module that is one file, such as :attr:`CloudFacts.on_machine` names."""
    file = importlib.import_module(module).__file__
    assert file is not None, f"{module} is a folder"
    return Path(file).read_text()
