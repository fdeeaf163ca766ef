"""Ports for servers under test, from a range that is this test process's own."""

import itertools
import os
import random
import re
import socket
from collections.abc import Iterator

_FIRST = 10_000
PER_WORKER = 1_000
_WORKERS = 22  # up to 32,000: the kernel gives outgoing connections ports from 32,768


def _worker() -> int:
    """Return the number of this worker of pytest-xdist, counted from 1; 0 without pytest-xdist."""
    numbered = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    return 1 + int(numbered[1]) if numbered else 0


def candidates() -> Iterator[int]:
    """Yield the ports of this worker's range over and over, from a random one on: several test runs may share a machine."""
    first = _FIRST + _worker() % _WORKERS * PER_WORKER
    start = random.randrange(PER_WORKER)
    return (first + (start + each) % PER_WORKER for each in itertools.count())


_ports = candidates()


def free_port() -> int:
    """Return a port that nothing listens on; each call returns another one."""
    for port in itertools.islice(_ports, PER_WORKER):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError(f"each of the {PER_WORKER} ports of this worker is in use")
