"""Publishes orders, and returns when each of them is on the broker's disk.

Usage: python publish.py [COUNT]
"""

import json
import sys

import pika
from pika.adapters.blocking_connection import BlockingChannel

import topology


def publish(channel: BlockingChannel, number: int) -> None:
    order_id = f"order-{number}"
    order = {"number": number, "amount": number * 10, "currency": "EUR" if number % 5 else "CHF"}
    properties = pika.BasicProperties(
        delivery_mode=pika.DeliveryMode.Persistent,  # or a restart of the broker would lose it
        content_type="application/json",
        message_id=order_id,
        headers={topology.DEDUPLICATION_HEADER: order_id},
    )
    # Confirms are on: this returns when the order is safe, and raises an exception if it isn't,
    # or if no queue takes it (mandatory). After an exception, send the order again: should it
    # have arrived all the same, the queue drops the second one.
    body = json.dumps(order).encode()
    channel.basic_publish(topology.EXCHANGE, "order.created", body, properties, mandatory=True)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with topology.connect() as connection:
        channel = connection.channel()
        topology.declare(channel)
        channel.confirm_delivery()
        for number in range(1, count + 1):
            publish(channel, number)
    print(f"{count} orders are safe")


if __name__ == "__main__":
    main()
