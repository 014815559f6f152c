"""kombu and py-amqp: the libraries below Celery."""

import os
import socket
import time

import amqp
import kombu

from scenarios import run_all, scenario

URL = os.environ["AMQP_URL"]
PORT = os.environ["FERRYMQ_PORT"]


@scenario
def a_producer_reaches_a_consumer_through_a_topic():
    exchange = kombu.Exchange("kombu.topic", type="topic", durable=True)
    queue = kombu.Queue("kombu.queue", exchange, routing_key="sensor.#", durable=True)
    got = []

    def take(body, message):
        got.append(body)
        message.ack()

    with kombu.Connection(URL) as connection:
        producer = connection.Producer(serializer="json")
        producer.publish({"t": 21.5}, exchange=exchange, routing_key="sensor.hall", declare=[queue])
        with connection.Consumer(queue, callbacks=[take]):
            connection.drain_events(timeout=5)
        assert got == [{"t": 21.5}]
        queue(connection.default_channel).delete()
        exchange(connection.default_channel).delete()


@scenario
def a_simple_queue_keeps_order():
    with kombu.Connection(URL) as connection, connection.SimpleQueue("kombu.simple") as queue:
        for number in range(20):
            queue.put(number)
        for number in range(20):
            message = queue.get(timeout=5)
            assert message.payload == number
            message.ack()
        queue.consumer.cancel()
        queue.queue.delete()


@scenario
def reject_and_requeue_set_the_redelivered_flag():
    with kombu.Connection(URL) as connection, connection.SimpleQueue("kombu.requeue") as queue:
        queue.put("again")
        queue.get(timeout=5).requeue()
        message = queue.get(timeout=5)
        assert message.delivery_info["redelivered"]
        message.reject()
        queue.consumer.cancel()
        queue.queue.delete()


@scenario
def a_queue_with_a_ttl_brings_failed_work_back_later():
    delay_ms = 300
    exchange = kombu.Exchange("kombu.retries", durable=True)
    to_retry = {"x-dead-letter-exchange": "kombu.retries", "x-dead-letter-routing-key": "retry"}
    back = {"x-dead-letter-exchange": "kombu.retries", "x-dead-letter-routing-key": "work"}
    work = kombu.Queue("kombu.work", exchange, "work", queue_arguments=to_retry)
    retry = kombu.Queue("kombu.retry", exchange, "retry", message_ttl=delay_ms / 1000, queue_arguments=back)
    deliveries = []

    def fail_once(body, message):
        deliveries.append((time.monotonic(), body, message.headers.get("x-death")))
        message.reject() if len(deliveries) == 1 else message.ack()

    with kombu.Connection(URL) as connection:
        producer = connection.Producer()
        producer.publish("job", exchange=exchange, routing_key="work", declare=[work, retry])
        with connection.Consumer(work, callbacks=[fail_once]):
            while len(deliveries) < 2:
                connection.drain_events(timeout=5)
        (failed, _, _), (again, body, deaths) = deliveries
        assert body == "job" and again - failed >= delay_ms / 1000 - 0.002, deliveries
        reasons = [(death["queue"], death["reason"]) for death in deaths]
        assert reasons == [("kombu.retry", "expired"), ("kombu.work", "rejected")], deaths
        for entity in (work, retry, exchange):
            entity(connection.default_channel).delete()


@scenario
def py_amqp_confirms_and_meets_404_and_406():
    with amqp.Connection(f"127.0.0.1:{PORT}", confirm_publish=True, heartbeat=4) as connection:
        channel = connection.channel()
        channel.queue_declare("pyamqp", durable=True, auto_delete=False)
        channel.basic_publish(amqp.Message("m", delivery_mode=2), routing_key="pyamqp")
        assert channel.basic_get("pyamqp", no_ack=True).body == "m"
        try:
            channel.queue_declare("pyamqp", durable=False, auto_delete=False)
            raise AssertionError("406 was expected")
        except amqp.PreconditionFailed as error:
            assert "inequivalent arg 'durable'" in str(error)
        channel = connection.channel()
        try:
            channel.queue_declare("pyamqp.missing", passive=True)
            raise AssertionError("404 was expected")
        except amqp.NotFound as error:
            assert "no queue 'pyamqp.missing' in vhost '/'" in str(error)
        connection.channel().queue_delete("pyamqp")


@scenario
def a_wrong_password_is_told():
    try:
        amqp.Connection(f"127.0.0.1:{PORT}", password="wrong").connect()
        raise AssertionError("it was let in")
    except amqp.AccessRefused as error:
        assert "Login was refused using authentication mechanism" in str(error)


@scenario
def every_type_of_header_comes_back_as_it_was():
    headers = {"s": "text", "i": 7, "big": 2**40, "f": 1.5, "b": True, "n": None, "l": [1, "x"], "t": {"k": 1}}
    with amqp.Connection(f"127.0.0.1:{PORT}") as connection:
        channel = connection.channel()
        name = channel.queue_declare(exclusive=True).queue
        channel.basic_publish(amqp.Message("m", application_headers=headers), routing_key=name)
        found = None
        while found is None:
            found = channel.basic_get(name, no_ack=True)
        assert found.headers == headers, found.headers


@scenario
def a_timeout_on_a_quiet_queue_is_only_that():
    with kombu.Connection(URL) as connection, connection.SimpleQueue("kombu.quiet") as queue:
        try:
            queue.get(timeout=0.05)
            raise AssertionError("there should be nothing")
        except (queue.Empty, socket.timeout):
            queue.consumer.cancel()
            queue.queue.delete()


run_all()
