"""How many machines an elastic gang may have: some that stay, and others that come and go with spot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from sky_core.errors import SpecError
from sky_core.spec.values import Spec

Count = Annotated[int, Field(ge=1)]


class Elastic(Spec):
    """A gang that grows and shrinks while its command goes on.

    Attributes:
        min: Fewest machines that the command can work with.
        max: Most machines that it has at a time.
        reliable: Machines that keep its state, on demand: ranks 0 to ``reliable - 1``, for all of its time. The others
            are bought as they pay, on spot as a rule.
    """

    min: Count = 1
    max: Count
    reliable: Count = 1

    @model_validator(mode="after")
    def _in_order(self) -> Elastic:
        if self.max < self.min:
            raise ValueError(f"max: {self.max} machines are fewer than min, {self.min}; raise max or lower min")
        if self.max <= self.reliable:
            raise ValueError(
                f"max: of {self.max} machines none is left for spot, as reliable is {self.reliable}; raise max, or "
                "take elastic out and write num_nodes"
            )
        return self

    @property
    def changing(self) -> int:
        """Machines at most that come and go."""
        return self.max - self.reliable


def parse_elastic(value: Any) -> Any:
    """A mapping of its fields.

    Raises:
        ValueError: if one is wrong; its name comes first then.
    """
    if not isinstance(value, Mapping):
        return value  # which the field's type refuses
    try:
        return Elastic(**value)
    except SpecError as error:
        raise ValueError(str(error.args[0]).partition(": ")[2]) from None


Changing = Annotated[Elastic, BeforeValidator(parse_elastic)]
