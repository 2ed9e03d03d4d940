"""An engine by one word: its own launcher on the gang's machines, and a plain script that finds it.

Dask, which is all Python, stands for the others here; they are in ``test_heavy_engines.py``.
"""

from __future__ import annotations

import pytest

from sky_core.ssh.link import Link
from tests.sandbox.clusters.jobs import job

pytestmark = pytest.mark.slow
DASK = """
cat > main.py <<'END'
import os
from distributed import Client

def where(number):
    return os.environ["SKY_NODE_RANK"], number * number

if __name__ == "__main__":
    client = Client()  # nothing is said of where
    answers = client.gather(client.map(where, range(200)))
    print("sum", sum(square for _, square in answers))
    ranks = client.run(lambda: os.environ["SKY_NODE_RANK"])
    print("ranks", sorted(ranks.values()))
END
python3 main.py
"""


@pytest.fixture(scope="module")
def machines(park):
    return [park.boot() for _ in range(2)]


def test_a_plain_script_finds_its_dask_cluster_and_nothing_is_left_of_it(park, machines):
    state = park.run(machines, job(machines, {"name": "dask", "threads": 1}, run=DASK))
    assert (state.phase, state.exit_code) == ("done", 0), state.log.decode()
    assert b"(rank 0) sum 2646700\n" in state.log
    assert b"(rank 0) ranks ['0', '1']\n" in state.log
    for machine in machines:
        assert b"dask" not in Link(machine, park.keys).run("ps -eo args")


def test_a_machine_without_the_engine_says_what_to_install(park, machines):
    state = park.run(machines, job(machines, "ray", run="true", envs={"PATH": "/usr/bin:/bin"}))
    assert (state.phase, state.exit_code) == ("done", 1), state.log.decode()
    assert state.detail.startswith("rank ")
    assert "there is no ray on this machine" in state.detail
    assert "skyloom[ray]" in state.detail
