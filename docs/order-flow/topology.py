"""What the programs of the order flow agree on: the connection, names, the exchange and the queues.

Every program declares them when it starts, so none has to be started first: declaring what is
there already, with the same arguments, changes nothing.
"""

import os
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel

URL = os.environ.get("AMQP_URL", "amqp://guest:guest@localhost:5672/%2f")

EXCHANGE = "orders"
PAYMENT_QUEUE = "orders.payment"
DEAD_QUEUE = "orders.dead"

# What the payment queue knows an order by, so that it takes each one once.
DEDUPLICATION_HEADER = "x-deduplication-header"
# How often somebody sent the order back from the dead-letter queue.
REPLAYED_HEADER = "x-replayed"

# Short, so that the example is over in seconds. For a payment provider that may be down for an
# hour, begin with a second and end with ten minutes.
RETRIES_MAX = 4
BACK_OFF_MIN_MS = 200
BACK_OFF_FACTOR = 2
BACK_OFF_MAX_MS = 1000

PAYMENT_ARGUMENTS = {
    # An order that failed is delivered again after 200 ms, then 400, 800 and 1000.
    "x-delayed-retry-type": "failed",
    "x-delayed-retry-min": BACK_OFF_MIN_MS,
    "x-delayed-retry-multiplier": BACK_OFF_FACTOR,
    "x-delayed-retry-max": BACK_OFF_MAX_MS,
    # One that fails oftener goes to the dead-letter queue, by way of the default exchange.
    "x-delivery-limit": RETRIES_MAX,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD_QUEUE,
    # What a publisher or a replay sends twice, because it didn't hear the confirm, comes once.
    "x-message-deduplication": True,
    "x-cache-size": 100_000,
}


def connect() -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(URL))


def declare(channel: BlockingChannel) -> None:
    channel.exchange_declare(EXCHANGE, "topic", durable=True)
    channel.queue_declare(DEAD_QUEUE, durable=True)
    channel.queue_declare(PAYMENT_QUEUE, durable=True, arguments=PAYMENT_ARGUMENTS)
    channel.queue_bind(PAYMENT_QUEUE, EXCHANGE, "order.#")


def first_death(properties: pika.BasicProperties) -> dict[str, Any]:
    """The broker's account of the first time that a message died: where, why, and how it came."""
    deaths = (properties.headers or {}).get("x-death")
    if not deaths:
        raise SystemExit(f"message {properties.message_id} didn't die: somebody put it here")
    return deaths[-1]  # the most recent is the first of the list
