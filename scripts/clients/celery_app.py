"""The application that the Celery scenarios run: what an ordinary one has in its tasks.py."""

import os

from celery import Celery

app = Celery("tests", broker=os.environ["AMQP_URL"], backend="rpc://")
app.conf.update(
    task_default_queue="celery.tests",
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
