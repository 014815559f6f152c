"""Debian's Prometheus scrapes the broker, and its promtool finds nothing wrong with what it gets."""

import base64
import json
import os
import subprocess
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

import pika
from broker import free_port
from scenarios import run_all, scenario, wait_until

HTTP_PORT = os.environ["FERRYMQ_HTTP_PORT"]
CONFIGURATION = f"""
scrape_configs:
  - job_name: ferrymq
    scrape_interval: 1s
    basic_auth: {{username: guest, password: guest}}
    static_configs: [{{targets: ["127.0.0.1:{HTTP_PORT}"]}}]
"""
# What RabbitMQ's own dashboard asks for first, and in which way.
METRICS = ("rabbitmq_build_info", "rabbitmq_queues", "rabbitmq_queue_messages_ready")
JOIN = 'on(instance, job) group_left(rabbitmq_cluster, rabbitmq_node) rabbitmq_identity_info{rabbitmq_cluster=~".+"}'
QUERIES = ("up", *(f"sum({metric} * {JOIN}) by(rabbitmq_node)" for metric in METRICS))


def read(url):
    request = urllib.request.Request(url)
    request.add_header("Authorization", "Basic " + base64.b64encode(b"guest:guest").decode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read()


@scenario
def promtool_finds_nothing_wrong():
    for path in ("metrics", "metrics/per-object", "metrics/detailed?family=queue_coarse_metrics&vhost=%2f"):
        metrics = read(f"http://127.0.0.1:{HTTP_PORT}/{path}")
        checked = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True, timeout=60)
        # Exit code 3 is for names that it would have chosen otherwise: they are RabbitMQ's.
        assert checked.returncode in (0, 3), checked.stderr.decode()


@scenario
def prometheus_scrapes_what_the_broker_counts():
    with pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"])) as connection:
        channel = connection.channel()
        channel.queue_declare("scraped")
        channel.basic_publish("", "scraped", b"")
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "prometheus.yml").write_text(CONFIGURATION)
            port = free_port()
            own = [f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
            command = ["prometheus", *own, f"--web.listen-address=127.0.0.1:{port}"]
            prometheus = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:

                def answers():
                    try:
                        queries = [urllib.parse.urlencode({"query": query}) for query in QUERIES]
                        answers = [json.loads(read(f"http://127.0.0.1:{port}/api/v1/query?{q}")) for q in queries]
                    except OSError:
                        return None
                    values = [answer["data"]["result"] for answer in answers]
                    return all(values) and [float(value[0]["value"][1]) for value in values]

                up, build, queues, ready = wait_until(answers, 30)
                assert up == 1 and build == 1 and queues >= 1 and ready >= 1, (up, build, queues, ready)
            finally:
                prometheus.kill()
                prometheus.wait()
        channel.queue_delete("scraped")


run_all()
