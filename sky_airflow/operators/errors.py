"""Which errors a retry can mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowFailException

from sky_core.errors import Infeasible, NoFeasibleOffering, SpecError


@contextmanager
def permanent_errors() -> Iterator[None]:
    """Turn what a retry cannot mend into a failure that is not retried.

    Raises:
        AirflowFailException: for what cannot be meant, or cannot be had in any way.
    """
    try:
        yield
    except (SpecError, NoFeasibleOffering, Infeasible) as error:
        raise AirflowFailException(str(error)) from error
