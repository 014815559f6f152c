"""One round: load, a kill at a random moment, restarts, checks."""

import random
import threading
import time

from .history import LONG, QUEUES
from .load import connect, started

# A queue with more than this is drained after a check, so that rounds stay short.
BACKLOG_MAX = 1000

# Kills during the start come in its first moments, while the log is read.
START_KILL_SECONDS_MAX = 0.03


def read_all(broker, history):
    """What the queues hold, in order, without taking it: names by queue. Checks the counts (I7)."""
    found = {}
    with connect(broker) as connection:
        for queue in QUEUES:
            channel = connection.channel()
            count = channel.queue_declare(queue, passive=True).method.message_count
            names = found[queue] = []
            for method, _, body in channel.consume(queue, inactivity_timeout=0.05 if count == 0 else 5):
                if method is None:
                    break
                names.append(history.deliver(queue, body, method.redelivered))
                if len(names) == count:
                    break
            left = channel.queue_declare(queue, passive=True).method.message_count
            if left or len(names) != count:
                history.error(f"I7: {queue} says {count} messages, {len(names)} came and {left} are left")
            channel.close()
    return found


def drain(broker, history, found):
    """Takes what has become too much, by acks or by a purge."""
    with connect(broker) as connection:
        for queue, names in found.items():
            if len(names) < BACKLOG_MAX:
                continue
            channel = connection.channel()
            if queue == LONG:
                channel.queue_purge(queue)
            else:
                for method, _, _ in channel.consume(queue):
                    if method.delivery_tag == len(names):
                        channel.basic_ack(method.delivery_tag, multiple=True)
                        break
                channel.cancel()
            # A reply behind the ack: it has been taken.
            channel.queue_declare(queue, passive=True)
            for name in names:
                history.ack(queue, name)
            channel.close()


def run_load(broker, history, clients, seconds):
    """Runs clients, kills the broker after that time; answers when."""
    threads = [threading.Thread(target=run, args=arguments) for run, arguments in clients]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    with history.lock:
        history.killing = True
    killed_at = time.monotonic()
    broker.kill()
    for thread in threads:
        thread.join()
    history.killing = False
    return killed_at


def restart(broker, chance):
    """Starts the broker, and on the way there sometimes kills it in its start; says how often."""
    kills = 0
    while chance.random() < 0.35 and kills < 3:
        broker.spawn()
        time.sleep(chance.uniform(0, START_KILL_SECONDS_MAX))
        broker.kill()
        kills += 1
    broker.start()
    return kills


def run_round(broker, history, clients, topology, timed, seed, seconds):
    """Answers what happened, as a text."""
    chance = random.Random(seed)
    others = [topology.run] if topology is not None else []
    others += timed.runs() if timed is not None else []
    runs = started(chance.random(), *clients, others, broker, history)
    killed_at = run_load(broker, history, runs, seconds)
    kills = restart(broker, chance)
    found = read_all(broker, history)
    history.check(found, killed_at)
    if topology is not None:
        topology.check(broker, history.errors)
    # The second restart, after a kill or an orderly stop.
    orderly = chance.random() < 0.3
    broker.stop() if orderly else broker.kill()
    broker.start()
    again = read_all(broker, history)
    if again != found:
        differing = [queue for queue in QUEUES if again[queue] != found[queue]]
        history.error(f"I8: a second restart has changed {differing}")
    timed_there = timed.check(broker, killed_at) if timed is not None else 0
    drain(broker, history, found)
    for line in broker.log.read_text().splitlines():
        if " is damaged" in line or "confirmed messages are missing" in line:
            history.error(f"I9: {line}")
    there = sum(len(names) for names in found.values()) + timed_there
    how = "stopped" if orderly else "killed"
    return f"killed after {seconds:.2f} s, {kills} times in the start, then {how}: {there} messages there"
