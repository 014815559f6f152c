"""Definitions go from Debian's RabbitMQ to this broker and back to another RabbitMQ, and are the same."""

from urllib.parse import quote

from broker import Broker
from management import Management
from rabbitmq import rabbitmq
from scenarios import run_all, scenario

# What a node says of itself.
OF_THE_NODE = {"rabbit_version", "rabbitmq_version", "product_name", "product_version"}
CLUSTER_ID = "internal_cluster_id"
ALL = {"configure": ".*", "write": ".*", "read": ".*"}


def fill(management):
    """Something of everything that a definitions file has."""
    put, post = management.put, management.post
    put("/vhosts/shop", {})
    put("/users/bob", {"password": "secret", "tags": "monitoring,policymaker"})
    put("/users/nobody", {"password_hash": "", "tags": ""})
    put("/permissions/shop/guest", ALL)
    put("/permissions/shop/bob", {"configure": "", "write": ".*", "read": "^a"})
    put("/topic-permissions/shop/bob", {"exchange": "amq.topic", "write": "^a", "read": ".*"})
    policy = {"pattern": "^q", "priority": 2, "apply-to": "queues"}
    put("/policies/shop/limits", policy | {"definition": {"max-length": 10, "dead-letter-exchange": "dead"}})
    put("/operator-policies/shop/at-most", policy | {"definition": {"expires": 100_000}})
    put("/vhost-limits/shop/max-queues", {"value": 10})
    put("/user-limits/bob/max-channels", {"value": 10})
    put("/global-parameters/colour", {"value": {"of": "blue"}})
    of_queues = {
        "q.priorities": {"x-max-priority": 5, "x-queue-type": "classic"},
        "q.quorum": {"x-queue-type": "quorum", "x-delivery-limit": 3},
        "q.plain": {},
        "grüße": {"x-message-ttl": 60_000, "x-dead-letter-exchange": ""},
    }
    for name, arguments in of_queues.items():
        put(f"/queues/shop/{quote(name)}", {"durable": True, "arguments": arguments})
    put("/queues/shop/passing", {"durable": False, "auto_delete": False})
    for kind in ("direct", "fanout", "topic", "headers"):
        put(f"/exchanges/shop/e.{kind}", {"type": kind, "durable": True, "arguments": {"alternate-exchange": "dead"}})
        arguments = {"x-match": "any", "colour": "blue", "size": 7} if kind == "headers" else {}
        post(f"/bindings/shop/e/e.{kind}/q/q.plain", {"routing_key": "a.#", "arguments": arguments})
    post("/bindings/shop/e/amq.topic/e/e.topic", {"routing_key": "b.*", "arguments": {}})


def comparable(definitions):
    """Without what a node says of itself, and with lists in one order."""
    parts = {name: part for name, part in definitions.items() if name not in OF_THE_NODE}
    parts["global_parameters"] = [each for each in parts["global_parameters"] if each["name"] != CLUSTER_ID]
    return {name: sorted(map(str, map(in_order, part))) for name, part in parts.items()}


def in_order(value):
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return value


@scenario
def a_file_of_rabbitmq_comes_back_to_rabbitmq_as_it_was():
    with rabbitmq() as there:
        fill(there)
        exported = there.get("/definitions")
    with Broker() as broker:
        here = Management(broker.http_port)
        here.post("/definitions", exported)
        passed_on = here.get("/definitions")
        broker.stop()
    with rabbitmq() as there:
        there.post("/definitions", passed_on)
        came_back = there.get("/definitions")
    expected, found = comparable(exported), comparable(came_back)
    for part in expected:
        assert found[part] == expected[part], (part, expected[part], found[part])


run_all()
