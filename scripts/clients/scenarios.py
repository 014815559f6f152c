"""Named scenarios of one client: each prints `ok NAME` or `not ok NAME`, and a failure fails the program."""

import sys
import time
import traceback

SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


def wait_until(condition, seconds=10):
    """The first truthy answer of `condition`, or a failure after a deadline."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.01)
    raise AssertionError(f"{condition.__name__} did not come true in {seconds} s")


def report(name, error=None):
    if error is None:
        print(f"ok {name}", flush=True)
    else:
        print(f"not ok {name}", flush=True)
        traceback.print_exception(error)


def run_all():
    failed = False
    for function in SCENARIOS:
        try:
            function()
            report(function.__name__)
        except Exception as error:  # whatever it is, the others still run
            failed = True
            report(function.__name__, error)
    sys.exit(1 if failed else 0)
