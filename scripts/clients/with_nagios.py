"""The checks of Debian's nagios-plugins-rabbitmq, as Nagios runs them."""

import os
import subprocess

import pika
from scenarios import run_all, scenario

OK, WARNING = 0, 1


def check(name, *arguments, code=OK):
    """What a check says; it has to end with this code."""
    port = os.environ["FERRYMQ_HTTP_PORT"]
    where = ["--hostname", "127.0.0.1", "--port", port, "--username", "guest", "--password", "guest"]
    done = subprocess.run([name, *where, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, (name, done.returncode, done.stdout, done.stderr)
    return done.stdout


@scenario
def the_broker_lives():
    assert "OK" in check("check_rabbitmq_aliveness", "--vhost", "/")


@scenario
def the_broker_is_counted():
    check("check_rabbitmq_overview")
    check("check_rabbitmq_objects")
    check("check_rabbitmq_connections")


@scenario
def the_node_is_well():
    # They put rabbit@ before it, and take no socket for no answer.
    node = ["--node", "localhost"]
    with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])):
        check("check_rabbitmq_server", *node)
        check("check_rabbitmq_watermark", *node)
        check("check_rabbitmq_partition", *node)


@scenario
def a_queue_that_grows_is_noticed():
    with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
        channel = connection.channel()
        channel.queue_declare("nagios")
        for _ in range(3):
            channel.basic_publish("", "nagios", b"")
        check("check_rabbitmq_queue", "--vhost", "/", "--queue", "nagios", "-w", "9,9,9,9", "-c", "99,99,99,99")
        check("check_rabbitmq_queue", "--vhost", "/", "--queue", "nagios", "-w", "2,2,2,2", "-c", "99,99,99,99", code=WARNING)
        channel.queue_delete("nagios")


run_all()
