"""Sends the orders in the dead-letter queue back to where they came from, one after the other.

It can be interrupted at any moment and started again: no order is lost, and none is sent twice.

Usage: python replay.py [--per-second RATE]
"""

import argparse

import pika
from pika.adapters.blocking_connection import BlockingChannel

import topology

# The broker's account of a death. It writes a new one when the order dies again.
ACCOUNT = ("x-death", "x-first-death-", "x-last-death-")


def send_back(channel: BlockingChannel, properties: pika.BasicProperties, body: bytes) -> None:
    death = topology.first_death(properties)
    headers = {k: v for k, v in properties.headers.items() if not k.startswith(ACCOUNT)}
    replays = headers.get(topology.REPLAYED_HEADER, 0) + 1
    headers[topology.REPLAYED_HEADER] = replays
    # Another name for each replay, or the payment queue would drop the order as one that it has
    # seen. The same name when this replay is repeated: then it has to drop it.
    headers[topology.DEDUPLICATION_HEADER] = f"{properties.message_id}/replay-{replays}"
    properties.headers = headers
    key = death["routing-keys"][0]
    channel.basic_publish(death["exchange"], key, body, properties, mandatory=True)


def replay(channel: BlockingChannel, per_second: float) -> int:
    """Answers how many were sent."""
    # No more than are there now: what dies again comes to the end of the queue, and would go round
    # for ever.
    count = channel.queue_declare(topology.DEAD_QUEUE, passive=True).method.message_count
    for sent in range(count):
        method, properties, body = channel.basic_get(topology.DEAD_QUEUE)
        if method is None:  # another replay is at work
            return sent
        send_back(channel, properties, body)
        # Only now, when the publish is confirmed: until then the broker has the order here.
        channel.basic_ack(method.delivery_tag)
        channel.connection.sleep(1 / per_second)
    return count


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--per-second", type=float, default=10, metavar="RATE")
    options = parser.parse_args()
    with topology.connect() as connection:
        channel = connection.channel()
        topology.declare(channel)
        channel.confirm_delivery()
        print(f"{replay(channel, options.per_second)} orders sent back")


if __name__ == "__main__":
    main()
