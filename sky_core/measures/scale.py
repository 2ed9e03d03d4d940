"""What time and size count for: reality, but for the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Scale:
    """What one real second and one real megabyte count for in plans' units. Only the sandbox departs from reality."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # as for all settings, of which it is one
    hours_per_second: float = 1 / 3600
    gb_per_mb: float = 1 / 1000

    def hours(self, seconds: float) -> float:
        """Hours that ``seconds`` real seconds count for."""
        return seconds * self.hours_per_second

    def seconds(self, hours: float) -> float:
        """Real seconds that ``hours`` hours take."""
        return hours / self.hours_per_second

    def gb(self, size_bytes: float) -> float:
        """GB that ``size_bytes`` real bytes count for."""
        return size_bytes / 1e6 * self.gb_per_mb
