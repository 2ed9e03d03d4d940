"""``skyloom plan``: where each task of a file would run, for people, for programs and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sky_core.cli.engines import ParamOption, SourceArgument, draft_of, refuse_choice
from sky_core.cli.objective import (
    BudgetOption,
    DeadlineOption,
    MinimizeOption,
    is_python,
    objective_of,
    over,
)
from sky_core.cli.taskfiles import EnvFileOption, EnvOption, SecretOption, given_of, placed, tell, tell_missing
from sky_core.cli.terminal import open_broker, say, show, write
from sky_core.cli.terminal.schemas import CsvOption, JsonOption, one_of, schema_option
from sky_core.cli.terminal.spinner import spinner
from sky_core.errors import SpecError

if TYPE_CHECKING:
    from sky_core.engine_kit import Draft
    from sky_core.planner import Plan
    from sky_core.spec import Objective


def plan(
    source: SourceArgument,
    minimize: MinimizeOption = None,
    deadline: DeadlineOption = None,
    budget: BudgetOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
    html: Annotated[Path | None, typer.Option(dir_okay=False, help="Write a page that needs no network.")] = None,
    usable: Annotated[bool, typer.Option("--usable", help="Only clouds that have credentials here.")] = False,
    schema: Annotated[bool, schema_option("sky_core.planner.view.document:PlanDocument")] = False,
    param: ParamOption = None,
    env: EnvOption = None,
    secret: SecretOption = None,
    env_file: EnvFileOption = None,
) -> None:
    """Plan a pipeline without launching anything: where each task would run, and what that would cost.

    Options, where given, stand in for what the file says of its objective. Clouds without credentials are priced,
    too, and marked.
    """
    from sky_core.engine_kit import Draft
    from sky_core.spec_yaml import load

    one_of(as_json, as_csv)
    if html is not None and not html.absolute().parent.is_dir():
        raise SpecError(f"--html: there is no folder {html.absolute().parent}", cure="make it, or name another file")
    file = source.path
    refuse_choice(source, param)
    asked = objective_of(minimize, deadline, budget)
    spinner.say(f"reading {file.name}")
    loaded = None if is_python(file) else load(file, given_of(env, secret, env_file))
    draft = Draft(loaded.pipeline, loaded.objective) if loaded else draft_of(source, param)
    with placed(loaded):
        made = _planned(draft, over(asked, draft.objective), usable=usable, trade=as_json or html is not None)
    if loaded is not None:
        tell(loaded)
        tell_missing(loaded)
    if html is not None:
        from sky_core.planner.view.page import plan_page

        html.write_text(plan_page(made), encoding="utf-8")
    if as_json or as_csv:
        write(_document(made) if as_json else _table(made))
        return
    _show(made)
    if html is not None:
        say(f"the page is {html}")


def _planned(draft: Draft, objective: Objective | None, *, usable: bool, trade: bool) -> Plan:
    count = len(draft.pipeline.tasks)
    spinner.say(f"planning {count} task{'s' if count > 1 else ''} of {draft.pipeline.name}")
    return open_broker().preview(draft.pipeline, objective, base=draft.base, anywhere=not usable, trade=trade)


def _document(made: Plan) -> str:
    from sky_core.planner.view.document import PlanDocument

    return PlanDocument.of(made).model_dump_json(indent=2) + "\n"


def _table(made: Plan) -> str:
    from sky_core.planner.view.frame import plan_frame

    return plan_frame(made).write_csv()


def _show(made: Plan) -> None:
    from sky_core.planner.view.table import plan_view

    show(plan_view(made))
