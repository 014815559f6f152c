"""The application that the Celery scenarios run: what an ordinary one has in its tasks.py."""

import os
import time

from celery import Celery
from celery.exceptions import Reject
from kombu import Exchange, Queue

app = Celery("tests", broker=os.environ["AMQP_URL"], backend="rpc://")
DEAD_QUEUE = "celery.dead"


def queue(name, **options):
    return Queue(name, Exchange(name), name, **options)


app.conf.update(
    task_default_queue="celery.tests",
    task_queues=[
        queue("celery.tests"),
        queue("celery.ranked", max_priority=10),
        queue(
            "celery.rejecting",
            queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD_QUEUE},
        ),
    ],
    worker_prefetch_multiplier=2,
    task_acks_late=True,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@app.task
def add(a, b):
    return a + b


@app.task(bind=True, max_retries=3, default_retry_delay=0.1)
def fails_twice(self):
    if self.request.retries < 2:
        raise self.retry()
    return self.request.retries


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def begin():
    """When it began, on a clock that all processes of this machine share."""
    return time.monotonic()


@app.task
def rejects():
    raise Reject("it can't be done", requeue=False)
