"""Wait for servers that tests start by other ways than :class:`tests.conftest.Server`."""

import subprocess
import time
from pathlib import Path
from typing import Any

import requests

#: environments may have to be built, and engines compared, before a server is ready
_TIMEOUT_S = 240


def wait_until_ready(process: "subprocess.Popen[Any]", port: int, log: Path) -> str:
    """The address of a server on this machine, once it is ready; fails the test with the log if it ends or takes too long."""
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + _TIMEOUT_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if requests.get(f"{address}/health/ready", timeout=5).status_code == 200:
                return address
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
