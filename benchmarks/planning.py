"""What planning costs: CPU seconds and peak memory of whole pipelines over the embedded catalog, without a network.

    python benchmarks/planning.py            # all pipelines, each in a process of its own
    python benchmarks/planning.py --only 40

Each task asks for ``cpus="4+"``, which fits about a hundred thousand offerings of three clouds. ``alike`` tasks have
the same needs, as mapped ones do; ``unlike`` ones differ in their hours. The clouds are taken as usable; nothing is
launched. CPU seconds are those of the process and its children, user and system, the loading of the catalog included.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import subprocess
import sys

WIDTH = 4  # tasks a layer; each needs all of the layer before
PIPELINES = [(1, "chain"), (8, "chain"), (40, "chain"), (40, "layered"), (400, "chain"), (400, "layered")]


def plan(count: int, shape: str, unlike: bool) -> str:
    """Plan one pipeline in this process; what came of it in a line."""
    from sky_core import Pipeline, Resources, Task
    from sky_core.catalog import Catalog
    from sky_core.planner.planning import Market, make_plan

    needs = Resources(cpus="4+")
    tasks = [
        Task(name=f"t{number}", run="true", resources=needs, hours=1 + unlike * number / 100) for number in range(count)
    ]
    if shape == "chain":
        order = [(f"t{number}", f"t{number + 1}") for number in range(count - 1)]
    else:
        layers = [range(first, min(first + WIDTH, count)) for first in range(0, count, WIDTH)]
        pairs = itertools.pairwise(layers)
        order = [(f"t{one}", f"t{other}") for above, below in pairs for one in above for other in below]
    market = Market(Catalog.embedded(), ("aws", "azure", "gcp"))
    made = make_plan(Pipeline(name="p", tasks=tuple(tasks), order=tuple(order)), market)
    proof = "optimal" if made.optimal else f"gap {made.cost_usd / made.bound - 1:.2%}"
    seconds, peak = 0.0, 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        seconds, peak = seconds + used.ru_utime + used.ru_stime, max(peak, used.ru_maxrss / 1024)
    kind = "unlike" if unlike else "alike"
    return f"{count:4d} {kind:6s} {shape:8s} {seconds:7.2f} CPU s {peak:6.0f} MB   ${made.cost_usd:9.3f} {proof}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=int, help="pipelines of that many tasks only")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(plan(int(asked.one[0]), asked.one[1], asked.one[2] == "unlike"))
        return
    for count, shape in PIPELINES:
        for kind in ("alike", "unlike"):
            if asked.only in (None, count):
                subprocess.run([sys.executable, __file__, "--one", str(count), shape, kind], check=True)


if __name__ == "__main__":
    main()
