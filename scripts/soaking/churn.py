"""Clients that come and go: connections with a queue of their own, and a probe that measures confirms."""

import collections
import os
import random
import socket
import tempfile
import time

import pika

from .flows import connect

# Connections that are open at a time, and how many come each second.
OPEN = 200
COME_PER_SECOND = 25

# One in so many goes without a word.
CUT_ONE_IN = 4

PERSISTENT = pika.BasicProperties(delivery_mode=2)
PROBE_QUEUE = "soak.probe"
PROBE_PAUSE_SECONDS = 0.01


def run_churn(url, until, report):
    """Opens connections and ends the oldest when there are many, until then."""
    chance, guests, count = random.Random("churn"), collections.deque(), 0
    while time.monotonic() < until:
        begun = time.monotonic()
        guests.append(come(url, chance))
        count += 1
        if len(guests) > OPEN:
            go(guests.popleft(), chance)
        report.put(("connections", count))
        time.sleep(max(0, begun + 1 / COME_PER_SECOND - time.monotonic()))
    while guests:
        go(guests.popleft(), chance)


def come(url, chance):
    """A connection whose queue goes with it, with a message that is out and one that is ready."""
    connection = connect(url)
    channel = connection.channel()
    if chance.random() < 0.5:
        channel.confirm_delivery()
    is_exclusive = chance.random() < 0.5
    queue = channel.queue_declare("", exclusive=is_exclusive, auto_delete=not is_exclusive).method.queue
    channel.queue_bind(queue, "amq.topic", f"churn.{chance.randrange(100)}.*")
    bodies = [os.urandom(chance.choice([10, 1000, 65_536])) for _ in range(3)]
    for body in bodies:
        channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)
    for body in bodies[:2]:
        method, _, got = channel.basic_get(queue)
        if got != body:
            raise AssertionError(f"{queue} has {got and got[:20]!r} instead of {body[:20]!r}")
    channel.basic_ack(method.delivery_tag)
    if not is_exclusive:
        # Such a queue goes with its last consumer.
        channel.basic_consume(queue, lambda *_: None)
    return connection


def go(connection, chance):
    if chance.randrange(CUT_ONE_IN) > 0:
        connection.close()
        return
    # The stream ends without a close.
    connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
    try:
        # What had come already is looked at first.
        while connection.is_open:
            connection.process_data_events(1)
    except pika.exceptions.AMQPConnectionError:
        pass


def seconds_of_sync(file):
    os.pwrite(file.fileno(), b"probe", 0)
    begun = time.monotonic()
    os.fdatasync(file.fileno())
    return time.monotonic() - begun


def run_probe(url, until, report):
    """Publishes one persistent message at a time, and reports how long its confirm took; and beside it how
    long the disk takes for as little without a broker."""
    with connect(url) as connection, tempfile.TemporaryFile() as file:
        channel = connection.channel()
        channel.queue_declare(PROBE_QUEUE, durable=True)
        channel.confirm_delivery()
        while time.monotonic() < until:
            begun = time.monotonic()
            channel.basic_publish("", PROBE_QUEUE, b"probe", PERSISTENT, mandatory=True)
            report.put(("confirm", time.monotonic() - begun))
            report.put(("sync", seconds_of_sync(file)))
            method, _, body = channel.basic_get(PROBE_QUEUE, auto_ack=True)
            if method is None or body != b"probe" or method.redelivered:
                raise AssertionError(f"{PROBE_QUEUE} has {method} {body!r} instead of the probe")
            time.sleep(PROBE_PAUSE_SECONDS)
