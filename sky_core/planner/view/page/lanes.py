"""The DAG over regions: a lane for each region, its tasks from left to right by depth, data as arrows between them."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter

from sky_core.planner.view import words
from sky_core.planner.view.document import DataEdge, PlanDocument

LARGE = 40  # tasks from which on boxes are small
PAD, HEAD = 10, 22  # px around the boxes of a lane, and above them for its name
MOST_LABELS = 60  # of arrows, the dearest first


@dataclass(frozen=True)
class Box:
    """A task, or data that was given, at (x, y) of its upper left corner, px."""

    name: str
    shown: str
    cloud: str
    x: float
    y: float
    given: bool


@dataclass(frozen=True)
class Lane:
    """A region's stripe."""

    place: str
    cloud: str
    y: float
    height: float


@dataclass(frozen=True)
class Arrow:
    """Data, or order alone, from one box to another; ``label`` where there is something to pay or to move."""

    path: str
    cloud: str
    crosses: bool
    order_only: bool
    text: str
    label: str
    x: float
    y: float


@dataclass(frozen=True)
class Lanes:
    """The drawing, px."""

    width: float
    height: float
    box_width: float
    box_height: float
    lanes: tuple[Lane, ...]
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True)
class _Sizes:
    width: float
    height: float
    gap: float
    letters: int


def lanes(document: PlanDocument) -> Lanes:
    """The drawing of a plan's DAG."""
    size = _Sizes(132, 28, 84, 17) if len(document.tasks) <= LARGE else _Sizes(74, 20, 46, 10)
    given = {edge: _given_name(edge) for edge in document.edges if edge.source is None}
    place_of = {times.name: _place(document, times.name) for times in document.tasks}
    place_of |= {name: edge.origin for edge, name in given.items()}
    column = _columns(document, given)
    rows: dict[tuple[str, int], list[str]] = {}
    for name in place_of:
        rows.setdefault((place_of[name], column[name]), []).append(name)
    stripes, y = {}, 0.0
    for place in dict.fromkeys(sorted(place_of.values(), key=lambda place: _first(place, place_of, column))):
        deepest = max(len(names) for (where, _), names in rows.items() if where == place)
        height = HEAD + deepest * (size.height + PAD) + PAD / 2
        stripes[place] = Lane(place, place.partition("/")[0], y, height)
        y += height + 6
    boxes = {
        name: Box(
            name=name,
            shown=name if len(name) <= size.letters else f"{name[: size.letters - 1]}…",
            cloud=place.partition("/")[0],
            x=PAD + depth * (size.width + size.gap),
            y=stripes[place].y + HEAD + row * (size.height + PAD),
            given=name in given.values(),
        )
        for (place, depth), names in rows.items()
        for row, name in enumerate(names)
    }
    width = 2 * PAD + (max(column.values()) + 1) * (size.width + size.gap) - size.gap
    arrows = _arrows(document, given, boxes, place_of, size)
    return Lanes(width, y, size.width, size.height, tuple(stripes.values()), tuple(boxes.values()), arrows)


def _place(document: PlanDocument, task: str) -> str:
    placement = document.placements[task]
    return f"{placement.cloud}/{placement.region}"


def _given_name(edge: DataEdge) -> str:
    return f"{edge.target} ← {', '.join(edge.inputs)}"


def _columns(document: PlanDocument, given: dict[DataEdge, str]) -> dict[str, int]:
    """Each box's depth: the longest way to it, given data one before the task that takes it."""
    parents: dict[str, set[str]] = {times.name: set() for times in document.tasks}
    for edge in document.edges:
        parents[edge.target].add(edge.source if edge.source is not None else given[edge])
    column: dict[str, int] = {}
    for name in TopologicalSorter(parents).static_order():
        column[name] = max((column[parent] + 1 for parent in parents.get(name, ())), default=0)
    return column | {name: column[edge.target] - 1 for edge, name in given.items()}


def _first(place: str, place_of: dict[str, str], column: dict[str, int]) -> tuple[int, int]:
    """Lanes in the order in which the pipeline reaches them."""
    names = list(place_of)
    return min((column[name], names.index(name)) for name in names if place_of[name] == place)


def _arrows(
    document: PlanDocument, given: dict[DataEdge, str], boxes: dict[str, Box], place_of: dict[str, str], size: _Sizes
) -> tuple[Arrow, ...]:
    worth_telling = [edge for edge in document.edges if edge.gb > 0 and _crosses(edge, place_of)]
    told = set(sorted(worth_telling, key=lambda edge: (-edge.egress_usd, -edge.gb))[:MOST_LABELS])
    found = []
    for number, edge in enumerate(document.edges):
        start, end = boxes[edge.source if edge.source is not None else given[edge]], boxes[edge.target]
        x1, y1, x2, y2 = start.x + size.width, start.y + size.height / 2, end.x - 4, end.y + size.height / 2
        bend = max(20.0, (x2 - x1) / 2)
        # Where no box lies under the label, and not quite where its neighbours have theirs.
        at = (0.5, 0.34, 0.66)[number % 3] if x2 - x1 < 2 * size.gap else 0.9
        usd = words.money(edge.egress_usd) if edge.egress_usd >= words.CENT or edge.egress_usd == 0 else "< $0.01"
        found.append(
            Arrow(
                path=f"M{x1:.0f},{y1:.0f} C{x1 + bend:.0f},{y1:.0f} {x2 - bend:.0f},{y2:.0f} {x2:.0f},{y2:.0f}",
                cloud=edge.origin.partition("/")[0],
                crosses=_crosses(edge, place_of),
                order_only=not edge.inputs,
                text=f"{start.name} to {end.name}: "
                + (f"{edge.gb:g} GB, egress {usd}, {edge.transfer_hours:.2f} h" if edge.inputs else "order only"),
                label=f"{usd} · {edge.gb:g} GB" if edge in told else "",
                x=_bend(x1, x1 + bend, x2 - bend, x2, at),
                y=_bend(y1, y1, y2, y2, at),
            )
        )
    return tuple(found)


def _bend(start: float, first: float, second: float, end: float, at: float) -> float:
    """One coordinate of a cubic Bézier curve."""
    left = 1 - at
    return left**3 * start + 3 * left**2 * at * first + 3 * left * at**2 * second + at**3 * end


def _crosses(edge: DataEdge, place_of: dict[str, str]) -> bool:
    return edge.origin != place_of[edge.target]
