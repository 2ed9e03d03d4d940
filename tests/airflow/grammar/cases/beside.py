"""Our operators that run nothing themselves: the plan as a task, waiting for a job, tidying up."""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from sky_airflow.notifications.sky import SkyCostNotifier
from sky_airflow.operators.gc import SkyGcOperator
from sky_airflow.operators.plan import SkyPlanOperator
from sky_airflow.sensors.sky import SkySensor
from tests.airflow.grammar.kit import NEEDS
from tests.airflow.grammar.registry import case, sky_only


@case()
def the_plan_before(kit):
    plan = SkyPlanOperator(task_id="plan", max_usd=5, max_hours="{{ 9 }}") if kit.sky else EmptyOperator(task_id="plan")
    work = kit.function(lambda: 1, task_id="work")()
    plan >> work
    kit.result(work)


@case()
def a_plan_that_is_too_dear(kit):
    @task(task_id="plan", retries=2)
    def refused():
        raise AirflowFailException("too dear")

    plan = SkyPlanOperator(task_id="plan", max_usd=1e-9, retries=2) if kit.sky else refused()
    plan >> (work := kit.function(lambda: 1, task_id="work")())
    kit.result(work)


def plan_or_question(kit, **asking):
    """Too dear for its limit; where there is no plan, a question that is asked in any case."""
    if kit.sky:
        return SkyPlanOperator(task_id="plan", max_usd="{{ params.most }}", over="ask", **asking)
    return ApprovalOperator(task_id="plan", subject="May it?", **asking)


def after(plan, kit):
    plan >> (work := kit.function(lambda: 1, task_id="work")())
    EmptyOperator(task_id="always", trigger_rule="all_done") << work
    kit.result(work)


@case(answer="Approve", params={"most": 1e-9})
def a_dear_plan_that_is_approved(kit):
    after(plan_or_question(kit), kit)


@case(answer="Reject", params={"most": 1e-9})
def a_dear_plan_that_is_rejected(kit):
    after(plan_or_question(kit), kit)


@case(answer="Reject", params={"most": 1e-9})
def a_dear_plan_whose_rejection_fails(kit):
    after(plan_or_question(kit, fail_on_reject=True), kit)


@case(answer="Reject", params={"most": 1e-9})
def a_dear_plan_whose_rejection_skips_all(kit):
    after(plan_or_question(kit, ignore_downstream_trigger_rules=True), kit)


@case(answer="Reject", params={"most": 5})
def a_plan_within_its_limits_asks_nobody(kit):
    after(plan_or_question(kit) if kit.sky else EmptyOperator(task_id="plan"), kit)


@sky_only(["'1'", "True", "'Ada'"], answer="Approve", default_args={"sky": {"budget_usd": 1e-7, "deadline": 1e-6}})
def a_person_lifts_the_runs_own_limits(kit):
    plan = SkyPlanOperator(task_id="plan", over="ask")
    plan >> (work := kit.function(lambda: "1", task_id="work", retries=0)())
    show = task(lambda work, said: [work, said["approved"], said["by"]], task_id="show")
    kit.result(show(work, plan.output))


@sky_only(["'a'", ["'aws'"], "True"])
def a_branch_by_the_plan(kit):
    plan = SkyPlanOperator(task_id="plan")

    @task.branch
    def choose(said):
        return "a" if said["usd"] < 1 else "b"

    a, b = (kit.function(lambda name: name, task_id=name)(name) for name in "ab")
    choose(plan.output) >> [a, b]
    show = task(lambda a, said: [a, said["clouds"], said["hours"] > 0], task_id="show", trigger_rule="none_failed")
    kit.result(show(a, plan.output))


@sky_only([["'o'"], "True"])
def waiting_for_jobs(kit):
    made = kit.command("made", "echo 1 > $SKY_OUTPUT_O", outputs={"o": {}})
    whole = SkySensor(task_id="whole", job=made.output)
    one = SkySensor(task_id="one", job=made.outputs["o"], deferrable=False)
    name = SkySensor(task_id="name", job="{{ ti.xcom_pull(task_ids='made')['job_id'] }}")
    made >> name
    show = task(lambda *said: [list(said[0]["outputs"]), said[0] == said[1] == said[2]], task_id="show")
    kit.result(show(whole.output, one.output, name.output))


@case()
def waiting_for_a_job_that_is_not_there(kit):
    @task(task_id="wait", retries=1)
    def refused():
        raise AirflowFailException("no such job")

    wait = SkySensor(task_id="wait", job="job-nowhere", retries=1) if kit.sky else refused()
    wait >> (work := kit.function(lambda: 1, task_id="work")())
    kit.result(work)


def sensor_or(kit, task_id, meant, plain, **kwargs):
    """A sensor of a job, or what a plain task does in its place: fails, skips, or hands on a value."""
    if kit.sky:
        return SkySensor(task_id=task_id, job=meant, poke_interval=0.2, **kwargs)

    def instead():
        if isinstance(plain, Exception):
            raise plain
        return plain

    later = task(task_id=task_id, **{key: value for key, value in kwargs.items() if key == "trigger_rule"})(instead)()
    return (getattr(meant, "operator", meant) >> later.operator) and later.operator


@case()
def waiting_for_a_job_that_failed(kit):
    made, word = kit.command("made", "exit 3", outputs={"o": {}}), kit.function(lambda: 1 // 0, task_id="word")()
    failed, skipped = AirflowFailException("it failed"), AirflowSkipException("it failed")
    sensor_or(kit, "whole", made.output, failed, trigger_rule="all_done")
    sensor_or(kit, "one", kit.output(made, "o"), failed, trigger_rule="all_done", deferrable=False)
    sensor_or(kit, "soft", made.output, skipped, trigger_rule="all_done", soft_fail=True)
    sensor_or(kit, "value", word, failed, trigger_rule="all_done")
    away = kit.command("away", "exit 99")
    sensor_or(kit, "nothing", away.output, skipped, trigger_rule="all_done")
    kit.result(None)


@case()
def waiting_for_a_job_that_never_began(kit):
    nobody = "t3.none" if kit.sky else "t3.small"
    needs = {**NEEDS, "requires": {**NEEDS["requires"], "instance_type": nobody}}
    dear = kit.command("dear", "exit 1", **needs)
    after = kit.command("after", "true")
    dear >> after
    sensor_or(kit, "dears", dear.output, AirflowFailException("it failed"), trigger_rule="all_done")
    sensor_or(kit, "afters", after.output, AirflowFailException("upstream"), trigger_rule="all_done")
    kit.result(None)


@case()
def waiting_for_a_task_that_has_yet_to_end(kit):
    word = kit.function(lambda: "word", task_id="word")()
    ahead = {"trigger_rule": "always", "mode": "reschedule"}
    sensor_or(kit, "ahead", word, "there", **ahead)
    kit.result(word)


@case()
def waiting_for_each_of_several(kit):
    each = kit.mapped("each", run="echo $A > $SKY_OUTPUT_O", outputs={"o": {}}).expand(envs=[{"A": "x"}, {"A": "y"}])
    if kit.sky:
        seen = SkySensor.partial(task_id="seen").expand(job=each.output)
    else:
        seen = task(lambda said: said, task_id="seen").expand(said=each.output).operator
    kit.result(task(lambda said: [sorted(one["outputs"]) for one in said], task_id="show")(seen.output))


@sky_only("True")
def tidying_up(kit):
    found = SkyGcOperator(task_id="gc", list_only="{{ 'true' }}")
    kit.result(task(lambda lines: "orphans" in lines[-1], task_id="show")(found.output))


@sky_only(["True", "True"], params={"hello": "Look:"})
def what_it_has_cost_is_said(kit):
    works = kit.function(lambda: 1, task_id="works")()
    fails = kit.command("fails", "exit 3")

    @task(task_id="told", trigger_rule="all_done", retries=0)
    def told(x, **context):
        with hearing() as (url, heard):
            SkyCostNotifier(url=url, text="{{ params.hello }}")(context)
            SkyCostNotifier()({**context, "run_id": "another"})
        (said,) = heard
        about = rf"Look: {re.escape(context['dag'].dag_id)}, manual__.*: \$0\.\d\d for 2 jobs, \$0\.\d\d planned"
        return [bool(re.match(about, said)), "works $0." in said]

    fails >> (said := told(works))
    kit.result(said)


@contextmanager
def hearing():
    """An address that takes messages, and what it has taken."""
    heard = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self):
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Takes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()
