"""RabbitMQ's rabbitmqadmin v2: the commands that its own tests leave out.

Usage: with_rabbitmqadmin_v2.py PROGRAM, with AMQP_URL and FERRYMQ_HTTP_PORT.
"""

import json
import os
import re
import subprocess
import sys

import pika
from scenarios import run_all, scenario, wait_until

PROGRAM = sys.argv[1]


def run(*arguments, ok=True):
    """What the program prints; it has to succeed, or to fail."""
    where = ["--host", "127.0.0.1", "--port", os.environ["FERRYMQ_HTTP_PORT"], "--non-interactive"]
    done = subprocess.run([PROGRAM, *where, *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) == ok, (arguments, done.stdout, done.stderr)
    return done.stdout


class Client:
    """A connection with a consumer, as the program should see it."""

    def __enter__(self):
        self.connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
        self.channel = self.connection.channel()
        self.queue = self.channel.queue_declare("", exclusive=True).method.queue
        self.channel.basic_consume(self.queue, print, consumer_tag="admin.consumer")
        wait_until(lambda: "admin.consumer" in run("list", "consumers"))
        return self

    def __exit__(self, *_):
        if self.connection.is_open:
            self.connection.close()

    @property
    def name(self):
        host, port = self.connection._impl._transport._sock.getsockname()[:2]
        return next(line for line in run("connections", "list").splitlines() if f"{host}:{port}" in line).split()

    def is_told(self, code):
        try:
            self.connection.process_data_events(10)
        except pika.exceptions.ConnectionClosedByBroker as closed:
            return closed.reply_code == code
        return False


@scenario
def what_clients_do_is_seen():
    with Client() as client:
        for command in ("list connections", "list channels", "list bindings", "bindings list", "list consumers"):
            assert run(*command.split()), command
        assert client.queue in run("list", "consumers")
        assert "127.0.0.1" in run("users", "connections", "--username", "guest")


@scenario
def a_connection_is_closed_by_its_name():
    with Client() as client:
        peer, arrow, local = client.name[:3]
        run("close", "connection", "--name", f"{peer} {arrow} {local}")
        assert client.is_told(320)


@scenario
def the_connections_of_a_user_are_closed():
    with Client() as client:
        run("close", "user_connections", "--username", "guest")
        assert client.is_told(320)


@scenario
def the_broker_is_shown():
    for what in ("overview", "churn", "endpoint"):
        assert run("show", what), what
    assert "FerryMQ" in run("show", "overview")
    node = "ferrymq@localhost"
    for unit in ("bytes", "percent"):
        for group in ("show", "nodes"):
            assert "Metadata store" in run(group, f"memory_breakdown_in_{unit}", "--node", node)


@scenario
def health_is_checked():
    # Its health_check deprecated_features_in_use is one that 2.35.0 lists and does not know.
    run("health_check", "node_is_quorum_critical")
    assert "global_qos" in run("deprecated_features", "list")
    run("queues", "declare", "--name", "admin.transient", "--type", "classic", "--durable", "false")
    for used in (("deprecated_features", "list_used"), ("list", "deprecated_features_in_use")):
        assert "transient_nonexcl_queues" in run(*used), used
    run("queues", "delete", "--name", "admin.transient")


@scenario
def definitions_are_exported():
    assert "guest" in [user["name"] for user in json.loads(run("export", "definitions", "--stdout"))["users"]]


@scenario
def leaders_are_rebalanced():
    run("rebalance", "queues")
    run("queues", "rebalance")


@scenario
def a_password_that_it_hashes_is_one():
    digest = re.search(r"[A-Za-z0-9+/]{40,}=*", run("passwords", "salt_and_hash", "secret"))[0]
    run("users", "declare", "--name", "hashed", "--password-hash", digest, "--tags", "administrator")
    as_user = ["--username", "hashed", "--password", "secret"]
    assert "hashed" in run(*as_user, "users", "list")
    run(*as_user[:2], "--password", "other", "users", "list", ok=False)
    run("users", "delete", "--name", "hashed")


@scenario
def limits_of_a_vhost():
    run("vhosts", "declare", "--name", "admin.limits")
    run("--vhost", "admin.limits", "declare", "vhost_limit", "--name", "max-queues", "--value", "1")
    assert "max-queues" in run("--vhost", "admin.limits", "list", "vhost_limits")
    run("--vhost", "admin.limits", "queues", "declare", "--name", "one", "--type", "classic")
    run("--vhost", "admin.limits", "queues", "declare", "--name", "two", "--type", "quorum", ok=False)
    run("--vhost", "admin.limits", "delete", "vhost_limit", "--name", "max-queues")
    run("vhosts", "delete", "--name", "admin.limits")


run_all()
