"""Celery: a real worker in a process of its own, results over rpc://."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import celery_app
from celery import group
from celery_app import add, app, begin, fails_twice, rejects
from scenarios import run_all, scenario, wait_until

WAIT = 20
HERE = Path(__file__).resolve().parent
log = tempfile.NamedTemporaryFile("w+", prefix="celery-worker-", suffix=".log")
worker = subprocess.Popen(
    [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-c", "2", "-n", "tests@localhost"],
    cwd=HERE,
    stdout=log,
    stderr=log,
    env=dict(os.environ, C_FORCE_ROOT="1"),
)


@scenario
def the_worker_answers_a_ping():
    wait_until(lambda: app.control.ping(timeout=0.5), seconds=30)


@scenario
def a_task_gives_its_result():
    assert add.delay(2, 3).get(timeout=WAIT) == 5


@scenario
def a_task_is_retried():
    assert fails_twice.delay().get(timeout=WAIT) == 2


@scenario
def a_task_with_an_eta_waits_for_it():
    begin = time.monotonic()
    assert add.apply_async((1, 1), countdown=1).get(timeout=WAIT) == 2
    assert time.monotonic() - begin >= 0.9


@scenario
def more_delayed_tasks_than_the_prefetch_limit_hold_nothing_up():
    delayed = [add.apply_async((number, 0), countdown=4) for number in range(30)]
    assert add.delay(5, 5).get(timeout=3.5) == 10
    assert sorted(result.get(timeout=WAIT) for result in delayed) == list(range(30))


@scenario
def tasks_of_a_higher_priority_go_first():
    app.control.cancel_consumer("celery.ranked", reply=True)
    lower = [begin.apply_async(queue="celery.ranked", priority=1) for _ in range(10)]
    higher = [begin.apply_async(queue="celery.ranked", priority=9) for _ in range(10)]
    app.control.add_consumer("celery.ranked", reply=True)
    first_of_lower = min(result.get(timeout=WAIT) for result in lower)
    before = [result for result in higher if result.get(timeout=WAIT) < first_of_lower]
    # The worker runs two at a time, and may begin the last of the higher ones late.
    assert len(before) >= 8, len(before)


@scenario
def a_rejected_task_is_in_the_dead_letter_queue():
    with app.connection() as connection, connection.SimpleQueue(celery_app.DEAD_QUEUE) as dead:
        task = rejects.apply_async(queue="celery.rejecting")
        message = dead.get(timeout=WAIT)
        message.ack()
        death = message.headers["x-death"][0]
        assert message.headers["id"] == task.id, message.headers
        assert (death["queue"], death["reason"]) == ("celery.rejecting", "rejected"), death


@scenario
def a_group_gives_all_results():
    results = group(add.s(number, number) for number in range(20))()
    assert sorted(results.get(timeout=WAIT)) == [2 * number for number in range(20)]


@scenario
def a_chain_passes_results_on():
    assert (add.s(1, 2) | add.s(10)).delay().get(timeout=WAIT) == 13


@scenario
def the_worker_can_be_inspected_and_stops_when_told():
    active = app.control.inspect(timeout=2).active_queues()
    assert any(queue["name"] == "celery.tests" for queue in active["tests@localhost"]), active
    assert app.control.purge() == 0
    worker.terminate()
    assert worker.wait(timeout=30) == 0, Path(log.name).read_text()


assert celery_app.app is app
try:
    run_all()
finally:
    if worker.poll() is None:
        worker.kill()
        print(Path(log.name).read_text())
