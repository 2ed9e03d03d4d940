"""Python calls that travel: a function and its arguments, pickled so that a machine with only Python and cloudpickle
can make the call, with references to other tasks' results in place of their values.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sky_core.spec import Artifact

RESULT = "result"  # the output under which a function's value is published
SITE = tuple(str(Path(path).resolve()) for path in sysconfig.get_paths().values())


@dataclass(frozen=True)
class Reference:
    """The value of a finished Python task, left in the cloud where it was made.

    Attributes:
        job_id: The job that made it.
        artifact: Where it lies.
    """

    job_id: str
    artifact: Artifact


def pack(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    plain: Callable[[Any], Any] | None = None,
) -> tuple[bytes, dict[str, Artifact]]:
    """Pickle a call. Every :class:`Reference` among the arguments, however deep, becomes an input of the task.

    Modules that are not installed (the ones beside the flow or DAG file) travel by value. ``plain`` may replace an
    object by one that the machine can unpickle (an engine's own list type, say); it returns its argument otherwise.

    Returns:
        The payload (:mod:`sky_core.remote.agent.call`), and the inputs by name.

    Raises:
        SpecError: if the function or an argument cannot be pickled.
    """
    from sky_core.remote import functions

    inputs: dict[str, Artifact] = {}
    names: dict[str, str] = {}

    class Pickler(functions.CallPickler):
        def persistent_id(self, obj: Any) -> tuple[str, str] | None:
            if not isinstance(obj, Reference):
                return super().persistent_id(obj)
            name = names.setdefault(obj.job_id, f"arg_{len(names)}")
            inputs[name] = obj.artifact
            return super().persistent_id(functions.InputValue(name))

        def reducer_override(self, obj: Any) -> Any:
            if plain is not None:
                replaced = plain(obj)
                if replaced is not obj:
                    return type(replaced), (list(replaced),)
            return super().reducer_override(obj)

    with _local_modules_by_value():
        return functions.pack(function, args, kwargs, Pickler), inputs


@contextmanager
def _local_modules_by_value() -> Iterator[None]:
    """Let cloudpickle send modules that are not installed anywhere, as the machine cannot import them."""
    import cloudpickle

    with ExitStack() as stack:
        for module in [found for found in list(sys.modules.values()) if _is_local(found)]:
            cloudpickle.register_pickle_by_value(module)
            stack.callback(cloudpickle.unregister_pickle_by_value, module)
        yield


def _is_local(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    name = getattr(module, "__name__", "")
    if not file or name == "__main__" or name.partition(".")[0] in ("sky_core", "sky_prefect", "sky_airflow"):
        return False
    path = str(Path(file).resolve())
    return not path.startswith(SITE) and Path(path).suffix == ".py"
