"""A person who answers what a run asks, by what Airflow's API does: ``dag.test()`` waits for one to do it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def answering(dag_id: str, answer: str) -> Iterator[list[str]]:
    """While the block runs each question of the DAG is answered; gives the questions, heads and bodies."""
    questions: list[str] = []
    if not answer:
        yield questions
        return
    over = threading.Event()
    person = threading.Thread(target=_answer, args=(dag_id, answer, questions, over), daemon=True)
    person.start()
    try:
        yield questions
    finally:
        over.set()
        person.join()


def _answer(dag_id: str, answer: str, questions: list[str], over: threading.Event) -> None:
    import sqlalchemy as sa
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import handle_event_submit
    from airflow.triggers.base import TriggerEvent
    from airflow.utils import timezone
    from airflow.utils.session import create_session

    waiting = sa.select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.state == "awaiting_input")
    while not over.wait(0.3):
        with create_session(scoped=False) as session:
            for instance in session.scalars(waiting):
                detail = session.get(HITLDetail, instance.id)
                # dag.test() says once more that the task waits when its process has ended, over an answer that was
                # quicker: then it has to be given again, to the same question.
                if detail.responded_at is None:
                    questions.append(f"{detail.subject}\n{detail.body}")
                detail.chosen_options, detail.params_input = [answer], {}
                detail.responded_at, detail.responded_by = timezone.utcnow(), {"id": "1", "name": "Ada"}
                event = TriggerEvent(detail.as_resume_event_payload())
                handle_event_submit(event, task_instance=instance, session=session)
