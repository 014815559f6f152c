"""The worked example of docs/order-flow.md, run as it is written there, program by program.

The scenarios are one story: each begins where the one before it ends.
"""

import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parents[2] / "docs/order-flow"
sys.path.insert(0, str(EXAMPLE))

import replay  # noqa: E402
import topology  # noqa: E402
from scenarios import run_all, scenario, wait_until  # noqa: E402

FOLDER = tempfile.TemporaryDirectory(prefix="order-flow-")
LEDGER = Path(FOLDER.name) / "ledger.db"
BUSY, POISON, FINE = (3, 6, 9), (5, 10), (1, 2, 4, 7, 8)
ATTEMPTS_MAX = topology.RETRIES_MAX + 1
# The broker's clock counts whole milliseconds, and so do the worker's lines.
CLOCK_SECONDS = 0.002


def run(program, *arguments):
    """What a program of the example prints; it has to succeed."""
    command = [sys.executable, EXAMPLE / program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Worker:
    """`with Worker() as worker:` runs worker.py and ends it with Ctrl-C."""

    def __init__(self, *arguments):
        self.log = tempfile.NamedTemporaryFile("w+", dir=FOLDER.name, suffix=".log")
        command = [sys.executable, EXAMPLE / "worker.py", "--ledger", LEDGER, *arguments]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def attempts(self):
        """Of each order, in their order: the attempt's number, how it ended, when."""
        found = {}
        line = r"^(\S+ \S+) order-(\d+) attempt (\d+) (paid|failed|was paid before)"
        for time, order, number, end in re.findall(line, Path(self.log.name).read_text(), re.M):
            attempt = (int(number), end, datetime.fromisoformat(time))
            found.setdefault(int(order), []).append(attempt)
        return found

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(timeout=20)
        if kind is None:
            assert code == 0, Path(self.log.name).read_text()


def ends(attempts, *orders):
    return {order: [(number, end) for number, end, _ in attempts.get(order, [])] for order in orders}


def failures(count):
    return [(number, "failed") for number in range(1, count + 1)]


def paid():
    with sqlite3.connect(LEDGER) as ledger:
        rows = ledger.execute("SELECT order_id FROM paid").fetchall()
    return sorted(int(order.removeprefix("order-")) for (order,) in rows)


def ready(queue):
    with topology.connect() as connection:
        return connection.channel().queue_declare(queue, passive=True).method.message_count


def dead_are(count):
    wait_until(lambda: ready(topology.DEAD_QUEUE) == count, seconds=30)


def interrupted(*_):
    raise InterruptedError


def waits():
    """What the arguments say about the pause before each attempt but the first, in seconds."""
    grown = [topology.BACK_OFF_MIN_MS * topology.BACK_OFF_FACTOR**n for n in range(topology.RETRIES_MAX)]
    return [min(wait, topology.BACK_OFF_MAX_MS) / 1000 for wait in grown]


@scenario
def every_order_is_paid_once_or_is_dead_after_its_last_attempt():
    assert run("publish.py") == "10 orders are safe\n"
    run("publish.py")  # as if it had not heard the confirms
    with Worker() as worker:
        dead_are(len(POISON))
        wait_until(lambda: len(paid()) == len(BUSY + FINE))
    attempts = worker.attempts()
    assert paid() == sorted(BUSY + FINE) and ready(topology.PAYMENT_QUEUE) == 0
    assert ends(attempts, *FINE) == {order: [(1, "paid")] for order in FINE}, attempts
    assert ends(attempts, *BUSY) == {order: [*failures(2), (3, "paid")] for order in BUSY}, attempts
    assert ends(attempts, *POISON) == {order: failures(ATTEMPTS_MAX) for order in POISON}, attempts
    for order in BUSY + POISON:
        times = [time for _, _, time in attempts[order]]
        pauses = [(after - before).total_seconds() for before, after in zip(times, times[1:])]
        for pause, wait in zip(pauses, waits()):
            assert pause >= wait - CLOCK_SECONDS, (order, pauses)


@scenario
def dead_orders_are_shown_and_stay():
    for _ in range(2):
        shown = run("show_dead.py")
        assert re.findall(r"^order-(\d+) \{", shown, re.M) == ["5", "10"], shown
        assert shown.count("died in orders.payment at ") == shown.count(": delivery_limit\n") == 2
        assert shown.count("came by exchange 'orders', key 'order.created'; replays: 0") == 2
        dead_are(len(POISON))


@scenario
def what_is_replayed_too_early_dies_again():
    assert run("replay.py", "--per-second", "100") == "2 orders sent back\n"
    with Worker() as worker:
        dead_are(len(POISON))
    assert ends(worker.attempts(), *POISON) == {order: failures(ATTEMPTS_MAX) for order in POISON}
    assert run("show_dead.py").count("replays: 1") == 2


@scenario
def a_replay_that_is_interrupted_before_its_ack_is_repeated_without_doubles():
    with topology.connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_ack = interrupted
        try:
            replay.replay(channel, per_second=10)
            raise AssertionError("it was not interrupted")
        except InterruptedError:
            pass
    dead_are(len(POISON))
    assert ready(topology.PAYMENT_QUEUE) == 1
    assert run("replay.py") == "2 orders sent back\n"
    assert ready(topology.DEAD_QUEUE) == 0 and ready(topology.PAYMENT_QUEUE) == len(POISON)


@scenario
def the_repaired_worker_gets_what_was_replayed():
    with Worker("--accept", "EUR", "CHF") as worker:
        wait_until(lambda: len(paid()) == 10)
    assert worker.attempts().keys() == set(POISON)
    assert ends(worker.attempts(), *POISON) == {order: [(1, "paid")] for order in POISON}
    assert ready(topology.PAYMENT_QUEUE) == ready(topology.DEAD_QUEUE) == 0


@scenario
def a_replay_takes_its_time():
    run("publish.py", "15")  # of which 11 to 15 are new
    with Worker():
        wait_until(lambda: len(paid()) == 14)
        dead_are(1)
    begin = datetime.now()
    assert run("replay.py", "--per-second", "2") == "1 orders sent back\n"
    assert (datetime.now() - begin).total_seconds() >= 0.5
    with topology.connect() as connection:
        channel = connection.channel()
        _, properties, _ = channel.basic_get(topology.PAYMENT_QUEUE, auto_ack=True)
        headers = properties.headers
        assert headers["x-replayed"] == 1 and "x-death" not in headers, headers
        for queue in (topology.PAYMENT_QUEUE, topology.DEAD_QUEUE):
            channel.queue_delete(queue)
        channel.exchange_delete(topology.EXCHANGE)


run_all()
