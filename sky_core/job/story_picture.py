"""A job's story as pictures: a lane for each zone, in characters and as SVG."""

from __future__ import annotations

from html import escape

from sky_core.job.story import Leg, Story

MARKS = {"spot": "━", "on-demand": "█"}
COLOURS = {"spot": "#2a9d8f", "on-demand": "#e76f51"}
REFUSED = "×"
LEFT, WIDTH, LANE, TOP = 190, 760, 26, 34  # pixels


def lanes(story: Story, width: int = 72) -> list[str]:
    """A line for each zone: ━ on spot, █ on-demand, × asked in vain, and one below with the hours."""
    name = max((len(zone) for zone in story.zones), default=0)
    lines = []
    for zone in story.zones:
        line = [" "] * width
        for at, where in story.refused:
            if where == zone:
                line[_column(at, story, width)] = REFUSED
        for leg in (leg for leg in story.legs if leg.zone == zone):
            first, last = _column(leg.begin, story, width), _column(leg.end, story, width)
            line[first : last + 1] = MARKS[leg.market] * (last + 1 - first)
        lines.append(f"{zone:{name}} |{''.join(line)}|")
    end = f"{_span(story):.4g} h"
    return [*lines, " " * name + " 0" + end.rjust(width + 1)]


def svg(story: Story) -> str:
    """The picture as one SVG document: machines, launches in vain, the deadline; the figures as tooltips."""
    height = TOP + LANE * max(1, len(story.zones)) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 20} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<text x="8" y="18">${story.usd:.2f}{_beside(story)}</text>',
    ]
    for row, zone in enumerate(story.zones):
        y = TOP + LANE * row
        parts.append(f'<text x="8" y="{y + 16}">{escape(zone)}</text>')
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y + LANE}" y2="{y + LANE}" stroke="#ddd"/>')
        parts += [_bar(story, leg, y) for leg in story.legs if leg.zone == zone]
        parts += [
            f'<text x="{_x(at, story):.1f}" y="{y + 17}" fill="#888" text-anchor="middle">{REFUSED}</text>'
            for at, where in story.refused
            if where == zone
        ]
    bottom = TOP + LANE * len(story.zones)
    if story.hours is not None:
        due, dashes = _x(story.hours, story), 'stroke="#c00" stroke-dasharray="4"'
        parts.append(f'<line x1="{due:.1f}" x2="{due:.1f}" y1="{TOP - 6}" y2="{bottom}" {dashes}/>')
        parts.append(f'<text x="{due:.1f}" y="{bottom + 16}" text-anchor="end">deadline, {story.hours:.4g} h</text>')
    for number, (market, colour) in enumerate(COLOURS.items()):
        x = LEFT + 100 * number
        parts.append(f'<rect x="{x}" y="{bottom + 24}" width="14" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 20}" y="{bottom + 33}">{market}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(story: Story, leg: Leg, y: int) -> str:
    x, width = _x(leg.begin, story), max(1.0, _x(leg.end, story) - _x(leg.begin, story))
    about = f"{leg.market} from {leg.begin:.2f} to {leg.end:.2f} h, ${leg.usd:.2f} {leg.outcome}"
    return (
        f'<rect x="{x:.1f}" y="{y + 5}" width="{width:.1f}" height="{LANE - 10}" fill="{COLOURS[leg.market]}">'
        f"<title>{escape(about)}</title></rect>"
    )


def _beside(story: Story) -> str:
    return "".join(f"; {escape(what)}: ${usd:.2f}" for what, usd in story.beside.items())


def _span(story: Story) -> float:
    return max([story.hours or 0.0, *(leg.end for leg in story.legs)])


def _column(at: float, story: Story, width: int) -> int:
    return min(width - 1, int(at / _span(story) * width))


def _x(at: float, story: Story) -> float:
    return LEFT + WIDTH * at / _span(story)
