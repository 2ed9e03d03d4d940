"""Managed Spark in two clouds: from how many queries on is it worth to move the data? (dissertation, section 4.2.3)

    python benchmarks/managed.py

Wu ran the queries of TPC-DS (SF 100, 33 GB of Parquet) on three n2-standard-16 of Dataproc, three m5.4xlarge of EMR and
three m6g.4xlarge of EMR, with the data in Google Cloud. EMR is 43% cheaper by the query, Graviton another 23%; to move
the data costs $2.8 once. His figures: what is saved at 2,500 and at 10,000 queries (Figure 4.6b).

Of the price of a query on Dataproc the figures say nothing but through these savings; at 2,500 queries, where rounding
matters least, they say what ``DATAPROC_USD`` is. Two tables: at his dollars for a query, and at his times for one with
the catalog's prices of today. In both, the plan is asked where it runs so many queries, and finds where that flips.

His text has the $2.8 "offset at 1,000 queries". That is a number at which it is, not the least: of what N queries cost
at home s - K / N is saved, s the share by the query, K / s the break-even. Were that 1,000, the shares at 2,500 and at
10,000 would be 3 to 12 per cents below those of his figure. So all are told, each under its name: the break-even by his
dollars for a query, by his two shares, and of the plan, which counts the longer start of EMR, too; and what the plan
saves at 1,000, which is to be more than nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from sky_core import Artifact, Pipeline, Resources, Task
from sky_core.catalog import Catalog
from sky_core.planner.plan import Plan
from sky_core.planner.planning import Market, make_plan

NODES = 3
HOME, AWAY = "us-central1", "us-east-1"
MOVED_USD = 2.8
CHEAPER = {"m5.4xlarge": 0.43, "m6g.4xlarge": 1 - (1 - 0.43) * (1 - 0.23)}  # by the query, than Dataproc
FASTER = {"m5.4xlarge": 0.34, "m6g.4xlarge": 1 - (1 - 0.34) * (1 - 0.06)}
SAVED = {"m5.4xlarge": {2500: 0.32, 10000: 0.42}, "m6g.4xlarge": {2500: 0.46, 10000: 0.55}}
OFFSET_AT = 1000  # the queries at which his text has the egress offset
WITHIN = 0.02  # of the published shares, which are whole per cents and do not agree among themselves to the last one
AT_HOME = "n2-standard-16"
DATAPROC_USD = sum(MOVED_USD / 2500 / (CHEAPER[away] - SAVED[away][2500]) for away in CHEAPER) / len(CHEAPER)


def even_by_query(away: str) -> float:
    """The queries that save what the way costs, by his dollars: no start is counted."""
    return MOVED_USD / (DATAPROC_USD * CHEAPER[away])


def even_by_shares(away: str) -> float:
    """The queries at which nothing is saved, by his two shares: K / s of the line through them."""
    (few, low), (many, high) = SAVED[away].items()
    moved = (high - low) / (1 / few - 1 / many)
    return moved / (high + moved / many)


def shares_if_even_at(even: float, away: str) -> dict[int, float]:
    """What his shares would be if the break-even were there."""
    return {queries: CHEAPER[away] * (1 - even / queries) for queries in SAVED[away]}


def rate(catalog: Catalog, machine: str) -> float:
    """USD an hour of a cluster, the service's fee included."""
    offered = catalog.query(Resources(managed="spark", instance_type=machine, region=[HOME, AWAY]))
    return float(offered["price"][0]) * NODES


def at_his_dollars(catalog: Catalog) -> dict[str, float]:
    """Hours of a query on each cluster, such that it costs there what it cost him."""
    usd = {AT_HOME: DATAPROC_USD} | {away: DATAPROC_USD * (1 - less) for away, less in CHEAPER.items()}
    return {machine: cost / rate(catalog, machine) for machine, cost in usd.items()}


def at_his_times(catalog: Catalog) -> dict[str, float]:
    """Hours of a query on each cluster: his, as far as they are known from its price on Dataproc."""
    hours = DATAPROC_USD / rate(catalog, AT_HOME)
    return {AT_HOME: hours} | {away: hours * (1 - less) for away, less in FASTER.items()}


def planned(catalog: Catalog, hours: Mapping[str, float], queries: int, machines: Sequence[str]) -> Plan:
    """The plan for so many queries over data in Google Cloud, whose way to AWS costs what it cost him."""
    out = catalog.egress([("gcp", HOME, None), ("aws", AWAY, None)], 1.0)[0][0, 1]
    data = Artifact(uri="gs://tpcds/sf100", location=f"gcp/{HOME}", size_gb=MOVED_USD / float(out))
    task = Task(
        name="queries", run="spark-submit queries.py", num_nodes=NODES, inputs={"data": data},
        hours={f"*{machine}": hours[machine] * queries for machine in machines},
        resources=Resources(managed="spark", version=">=3.3", instance_type=machines, region=[HOME, AWAY]),
    )  # fmt: skip
    return make_plan(Pipeline(name="tpcds", tasks=(task,)), Market(catalog, ("aws", "gcp")))


def saved(catalog: Catalog, hours: Mapping[str, float], queries: int, away: str) -> float:
    """The share of the bill that is saved by going to AWS with the data, start and egress counted; negative if none."""
    home, there = (planned(catalog, hours, queries, [machine]).cost_usd for machine in (AT_HOME, away))
    return 1 - there / home


def flips_at(catalog: Catalog, hours: Mapping[str, float], away: str) -> int:
    """The least number of queries, to ten, for which the plan leaves Google Cloud."""
    low, high = 0, 100_000
    while high - low > 10:
        middle = (low + high) // 2
        cloud = planned(catalog, hours, max(middle, 1), [AT_HOME, away]).placements["queries"].cloud
        low, high = (low, middle) if cloud == "aws" else (middle, high)
    return high


def told(shares: Mapping[int, float], away: str) -> str:
    """Shares by the number of queries, each beside his where he has one."""
    his = {queries: f" (his {share:.0%})" for queries, share in SAVED[away].items()}
    return ", ".join(f"{queries:,}: {share:.0%}{his.get(queries, '')}" for queries, share in shares.items())


def main() -> int:
    """Print his break-even and both tables; 1 if a published share is not met, or 1,000 queries do not pay."""
    catalog, met = Catalog.embedded(), True
    print(f"one query on Dataproc ${DATAPROC_USD:.4f}, the data's way to AWS ${MOVED_USD}")
    for away in CHEAPER:
        print(f"his figures, EMR {away}: even at {even_by_query(away):.0f} queries by his dollars for a query, at "
              f"{even_by_shares(away):.0f} by his two shares")  # fmt: skip
        print(f"  were it at {OFFSET_AT:,}, saved at {told(shares_if_even_at(OFFSET_AT, away), away)}")
    for title, hours in (
        ("his dollars for a query", at_his_dollars(catalog)),
        ("his times, today's prices", at_his_times(catalog)),
    ):
        for away in CHEAPER:
            shares = {queries: saved(catalog, hours, queries, away) for queries in (OFFSET_AT, *SAVED[away])}
            print(f"{title}, EMR {away}: flips at {flips_at(catalog, hours, away):,} queries; saved at "
                  f"{told(shares, away)}")  # fmt: skip
            met &= shares[OFFSET_AT] > 0
            if hours == at_his_dollars(catalog):
                met &= all(abs(shares[queries] - share) <= WITHIN for queries, share in SAVED[away].items())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
