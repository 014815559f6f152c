"""The rabbitmqadmin that RabbitMQ's management plugin brings: each of its commands."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pika
from scenarios import run_all, scenario, wait_until

ADMIN = next(Path("/usr/lib/rabbitmq/lib").glob("*/plugins/rabbitmq_management-*/priv/www/cli/rabbitmqadmin"))
VHOST = "admin"
LISTS = (
    "connections channels consumers exchanges queues bindings users vhosts permissions nodes parameters policies"
    " operator_policies vhost_limits"
)


def run(*arguments, vhost=VHOST):
    """What the program prints; it has to succeed."""
    where = ["--host", "127.0.0.1", "--port", os.environ["FERRYMQ_HTTP_PORT"]]
    where += ["--vhost", vhost] if vhost else []
    done = subprocess.run(
        [sys.executable, ADMIN, *where, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, (arguments, done.stdout, done.stderr)
    return done.stdout


def listed(what, column="name", vhost=VHOST):
    rows = json.loads(run("-f", "raw_json", "list", what, vhost=vhost))
    return [row.get(column) for row in rows]


def users_of_vhost():
    rows = json.loads(run("-f", "raw_json", "list", "permissions"))
    return sorted(row["user"] for row in rows if row["vhost"] == VHOST)


@scenario
def vhosts_users_and_permissions():
    run("declare", "vhost", f"name={VHOST}", vhost="/")
    for user in ("guest", "carol"):
        if user == "carol":
            run("declare", "user", "name=carol", "password=secret", "tags=monitoring")
        run("declare", "permission", f"vhost={VHOST}", f"user={user}", "configure=.*", "write=.*", "read=.*")
    assert VHOST in listed("vhosts") and "carol" in listed("users")
    assert users_of_vhost() == ["carol", "guest"]
    run("delete", "permission", f"vhost={VHOST}", "user=carol")
    run("delete", "user", "name=carol")
    assert "carol" not in listed("users") and users_of_vhost() == ["guest"]


@scenario
def exchanges_queues_and_bindings():
    run("declare", "exchange", "name=e", "type=topic", 'arguments={"alternate-exchange":"amq.fanout"}')
    run("declare", "queue", "name=q", 'arguments={"x-max-length":10}')
    run("declare", "queue", "name=quorum", "queue_type=quorum")
    run("declare", "binding", "source=e", "destination=q", "routing_key=a.#")
    run("declare", "binding", "source=amq.topic", "destination=e", "destination_type=exchange", "routing_key=b")
    assert "e" in listed("exchanges") and sorted(listed("queues")) == ["q", "quorum"]
    assert sorted(listed("bindings", "source")) == ["", "", "amq.topic", "e"]
    run("delete", "binding", "source=e", "destination_type=queue", "destination=q", "properties_key=a.%23")
    assert "e" not in listed("bindings", "source")
    run("delete", "queue", "name=quorum")
    run("delete", "exchange", "name=e")
    assert "e" not in listed("exchanges") and listed("queues") == ["q"]


@scenario
def messages():
    assert "published" in run("publish", "routing_key=q", "payload=one", 'properties={"delivery_mode":2,"headers":{"a":1}}')
    assert "NOT routed" in run("publish", "routing_key=nowhere", "payload=two")
    run("publish", "routing_key=q", "payload=AAE=", "payload_encoding=base64")
    got = json.loads(run("-f", "raw_json", "get", "queue=q", "count=5", "ackmode=ack_requeue_true"))
    assert [(each["payload"], each["payload_encoding"]) for each in got] == [("one", "string"), ("\x00\x01", "string")]
    assert got[0]["properties"]["headers"] == {"a": 1} and got[0]["redelivered"] is False
    with tempfile.TemporaryDirectory() as directory:
        run("get", "queue=q", f"payload_file={directory}/body", "ackmode=ack_requeue_false")
        assert (Path(directory) / "body").read_text() == "one"
    run("purge", "queue", "name=q")
    assert json.loads(run("-f", "raw_json", "get", "queue=q")) == []


@scenario
def policies_parameters_and_limits():
    policy = ["name=p", "pattern=^q", 'definition={"max-length":5}', "priority=3", "apply-to=queues"]
    run("declare", "policy", *policy)
    run("declare", "operator_policy", *policy)
    run("declare", "parameter", "component=federation-upstream", "name=up", 'value={"uri":"amqp://there"}')
    run("declare", "vhost_limit", f"vhost={VHOST}", "name=max-queues", "value=9")
    assert listed("policies") == listed("operator_policies") == ["p"] and "up" in listed("parameters")
    assert listed("vhost_limits", "value") == [{"max-queues": 9}]
    assert "p" in listed("queues", "policy")
    run("delete", "policy", "name=p")
    run("delete", "operator_policy", "name=p")
    run("delete", "parameter", "component=federation-upstream", "name=up")
    run("delete", "vhost_limit", f"vhost={VHOST}", "name=max-queues")
    assert listed("policies") == listed("operator_policies") == []
    assert "up" not in listed("parameters")


@scenario
def everything_can_be_shown():
    overview = json.loads(run("-f", "raw_json", "show", "overview"))
    assert overview[0]["cluster_name"] if isinstance(overview, list) else overview["cluster_name"]
    for what in LISTS.split():
        for form in ("table", "long", "tsv", "kvp", "bash", "pretty_json"):
            run("-f", form, "list", what)


@scenario
def a_connection_is_seen_and_closed():
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
    channel = connection.channel()
    channel.basic_consume(channel.queue_declare("", exclusive=True).method.queue, print)

    def name():
        return next(iter(listed("connections", vhost="/")), None)

    def consumers():
        return listed("consumers", "consumer_tag", vhost="/")

    wait_until(name)
    wait_until(consumers)
    assert len(listed("channels", vhost="/")) == 1
    run("close", "connection", f"name={name()}")
    try:
        connection.process_data_events(10)
        raise AssertionError("it is open")
    except pika.exceptions.ConnectionClosedByBroker as closed:
        assert closed.reply_code == 320, closed


@scenario
def definitions_out_and_in():
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/definitions.json"
        run("export", path, vhost=None)
        run("delete", "queue", "name=q")
        run("import", path, vhost=None)
    assert "q" in listed("queues")
    run("delete", "vhost", f"name={VHOST}", vhost="/")
    assert VHOST not in listed("vhosts", vhost="/")


run_all()
