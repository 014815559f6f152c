"""pika: what a Python script does all day, and the errors it meets. Restarts have a broker of their own."""

import os

import pika
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, UnroutableError

from broker import Broker
from scenarios import run_all, scenario, wait_until

URL = os.environ["AMQP_URL"]
PERSISTENT = pika.BasicProperties(delivery_mode=2)


def connect(url=URL):
    return pika.BlockingConnection(pika.URLParameters(url + "?heartbeat=5"))


def expect_channel_error(channel, code, text, operation):
    try:
        operation(channel)
    except ChannelClosedByBroker as error:
        assert error.reply_code == code and text in error.reply_text, error
        return
    raise AssertionError(f"{code} was expected")


@scenario
def publishes_with_confirms_and_gets_what_it_published():
    with connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        queue = channel.queue_declare("pika.confirms", durable=True).method.queue
        for number in range(50):
            channel.basic_publish("", queue, b"%d" % number, PERSISTENT, mandatory=True)
        for number in range(50):
            _, _, body = channel.basic_get(queue, auto_ack=True)
            assert body == b"%d" % number
        assert channel.basic_get(queue) == (None, None, None)
        channel.queue_delete(queue)


@scenario
def an_unroutable_mandatory_message_comes_back():
    with connect() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        try:
            channel.basic_publish("", "pika.nowhere", b"lost", mandatory=True)
        except UnroutableError as error:
            assert error.messages[0].body == b"lost"
            return
        raise AssertionError("it did not come back")


@scenario
def topics_and_headers_choose_queues():
    with connect() as connection:
        channel = connection.channel()
        channel.exchange_declare("pika.topic", "topic")
        channel.exchange_declare("pika.headers", "headers")
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "pika.topic", "order.*.#")
        channel.queue_bind(queue, "pika.headers", "", {"x-match": "all", "kind": "order", "size": 3})
        for key in ("order.new.eu", "order", "invoice.new"):
            channel.basic_publish("pika.topic", key, key.encode())
        for size in (3, 4):
            properties = pika.BasicProperties(headers={"kind": "order", "size": size})
            channel.basic_publish("pika.headers", "", b"%d" % size, properties)
        bodies = [channel.basic_get(queue, auto_ack=True)[2] for _ in range(3)]
        assert bodies == [b"order.new.eu", b"3", None], bodies
        channel.exchange_delete("pika.topic")
        channel.exchange_delete("pika.headers")


@scenario
def a_requeued_message_comes_back_redelivered_and_a_rejected_one_is_dead_lettered():
    with connect() as connection:
        channel = connection.channel()
        dead = channel.queue_declare("pika.dead", durable=True).method.queue
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        queue = channel.queue_declare("pika.source", durable=True, arguments=arguments).method.queue
        channel.basic_publish("", queue, b"m", PERSISTENT)
        method, _, _ = wait_until(lambda: channel.basic_get(queue) if channel.is_open else None)
        channel.basic_nack(method.delivery_tag, requeue=True)
        method, _, _ = channel.basic_get(queue)
        assert method.redelivered
        channel.basic_reject(method.delivery_tag, requeue=False)

        def dead_lettered():
            found = channel.basic_get(dead, auto_ack=True)
            return found if found[0] else None

        _, properties, body = wait_until(dead_lettered)
        death = properties.headers["x-death"][0]
        assert body == b"m" and death["reason"] == "rejected" and death["queue"] == queue, death
        assert death["count"] == 1 and death["routing-keys"] == [queue], death
        channel.queue_delete(queue)
        channel.queue_delete(dead)


@scenario
def prefetch_limits_what_is_out():
    with connect() as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        for number in range(10):
            channel.basic_publish("", queue, b"%d" % number)
        channel.basic_qos(prefetch_count=3)
        got = []
        channel.basic_consume(queue, lambda _c, method, _p, _b: got.append(method.delivery_tag))

        def three_are_out():
            connection.process_data_events(0.01)
            return len(got) == 3

        wait_until(three_are_out)
        assert channel.queue_declare(queue, passive=True).method.message_count == 7
        channel.basic_ack(got[-1], multiple=True)
        wait_until(lambda: connection.process_data_events(0.01) or len(got) == 6)


@scenario
def a_request_is_answered_without_a_queue_for_the_reply():
    with connect() as connection, connect() as other:
        channel, server = connection.channel(), other.channel()
        queue = server.queue_declare("", exclusive=True).method.queue
        answers = []
        on_answer = lambda _c, _m, properties, body: answers.append((properties.correlation_id, body))
        channel.basic_consume("amq.rabbitmq.reply-to", on_answer, auto_ack=True)
        asking = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="7")
        channel.basic_publish("", queue, b"2 + 3", asking)
        _, question, _ = next(server.consume(queue, auto_ack=True, inactivity_timeout=10))
        assert question.reply_to.startswith("amq.rabbitmq.reply-to."), question
        answering = pika.BasicProperties(correlation_id=question.correlation_id)
        server.basic_publish("", question.reply_to, b"5", answering)
        wait_until(lambda: connection.process_data_events(0.01) or answers)
        assert answers == [("7", b"5")], answers


@scenario
def errors_close_the_channel_and_the_connection_goes_on():
    with connect() as connection:
        missing = lambda channel: channel.queue_declare("pika.missing", passive=True)
        text = "NOT_FOUND - no queue 'pika.missing' in vhost '/'"
        expect_channel_error(connection.channel(), 404, text, missing)
        connection.channel().queue_declare("pika.durable", durable=True)
        other = lambda channel: channel.queue_declare("pika.durable", durable=False)
        text = "inequivalent arg 'durable' for queue 'pika.durable' in vhost '/': received 'false' but current is 'true'"
        expect_channel_error(connection.channel(), 406, text, other)
        twice = lambda channel: (channel.basic_ack(7), channel.queue_declare("", exclusive=True))
        expect_channel_error(connection.channel(), 406, "unknown delivery tag 7", twice)
        connection.channel().queue_delete("pika.durable")


@scenario
def an_exclusive_queue_is_locked_for_others_and_goes_with_its_connection():
    with connect() as other:
        with connect() as owner:
            queue = owner.channel().queue_declare("pika.exclusive", exclusive=True).method.queue
            look = lambda channel: channel.queue_declare(queue, passive=True)
            expect_channel_error(other.channel(), 405, "cannot obtain exclusive access", look)
        expect_channel_error(other.channel(), 404, "no queue 'pika.exclusive'", look)


@scenario
def a_reused_consumer_tag_ends_the_connection():
    connection = connect()
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    raw = pika.spec.Basic.Consume(queue=queue, consumer_tag="same")
    try:
        for _ in range(2):
            channel._impl._send_method(raw)
        for _ in range(100):
            connection.process_data_events(0.1)
    except ConnectionClosedByBroker as error:
        assert error.reply_code == 530 and "attempt to reuse consumer tag" in error.reply_text
        return
    raise AssertionError("the connection should have been closed")


@scenario
def a_transaction_takes_effect_as_a_whole_or_not_at_all():
    with connect() as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        count = lambda: channel.queue_declare(queue, passive=True).method.message_count
        channel.tx_select()
        channel.basic_publish("", queue, b"1")
        channel.tx_rollback()
        channel.basic_publish("", queue, b"2")
        assert count() == 0
        channel.tx_commit()
        assert count() == 1
        assert channel.basic_get(queue, auto_ack=True)[2] == b"2"


@scenario
def a_message_larger_than_a_frame_comes_back_whole():
    with connect() as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        body = os.urandom(3_000_000)
        channel.basic_publish("", queue, body)
        found = wait_until(lambda: channel.basic_get(queue, auto_ack=True)[2])
        assert found == body
        channel.queue_purge(queue)


@scenario
def what_was_confirmed_is_there_after_a_crash():
    with Broker() as broker:
        with connect(broker.url) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            channel.exchange_declare("kept", "topic", durable=True)
            channel.queue_declare("kept", durable=True, arguments={"x-max-length": 1000})
            channel.queue_bind("kept", "kept", "a.#")
            for number in range(100):
                channel.basic_publish("kept", "a.b", b"%d" % number, PERSISTENT, mandatory=True)
            channel.basic_get("kept")
        broker.kill()
        broker.start()
        with connect(broker.url) as connection:
            channel = connection.channel()
            for number in range(100):
                method, _, body = channel.basic_get("kept", auto_ack=True)
                assert body == b"%d" % number and method.redelivered == (number == 0), (number, method)
            channel.basic_publish("kept", "a.c", b"routed")
            assert wait_until(lambda: channel.basic_get("kept", auto_ack=True)[2]) == b"routed"
        broker.stop()


run_all()
