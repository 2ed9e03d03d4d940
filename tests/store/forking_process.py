"""A process that forks while its threads are busy in the store, as Airflow's do. argv: URL, number of children.

Each child submits a job through the store that it inherited and through one of its own; the parent goes on meanwhile.
"""

import os
import sys
import threading

from sky_core.store import Store


def submit(store: Store, key: str) -> None:
    store.submit(key, plan_key="p", task="t", spec="{}", owner=None)


def main(url: str, children: int) -> None:
    store = Store(url)
    stop = threading.Event()
    counts = [0] * 3

    def busy(name: int) -> None:
        while not stop.is_set():
            submit(store, f"thread-{name}-{counts[name]}")
            counts[name] += 1
            Store(url).jobs(limit=1)  # shares, begins and releases all the time

    threads = [threading.Thread(target=busy, args=(name,)) for name in range(len(counts))]
    for thread in threads:
        thread.start()
    for number in range(children):
        before = counts[:]
        pid = os.fork()
        if pid == 0:
            submit(store, f"child-{number}-inherited")
            submit(Store(url), f"child-{number}-own")
            os._exit(0 if store.jobs(limit=1) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        while counts == before:  # the parent's threads go on
            stop.wait(0.001)
    stop.set()
    for thread in threads:
        thread.join()
    submit(store, "parent")
    assert len(store.jobs(limit=100_000)) == sum(counts) + 2 * children + 1
    print(sum(counts) + 2 * children + 1, flush=True)
    os._exit(0)  # as after a kill: whatever is not committed by now is lost


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
