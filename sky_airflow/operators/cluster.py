"""A cluster as a setup task, and the teardown that ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from sky_airflow.grammar.templates import UNKNOWN, known, not_yet_of
from sky_airflow.hooks.sky import SkyHook, job_id_of
from sky_airflow.operators.errors import permanent_errors
from sky_airflow.operators.sky import SkyOperator
from sky_core.broker.clusters.stay import (
    CALLER,
    MADE_HERE,
    READY,
    STAY,
    refuse_no_client,
    refuse_no_package,
    refuse_own,
)
from sky_core.errors import SpecError
from sky_core.spec.engine import parse_engine

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sky_airflow.grammar.partials import SkyPartial
    from sky_core.broker import Broker
    from sky_core.spec import Task
    from sky_core.store import Job


class SkyClusterOperator(SkyOperator):
    """Bring up a cluster of Dask or Ray for the tasks after it; done when all its machines have joined.

    It goes on until its teardown ends it, and at the latest with the DAG run. Its place is part of the run's plan.

    Args:
        engine: ``"dask"`` or ``"ray"``, or a mapping with its options.
        environment: The packages on its machines: by default those of this task's process, since clients and
            cluster have to be of one version.
        kwargs: As of :class:`SkyOperator`; it has no command, no inputs and no outputs of its own.

    Example:
        >>> cluster = SkyClusterOperator(task_id="cluster", engine="dask", num_nodes=4)  # doctest: +SKIP
        >>> with cluster.teardown():  # doctest: +SKIP
        ...     count(cluster.output)  # which uses SkyHook().reach(…)
    """

    ready_line = READY
    lasts = True

    def __init__(self, *, engine: Any, environment: Any = CALLER, **kwargs: Any) -> None:
        refuse_own(kwargs.get("task_id", ""), kwargs)
        kwargs = {name: value for name, value in kwargs.items() if name not in MADE_HERE}
        super().__init__(run=STAY, engine=engine, environment=environment, **kwargs)

    def _check(self) -> None:
        super()._check()
        engine = known(self.engine, not_yet_of(self))
        if engine is not UNKNOWN:
            refuse_no_client(self.task_id, parse_engine(engine))

    @classmethod
    def partial(cls, **kwargs: Any) -> SkyPartial:
        """Not to be had: a teardown belongs to one cluster.

        Raises:
            SpecError: always.
        """
        raise SpecError(f"Task.{kwargs.get('task_id')}: a cluster cannot be mapped", cure="make several in a loop")

    def teardown(self, **kwargs: Any) -> SkyEndClusterOperator:
        """The teardown of this cluster, for a ``with`` block of the tasks that use it."""
        about = {"task_id": f"{self.task_id}_end", "sky_conn_id": self.sky_conn_id, **kwargs}
        ending: SkyEndClusterOperator = SkyEndClusterOperator(cluster=self.output, **about).as_teardown(setups=self)
        return ending

    def build(self, broker: Broker, context: Context) -> Task:
        """The task to submit.

        Raises:
            SpecError: naming the field that is wrong, or the package that is missing here.
        """
        task = super().build(broker, context)
        refuse_no_client(task.name, task.engine)
        refuse_no_package(task)
        return task

    def _finish(self, context: Context, broker: Broker, job: Job) -> Any:
        if not job.over:
            self.log.info("the cluster is ready: job %s", job.id)
            return {"job_id": job.id, "cluster": job.task}
        super()._finish(context, broker, job)
        raise AirflowFailException(f"the cluster has ended before anybody has used it: job {job.id}")


class SkyEndClusterOperator(BaseOperator):
    """End a cluster, and wait until its machines are gone; one that has ended already is no error.

    Args:
        cluster: What :class:`SkyClusterOperator` returns (its ``output``), or the id of its job.
        sky_conn_id: A ``skyloom`` connection; None takes the settings from the environment.
    """

    template_fields = ("cluster",)
    ui_color = "#bfe3f5"

    def __init__(self, *, cluster: Any, sky_conn_id: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cluster = cluster
        self.sky_conn_id = sky_conn_id

    def execute(self, context: Context) -> None:
        """End it."""
        from sky_core.broker.clusters.living import NOT_NEEDED, Living
        from sky_core.broker.clusters.tunnel import Tunnel
        from sky_core.broker.interest import Waiter
        from sky_core.job.bill import spent_on

        if not self.cluster:
            self.log.info("no cluster has come about")
            return
        with permanent_errors():
            job_id = job_id_of(self.cluster)
        broker = SkyHook(self.sky_conn_id).broker
        seen = max((event.id for event in broker.store.events(job_id)), default=0)
        waiter = Waiter.this_process()
        tunnel = Tunnel(broker.settings, job_id, waiter.who, holds=True)
        job = Living(broker, job_id, waiter, self.log.info, seen).take_down(NOT_NEEDED, tunnel)
        tunnel.close()
        spent = spent_on(broker.store, broker.settings.scale, [job_id])[job_id]
        self.log.info("%s: compute $%.4f, egress $%.4f", job.state, spent.compute_usd, spent.egress_usd)
