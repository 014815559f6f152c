"""The management API as a script speaks it."""

import base64
import json
import urllib.error
import urllib.request

SECONDS_MAX = 60


class Management:
    def __init__(self, port, user="guest", password="guest"):
        self.base = f"http://127.0.0.1:{port}/api"
        self.authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def ask(self, method, path, body=None):
        """The JSON of the answer, if it has any; an answer that refuses is an error with its text."""
        headers = {"Authorization": self.authorization, "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=SECONDS_MAX) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from None
        return json.loads(text) if text else None

    def get(self, path):
        return self.ask("GET", path)

    def put(self, path, body):
        return self.ask("PUT", path, body)

    def post(self, path, body):
        return self.ask("POST", path, body)

    def answers(self):
        try:
            self.get("/overview")
        except (AssertionError, OSError):
            return False
        return True
