"""Flower, Celery's monitor, shows the queues of the broker by the management API."""

import os
import subprocess
import sys
import urllib.request

import pika
from broker import free_port
from scenarios import run_all, scenario, wait_until


@scenario
def the_queues_are_on_its_page_of_the_broker():
    url, port = os.environ["AMQP_URL"], free_port()
    api = f"http://guest:guest@127.0.0.1:{os.environ['FERRYMQ_HTTP_PORT']}/api/"
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        # The one that Celery uses when nothing else is said.
        channel.queue_declare("celery", durable=True)
        for _ in range(3):
            channel.basic_publish("", "celery", b"")
        own = ["flower", f"--broker-api={api}", "--address=127.0.0.1", f"--port={port}"]
        command = [sys.executable, "-m", "celery", f"--broker={url}", *own]
        flower = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:

            def page():
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/broker", timeout=10) as answer:
                        return answer.read().decode()
                except OSError:
                    return None

            text = wait_until(page, 60)
            row = text[text.index("celery") :].split("</tr>")[0]
            assert ">3<" in "".join(row.split()), text
        finally:
            flower.kill()
            flower.wait()
        channel.queue_delete("celery")


run_all()
