"""Flows that are only ever planned, never run."""

from prefect import flow, task

from sky_prefect import SkyTaskRunner, resources

done = []  # what has been done although it was only asked what it would be


@task
@resources(cpus="2+")
def work(x):
    done.append(("work", x))
    return x


@task
def effect(x):
    done.append(("effect", x))


@flow(task_runner=SkyTaskRunner())
def plain(count: int, name="x"):
    effect.submit(name)
    for future in [work.submit(number) for number in range(count)]:
        future.result()


@flow(task_runner=SkyTaskRunner())
async def later(count: int = 2):
    futures = work.map(range(count))
    return [future.result() for future in futures]


@flow(task_runner=SkyTaskRunner())
def catches():
    """Whatever this flow catches, the rehearsal ends."""
    for _ in range(3):
        try:
            work.submit(1).result()
        except Exception:  # noqa: BLE001 - that is what is tried
            done.append("caught")


@flow(task_runner=SkyTaskRunner())
def catches_all():
    try:
        work.submit(1).result()
    except BaseException:  # noqa: BLE001 - that is what is tried
        done.append("caught all")
    work.submit(2)


@flow(task_runner=SkyTaskRunner())
def counts_first():
    """What has to be known before the first cloud task is asked for is found out."""
    many = task(lambda: 3, name="many").submit().result()
    work.map(range(many)).result()


@flow(task_runner=SkyTaskRunner())
def breaks():
    raise LookupError("no table of that name")
