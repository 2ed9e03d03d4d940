"""What ``skyloom plan`` and ``skyloom run`` may be told of money and time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sky_core.spec import Objective

MinimizeOption = Annotated[str | None, typer.Option(help="cost (the default), time, or cost*time.")]
DeadlineOption = Annotated[str | None, typer.Option(help="For the whole pipeline, e.g. 6h.")]
BudgetOption = Annotated[float | None, typer.Option(help="USD for the whole pipeline.")]


def objective_of(minimize: str | None, deadline: str | None, budget: float | None) -> Objective | None:
    """What the options ask for; None leaves it to the file."""
    if minimize is None and deadline is None and budget is None:
        return None
    from sky_core.spec import Objective

    said = {"minimize": minimize, "deadline": deadline, "budget_usd": budget}
    return Objective(**{name: value for name, value in said.items() if value is not None})


def over(options: Objective | None, file: Objective | None) -> Objective | None:
    """The objective of a file, with what the options say in place of what it says."""
    if options is None or file is None:
        return options or file
    return file.model_copy(update=options.model_dump(exclude_unset=True))


def is_python(path: Path) -> bool:
    """Whether an engine has to read the file."""
    return path.suffix == ".py"
