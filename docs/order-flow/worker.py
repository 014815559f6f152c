"""Charges orders and writes them into a ledger. Stop it with Ctrl-C.

Usage: python worker.py [--accept CURRENCY ...] [--ledger FILE]
"""

import argparse
import json
import signal
import sqlite3
from collections.abc import Collection
from datetime import datetime

import pika
from pika.adapters.blocking_connection import BlockingChannel

import topology


class PaymentFailed(Exception):
    pass


def charge(order: dict, attempt: int, currencies: Collection[str]) -> None:
    """Stands for the payment provider: busy now and then, and not at home in every currency."""
    if order["number"] % 3 == 0 and attempt <= 2:
        raise PaymentFailed("the provider is busy")
    if order["currency"] not in currencies:
        raise PaymentFailed(f"no account in {order['currency']}")


def open_ledger(path: str) -> sqlite3.Connection:
    ledger = sqlite3.connect(path)
    ledger.execute("CREATE TABLE IF NOT EXISTS paid (order_id TEXT PRIMARY KEY, amount INTEGER)")
    return ledger


def enter(ledger: sqlite3.Connection, order_id: str, amount: int) -> bool:
    """False if the order is there already: a worker that is lost after this line and before its
    ack gets the order again."""
    with ledger:
        done = ledger.execute("INSERT OR IGNORE INTO paid VALUES (?, ?)", (order_id, amount))
    return done.rowcount == 1


class Worker:
    def __init__(self, ledger: sqlite3.Connection, currencies: Collection[str]) -> None:
        self.ledger = ledger
        self.currencies = currencies
        self.stops = False

    def stop(self, *_signal: object) -> None:
        self.stops = True

    def on_order(
        self,
        channel: BlockingChannel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        # The header counts failed deliveries; the first delivery is without it.
        attempt = (properties.headers or {}).get("x-delivery-count", 0) + 1
        outcome = f"{properties.message_id} attempt {attempt}"
        try:
            order = json.loads(body)
            charge(order, attempt, self.currencies)
            is_new = enter(self.ledger, properties.message_id, order["amount"])
        except Exception as error:  # an order that can't even be read has failed, too
            say(f"{outcome} failed: {error}")
            # Reject says "I failed with it": it is counted, and the order comes again after its
            # wait or goes to the dead-letter queue. (Nack says "I don't want it now", which is
            # counted neither here nor in RabbitMQ 4.3.)
            channel.basic_reject(method.delivery_tag, requeue=True)
            return
        say(f"{outcome} {'paid' if is_new else 'was paid before'}")
        channel.basic_ack(method.delivery_tag)


def say(line: str) -> None:
    print(datetime.now().isoformat(" ", "milliseconds"), line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--accept", nargs="+", default=["EUR"], metavar="CURRENCY")
    parser.add_argument("--ledger", default="ledger.db", metavar="FILE")
    options = parser.parse_args()
    worker = Worker(open_ledger(options.ledger), options.accept)
    signal.signal(signal.SIGINT, worker.stop)
    signal.signal(signal.SIGTERM, worker.stop)
    with topology.connect() as connection:
        channel = connection.channel()
        topology.declare(channel)
        channel.basic_qos(prefetch_count=1)  # what a lost worker has out counts as failed
        channel.basic_consume(topology.PAYMENT_QUEUE, worker.on_order)
        # Instead of start_consuming(), so that a stop comes after an order and not inside of one.
        while not worker.stops:
            connection.process_data_events(time_limit=1)


if __name__ == "__main__":
    main()
