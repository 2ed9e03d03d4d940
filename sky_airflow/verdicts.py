"""Airflow's own exceptions, raised by a function on a machine that has no Airflow: what they mean holds here, too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import exceptions

if TYPE_CHECKING:
    from sky_core.broker import Broker
    from sky_core.store import Job


class AirflowSkipException(Exception):
    """Stands for Airflow's on the machine."""


class AirflowFailException(Exception):
    """Stands for Airflow's on the machine."""


# What a function finds that imports them itself, while it runs.
_SOURCE = b"""
class AirflowException(Exception):
    pass

class AirflowSkipException(AirflowException):
    pass

class AirflowFailException(AirflowException):
    pass
"""
STAND_IN_MODULES: dict[str, bytes] = {
    "airflow/__init__.py": b"",
    "airflow/exceptions.py": _SOURCE,
    "airflow/sdk/__init__.py": b"",
    "airflow/sdk/exceptions.py": _SOURCE,
}
STAND_INS: dict[type, type] = {
    exceptions.AirflowSkipException: AirflowSkipException,
    exceptions.AirflowFailException: AirflowFailException,
}


def own_error(broker: Broker, job: Job) -> Exception | None:
    """What the function itself has raised, if it could be sent here: retry policies and callbacks look at it."""
    from sky_core.errors import TransferError
    from sky_core.remote.agent.call import RemoteError

    if "value" not in job.result:
        return None
    try:
        broker.value(job)
    except (TransferError, RemoteError):
        return None
    except Exception as error:  # noqa: BLE001 - the user's
        for ours, stand_in in STAND_INS.items():
            if type(error).__name__ == stand_in.__name__:
                meant: Exception = ours(*error.args)
                return meant
        return error
    except BaseException:  # noqa: BLE001, S110 - an exit there is a failure here
        pass
    return None
