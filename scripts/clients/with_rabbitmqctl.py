"""ferrymqctl beside the rabbitmqctl and rabbitmq-diagnostics of Debian's RabbitMQ: the same command lines, one at
FerryMQ and one at a RabbitMQ of its own, have to print the same and exit with the same code."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

from broker import BINARY
from management import Management
from rabbitmq import rabbitmq
from scenarios import run_all, scenario

CTL = BINARY.with_name("ferrymqctl")
BIN = "/usr/lib/rabbitmq/bin"
THEIRS = {}  # the RabbitMQ: its API, and the environment of its programs

# What is printed and the code: both have to be the same. A text at the end after < is the input.
CHANGES = [
    "add_vhost ctl --description Orders --tags a,b",
    "add_vhost ctl.more",
    "set_vhost_tags ctl x y",
    "-q add_user ctl.alice secret",
    "-q add_user ctl.alice secret",
    "-s add_user ctl.bob < typed",
    "authenticate_user ctl.bob typed",
    "authenticate_user ctl.bob wrong",
    "authenticate_user ctl.nobody wrong",
    "change_password ctl.bob other",
    "change_password ctl.nobody other",
    "set_user_tags ctl.alice management monitoring",
    "set_user_tags ctl.nobody management",
    "set_permissions -p ctl ctl.alice ^a .* ^b",
    "set_permissions -p ctl guest .* .* .*",
    "set_permissions -p ctl ctl.nobody .* .* .*",
    "set_permissions -p ctl ctl.alice ( .* .*",
    "set_permissions -p ctl ctl.alice .*",
    "set_topic_permissions -p ctl ctl.alice amq.topic ^a ^b",
    'set_policy -p ctl p ^orders {"max-length":10} --priority 1 --apply-to queues',
    'set_policy -p ctl p ^orders {"nope":1}',
    'set_policy -p ctl p ( {"max-length":10}',
    'set_policy -p nowhere p ^orders {"max-length":10}',
    'set_operator_policy -p ctl o ^orders {"max-length":10}',
    'set_vhost_limits -p ctl {"max-queues":300}',
    'set_user_limits ctl.alice {"max-channels":30,"max-connections":9}',
    'set_global_parameter ctl.region "eu"',
    "set_cluster_name ctl",
    "trace_on -p ctl",
    "trace_off -p ctl",
    "-q close_all_connections -p ctl bye",
    "enable_feature_flag all",
]

# After the changes; rows in any order.
LISTS = [
    "list_vhosts name description tracing",
    "list_users",
    "list_permissions -p ctl",
    "list_user_permissions ctl.alice",
    "list_topic_permissions -p ctl",
    "list_policies -p ctl",
    "list_operator_policies -p ctl",
    "list_vhost_limits -p ctl",
    "list_vhost_limits --global",
    "list_user_limits --user ctl.alice",
    "list_global_parameters",
    "list_queues -p ctl",
    "list_queues -p ctl name messages consumers durable auto_delete exclusive policy state type",
    "list_queues -p ctl name,messages slave_pids",
    "list_queues -p ctl --offline",
    "list_queues -p ctl.more",
    "list_bindings -p ctl source_name source_kind destination_name destination_kind routing_key",
    "list_consumers -p ctl",
    "list_channels name number",
    "list_unresponsive_queues -p ctl",
]

# The codes have to be the same, since what is said is each one's own.
CODES = [
    "no_such_verb",
    "list_users --no-such-option",
    "list_queues no_such_column",
    "list_queues --timeout x",
    "list_permissions -p nowhere",
    "list_policies -p nowhere",
    "add_user",
    "set_policy -p ctl p ^orders {} --priority x",
    "-n nobody@nowhere list_users",
    "delete_vhost nowhere",
    "delete_user ctl.nobody",
    "clear_policy -p ctl nope",
    "clear_global_parameter nope",
    "purge_queue -p ctl nope",
    "close_connection nope reason",
    "import_definitions < {nope",
    "import_definitions < {}",
    "import_definitions /no/such/file",
    "export_definitions /no/such/directory/file",
    "export_definitions",
    "await_startup --timeout 60",
    "await_online_nodes 1",
    "restart_vhost -p ctl",
    "status",
    "status --unit miles",
    "cluster_status",
    "node_health_check",
    "list_users -?",
    "help list_users",
    "help no_such_verb",
    "version",
]

CHECKS = [
    "ping",
    "is_running",
    "is_booting",
    "check_running",
    "check_alarms",
    "check_local_alarms",
    "check_port_listener 1",
    "check_protocol_listener amqp",
    "check_protocol_listener no-such-protocol",
    "check_port_connectivity",
    "check_virtual_hosts",
    "check_certificate_expiration --within 3 --unit weeks",
    "check_certificate_expiration --within 3 --unit eons",
    "check_if_node_is_quorum_critical",
    "check_if_node_is_mirror_sync_critical",
    "alarms",
    "listeners",
    "memory_breakdown --unit mb",
    "server_version",
    "reset_node_auth_attempt_metrics",
]


def run(program, environment, line, *more):
    line, _, typed = line.partition(" < ")
    command = [program, *line.split(" "), *more]
    done = subprocess.run(command, env=environment, input=typed, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


def both(line, *more, tool="rabbitmqctl"):
    """The code and the output of a line at RabbitMQ, and at FerryMQ."""
    ours = os.environ | {"FERRYMQ_URL": f"http://127.0.0.1:{os.environ['FERRYMQ_HTTP_PORT']}"}
    with ThreadPoolExecutor() as pool:
        theirs = pool.submit(run, f"{BIN}/{tool}", THEIRS["environment"], line, *more)
        return theirs.result(), run(CTL, ours, line, *more)


def differing(lines, seen=lambda outcome: outcome, **kind):
    """Nothing, if all lines do the same at both."""
    told = []
    for line in lines:
        theirs, ours = both(line, **kind)
        if seen(theirs) != seen(ours):
            told.append(f"{line}\n  RabbitMQ {theirs}\n  FerryMQ  {ours}")
    assert not told, "\n".join(told)


def rows(outcome):
    """Of what all brokers have, or the scenarios here have made."""
    code, text = outcome
    foreign = ("Timeout:", "cluster_name", "internal_cluster_id", "guest", "127.0.0.1")
    kept = [row for row in text.splitlines() if not row.startswith(foreign)]
    return code, sorted(row for row in kept if row.split("\t")[0] != "/")


@scenario
def changes_say_the_same_and_exit_alike():
    differing(CHANGES)


def declare(management):
    for queue in ("orders", "empty"):
        management.put(f"/queues/ctl/{queue}", {"durable": True, "auto_delete": False, "arguments": {}})
    management.put("/exchanges/ctl/ex", {"type": "topic", "durable": True})
    management.post("/bindings/ctl/e/ex/q/orders", {"routing_key": "a.#", "arguments": {}})


@scenario
def lists_have_the_same_columns_and_rows():
    for management in (THEIRS["management"], Management(os.environ["FERRYMQ_HTTP_PORT"])):
        declare(management)
    differing([f"-q {line}" for line in LISTS], rows)


@scenario
def lists_are_printed_alike_in_every_format():
    line = "list_permissions -p ctl"
    for more in (["-q"], ["-s"], ["--no-table-headers"], ["--formatter", "csv"], ["--formatter", "table"]):
        theirs, ours = both(line, *more)
        assert rows(theirs) == rows(ours), (more, theirs, ours)
    theirs, ours = both(line, "--formatter", "json")

    def key(row):
        return row["user"]

    assert sorted(json.loads(theirs[1]), key=key) == sorted(json.loads(ours[1]), key=key)
    first = [list(json.loads(text)[0]) for _, text in (theirs, ours)]
    assert first[0] == first[1], first


@scenario
def what_fails_exits_with_the_same_code():
    differing(CODES, lambda outcome: outcome[0])


@scenario
def checks_exit_with_the_same_code():
    differing(CHECKS, lambda outcome: outcome[0], tool="rabbitmq-diagnostics")


@scenario
def what_was_made_is_cleared_alike():
    differing(
        [
            "clear_policy -p ctl p",
            "clear_operator_policy -p ctl o",
            "clear_permissions -p ctl ctl.alice",
            "clear_topic_permissions -p ctl ctl.alice",
            "clear_user_limits ctl.alice max-channels",
            "clear_user_limits ctl.alice all",
            "clear_vhost_limits -p ctl",
            "clear_global_parameter ctl.region",
            "clear_password ctl.bob",
            "purge_queue -p ctl orders",
            "delete_user ctl.alice",
            "delete_user ctl.bob",
            "delete_vhost ctl",
            "delete_vhost ctl.more",
        ]
    )


with rabbitmq() as theirs:
    THEIRS.update(management=theirs, environment=theirs.environment)
    run_all()
