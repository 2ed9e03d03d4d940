"""``skyloom sandbox``: the clouds on loopback, and the failures they can be made to have."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sky_core.cli.terminal import new_table, say, show
from sky_core.cli.terminal.spinner import spinner

app = typer.Typer(no_args_is_help=True, help="AWS, GCP and Azure emulated on loopback: try everything, spend nothing.")

CloudOption = Annotated[str | None, typer.Option(help="aws, gcp or azure.")]


def _home() -> Path:
    return Path(os.environ.get("SKYLOOM_HOME") or Path.home() / ".skyloom").expanduser()


@app.command()
def up(
    boot_s: Annotated[float, typer.Option(help="Seconds a machine takes to boot.")] = 1.0,
    notice_s: Annotated[float | None, typer.Option(help="Seconds between an eviction's notice and the end.")] = None,
    hours_per_second: Annotated[float, typer.Option(help="Simulated hours that a real second counts for.")] = 0.1,
    gb_per_mb: Annotated[float, typer.Option(help="Simulated GB that a real MB counts for.")] = 1.0,
    account: Annotated[
        str, typer.Option(help="What the accounts are like: easy, new, enterprise, private or sso.")
    ] = "easy",
    runner: Annotated[str, typer.Option(help="auto, sshd (namespaces) or asyncssh (nothing but Python).")] = "auto",
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Machines with all that jobs need, behind no firewall: a quick try.")
    ] = False,
) -> None:
    """Start the sandbox and leave it running."""
    spinner.say("starting the sandbox")
    from sky_sandbox import client

    options: dict[str, Any] = {"boot_s": boot_s, "hours_per_second": hours_per_second, "gb_per_mb": gb_per_mb,
                                  "runner": runner, "account": account,
                                  "images": "prepared" if lenient else "strict",
                                  "firewalls": "open" if lenient else "asked"}  # fmt: skip
    if notice_s is not None:
        options |= {f"{cloud}_notice_s": notice_s for cloud in client.CLOUDS}
    control = client.up(_home(), **options)
    scale = f"one real second counts as {hours_per_second:g} hours, one MB as {gb_per_mb:g} GB"
    say(f"the sandbox runs (process {control.pid}); {scale}")
    say("use it with: export SKYLOOM_PROFILE=sandbox")


@app.command()
def down() -> None:
    """Stop the sandbox with all its machines."""
    from sky_sandbox import client

    say("stopped" if client.down(_home()) else "no sandbox runs")


@app.command()
def status() -> None:
    """Show the machines that are live, and what is limited."""
    from sky_sandbox import client

    control = client.control(_home())
    table = new_table("machine", "cloud", "zone", "type", "market", "state", "ip")
    for machine in control.machines(live=True):
        table.add_row(*(str(machine[key]) for key in ("id", "cloud", "zone", "type", "market", "state", "ip")))
    show(table)
    for key, value in control.status().items():
        say(f"{key}: {value}")


@app.command()
def ledger(
    open_only: Annotated[bool, typer.Option("--open", help="Only what costs money now.")] = False,
) -> None:
    """Show what the emulated clouds bill: all that is allocated, whoever made it, whatever it does."""
    from sky_core.clouds.base import TAG_JOB
    from sky_sandbox import client

    table = new_table("cloud", "kind", "id", "job", "since", "seconds", "billed s", "")
    for entry in client.control(_home()).ledger(open_only=open_only):
        since = datetime.fromtimestamp(entry["started"]).strftime("%H:%M:%S")
        numbers = (since, f"{entry['seconds']:.1f}", f"{entry['billed_s']:.0f}")
        goes_on = "" if entry["ended"] else "goes on"
        table.add_row(entry["cloud"], entry["kind"], entry["id"], entry["tags"].get(TAG_JOB, ""), *numbers, goes_on)
    show(table)


@app.command()
def preempt(
    machine: Annotated[str | None, typer.Argument(help="A machine's id; without it, every spot machine.")] = None,
    notice_s: Annotated[float | None, typer.Option(help="Seconds of notice; 0 is a sudden death.")] = None,
    cloud: CloudOption = None,
    zone: Annotated[str | None, typer.Option(help="Only in this zone.")] = None,
) -> None:
    """Take machines back as their cloud would."""
    from sky_sandbox import client

    where: dict[str, Any] = {key: value for key, value in (("cloud", cloud), ("zone", zone)) if value is not None}
    taken = client.control(_home()).preempt(machine, notice_s=notice_s, **where)
    say(f"preempted: {', '.join(taken) or 'none matched'}")


@app.command()
def capacity(
    zone: Annotated[str, typer.Argument(help='e.g. us-east-1a, or "*".')],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help='Instance type or accelerator ("V100"), or "*".')],
    market: Annotated[Literal["spot", "on-demand"], typer.Argument()],
    count: Annotated[str, typer.Argument(help='How many machines may run there, e.g. 0; "any" for any number again.')],
) -> None:
    """Let there be so many machines of a type in a zone."""
    from sky_sandbox import client

    if count != "any" and not count.isdecimal():
        raise typer.BadParameter(f'{count!r} is neither a number nor "any"', param_hint="count")
    client.control(_home()).capacity(zone, type_, market, None if count == "any" else int(count))
    say(f"{zone} {type_} {market}: {'any number' if count == 'any' else count}")


@app.command()
def reserve(
    cloud: Annotated[str, typer.Argument(help="aws, gcp or azure.")],
    zone: Annotated[str, typer.Argument(help="e.g. us-east-1a, us-central1-a or eastus-1.")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="The machine type.")],
    count: Annotated[int, typer.Argument(min=1, help="How many machines.")] = 1,
    kind: Annotated[
        Literal["targeted", "open", "block"],
        typer.Option(help="Only for launches that name it; for all that fit; a block that ends with its machines."),
    ] = "targeted",
    ends_s: Annotated[float | None, typer.Option(help="Seconds after which it ends.")] = None,
) -> None:
    """Let the account have reserved machines; skyloom catalog reservations then prints their entry."""
    from sky_sandbox import client

    say(client.control(_home()).reserve(cloud, zone, type_, count, kind=kind, ends_s=ends_s))


@app.command()
def move(
    addresses: Annotated[
        list[str], typer.Argument(help='An IPv4 address, e.g. 198.51.100.7, or a pool of them; "" for an end of this.')
    ],
) -> None:
    """Let this machine be seen at another address: links break, and firewalls let in where it is only.

    Of several addresses each connection has one, as behind a pool of them.
    """
    from sky_sandbox import client

    client.control(_home()).move(*addresses)
    say(f"seen at {', '.join(filter(None, addresses)) or 'any address'}")


@app.command()
def replay(
    trace: Annotated[Path, typer.Argument(exists=True, help="A spot trace (JSON with metadata.gap_seconds and data).")],
    zone: Annotated[str, typer.Argument()],
    type_: Annotated[str, typer.Argument(metavar="TYPE")] = "*",
    speed: Annotated[float, typer.Option(help="Trace seconds per real second.")] = 360.0,
) -> None:
    """Let spot capacity follow a recorded trace: where it falls, machines are preempted."""
    from sky_sandbox import client

    track = {"path": str(trace), "zone": zone, "type": type_, "count": 1}
    say(str(client.control(_home()).replay([track], speed=speed)))
