"""The optimizer's benchmark instances as problems, and larger ones of the same make.

Source: ``optimizer`` of :mod:`lab.reference` (its README gives the shapes and both egress models).
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab import reference
from sky_core.optimizer import Edge, Problem

DATA = reference.REFERENCE / "optimizer"
GRAINS = ("cloud", "region")
HOURS_PER_GB = 8 / 10 / 3600  # between clouds, at 10 Gbit/s
BETWEEN_REGIONS = 0.02  # USD per GB, inside a cloud; the least between clouds
WIDTH = 5  # tasks in a layer of the layered DAGs
COMPLEX = (2, 4, 5, 5, 6, 5, 5, 4, 2)  # tasks in each layer of the Complex shape: 38 ...
COMPLEX_EDGES = 53  # ... of so many edges


def load(name: str, grain: str) -> tuple[Problem, NDArray[np.str_]]:
    """An instance with egress at that grain, and the zone of each candidate (the same for every task)."""
    about = json.loads((DATA / f"{name}.json").read_text())
    candidates = about["candidates"]
    index, places = _places(candidates, grain)
    edges = [_edge(e["src"], e["dst"], e["gb"], e["cost_by_cloud"], places, grain) for e in about["edges"]]
    price = np.array([c["price"] for c in candidates])
    hours = {t: np.broadcast_to(np.asarray(about["hours"][t], float), price.shape).copy() for t in about["tasks"]}
    zones = np.array([f"{c['cloud']}/{c['region']}/{c['zone']}" for c in candidates])
    return _problem(about["tasks"], hours, price, index, edges), zones


def large(kind: str, tasks: int, seed: int = 0) -> Problem:
    """A ``chain`` or ``layered`` DAG of so many tasks, made the way those of 500 are; egress by region."""
    about = json.loads((DATA / "layered500_s0.json").read_text())
    rng = np.random.default_rng(seed)
    index, places = _places(about["candidates"], "region")
    price = np.array([c["price"] for c in about["candidates"]])
    names = [f"t{number}" for number in range(tasks)]
    rates = about["egress_model"]["params"]
    edges = []
    for parent, child in [(v, v + 1) for v in range(tasks - 1)] if kind == "chain" else _layers(tasks, rng):
        gb = rng.uniform(0, 100)
        out = {cloud: max(0.0, gb - rate["free"]) * rate["rate"] for cloud, rate in rates.items()}
        cost = {a: {b: 0.0 if a == b else out[a] for b in rates} for a in rates}
        edges.append(_edge(names[parent], names[child], gb, cost, places, "region"))
    hours = {name: rng.uniform(0, 1, len(price)) for name in names}
    return _problem(names, hours, price, index, edges)


def fresh(seed: int, grain: str) -> Problem:
    """A Complex DAG that no file holds: its edges, volumes and hours are drawn, the machines are those of the files.

    The hours make optima that mix clouds: 2 to 20 for each task, 0.3 to 3 times that on each cloud, and a tenth more or
    less on each machine.
    """
    about = json.loads((DATA / "cx_s0_hard.json").read_text())
    rates = json.loads((DATA / "layered500_s0.json").read_text())["egress_model"]["params"]
    rng = np.random.default_rng(seed)
    index, places = _places(about["candidates"], grain)
    price = np.array([c["price"] for c in about["candidates"]])
    clouds = sorted({c["cloud"] for c in about["candidates"]})
    of_cloud = np.array([clouds.index(c["cloud"]) for c in about["candidates"]])
    names = [f"t{number}" for number in range(sum(COMPLEX))]
    hours = {
        name: rng.uniform(2, 20) * rng.uniform(0.3, 3, len(clouds))[of_cloud] * rng.uniform(0.9, 1.1, len(price))
        for name in names
    }
    edges = []
    for parent, child in _complex(rng):
        gb = rng.uniform(0, 100)
        out = {cloud: max(0.0, gb - rate["free"]) * rate["rate"] for cloud, rate in rates.items()}
        cost = {a: {b: 0.0 if a == b else out[a] for b in rates} for a in rates}
        edges.append(_edge(names[parent], names[child], gb, cost, places, grain))
    return _problem(names, hours, price, index, edges)


def _complex(rng: np.random.Generator) -> list[tuple[int, int]]:
    """Edges to one of the next three layers; all but the first have a parent right above, all but the last a child."""
    layers = np.split(np.arange(sum(COMPLEX)), np.cumsum(COMPLEX)[:-1])
    layer = np.repeat(np.arange(len(COMPLEX)), COMPLEX)
    edges: set[tuple[int, int]] = set()
    for above, below in itertools.pairwise(layers):
        edges |= {(int(rng.choice(above)), int(child)) for child in below}
        childless = set(above.tolist()) - {parent for parent, _ in edges}
        edges |= {(parent, int(rng.choice(below))) for parent in sorted(childless)}
    while len(edges) < COMPLEX_EDGES:
        parent, child = (int(v) for v in rng.integers(len(layer), size=2))
        if 1 <= layer[child] - layer[parent] <= 3:
            edges.add((parent, child))
    return sorted(edges)


def _layers(tasks: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Edges between neighbouring layers: one or two parents for each task, a child for each task but the last."""
    edges: list[tuple[int, int]] = []
    for start in range(WIDTH, tasks, WIDTH):
        before = range(start - WIDTH, start)
        joined: set[int] = set()
        for child in range(start, min(start + WIDTH, tasks)):
            parents = sorted(int(p) for p in rng.choice(before, size=rng.integers(1, 3), replace=False))
            edges += [(parent, child) for parent in parents]
            joined.update(parents)
        edges += [(parent, start + int(rng.integers(WIDTH))) for parent in before if parent not in joined]
    return edges


def _places(candidates: list[dict[str, Any]], grain: str) -> tuple[NDArray[np.int64], list[tuple[str, str]]]:
    """The location of each candidate, and (cloud, region) of each location; at cloud grain the region is ""."""
    keys = [(c["cloud"], c["region"] if grain == "region" else "") for c in candidates]
    places = list(dict.fromkeys(keys))
    return np.array([places.index(key) for key in keys]), places


def _edge(
    parent: str, child: str, gb: float, cost: dict[str, dict[str, float]], places: list[tuple[str, str]], grain: str
) -> Edge:
    usd = np.array([[cost[a][b] for b, _ in places] for a, _ in places])
    same_cloud = np.array([[a == b for b, _ in places] for a, _ in places])
    if grain == "region":
        usd = np.where(same_cloud, BETWEEN_REGIONS * gb, np.maximum(usd, BETWEEN_REGIONS * gb))
        np.fill_diagonal(usd, 0.0)
    return Edge(parent, child, usd, np.where(same_cloud, 0.0, gb * HOURS_PER_GB))


def _problem(
    tasks: list[str],
    hours: dict[str, NDArray[np.float64]],
    price: NDArray[np.float64],
    index: NDArray[np.int64],
    edges: list[Edge],
) -> Problem:
    return Problem(tasks, {t: hours[t] * price for t in tasks}, hours, dict.fromkeys(tasks, index), edges)
