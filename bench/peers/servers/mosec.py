"""mosec 0.9.8: a Rust front end and Python workers."""

import json
from pathlib import Path
from typing import ClassVar

from bench.peers.environments import Environment
from bench.peers.exchange import Request
from bench.peers.failures import CannotRun
from bench.peers.servers.base import (
    JSON,
    MODULES,
    ONE_THREAD,
    VALUES,
    Classifying,
    Launch,
    Peer,
    check_values,
    engine_requirements,
    read_json,
    worker_environ,
)
from bench.peers.servers.base64_json import images_request

_MAX_BODY_BYTES = 64 << 20  # hubserve's default
# How long a request may take, and how long mosec's end waits for requests whose client has left, as wrk leaves some.
_SMALL_TIMEOUT_MS, _LARGE_TIMEOUT_MS = 3_000, 20_000


class Mosec(Peer):
    """Workers in modules/mosec_*.py, each given one request at a time, which is mosec's default.

    Attributes:
        items_together: the most that one call of a worker computes, of several requests.
    """

    title = "mosec 0.9.8"
    items_together: ClassVar[int] = 1

    @property
    def environment(self) -> Environment:
        """The server and the engines."""
        return Environment("mosec", ("3.11", "3.12", "3.13", "3.10"), ("mosec==0.9.8", *engine_requirements()))

    def do_nothing(self, workers: int, port: int, folder: Path) -> Launch:
        """Run a worker that returns its input."""
        body = json.dumps({"values": VALUES}).encode()
        request = Request("/inference", JSON, body, lambda answer: check_values(read_json(answer, "values")), b'"values"')
        return Launch(self._command("mosec_do_nothing.py", port, folder, _SMALL_TIMEOUT_MS), self._environ(workers, 1), request)

    def tensors(self, size_bytes: int, workers: int, port: int, folder: Path) -> Launch:
        """Run the same worker; JSON is the only form of a tensor that it reads without custom code."""
        if size_bytes != 4 * len(VALUES):
            raise CannotRun(f"mosec's worker is asked by JSON, which is measured with {4 * len(VALUES)} bytes only")
        return self.do_nothing(workers, port, folder)

    def classifier(self, work: Classifying, port: int, folder: Path) -> Launch:
        """Run a worker with the engine."""
        request = images_request("/inference", work.images, "prediction")
        return Launch(
            self._command("mosec_classifier.py", port, folder, _LARGE_TIMEOUT_MS),
            worker_environ(work) | self._environ(work.workers, len(work.images)),
            request,
        )

    def _environ(self, workers: int, items: int) -> dict[str, str]:
        # mosec counts requests, not what they hold
        return {"WORKERS": str(workers), "REQUESTS_TOGETHER": str(max(1, self.items_together // items)), **ONE_THREAD}

    def _command(self, script: str, port: int, folder: Path, timeout_ms: int) -> list[str]:
        limits = ["--timeout", str(timeout_ms), "--max-request-size", str(_MAX_BODY_BYTES), "--log-level", "warning"]
        places = ["--address", "127.0.0.1", "--port", str(port), "--path", str(folder / "sockets")]
        return [str(self.interpreter.path), str(MODULES / script), *places, *limits]


class MosecBatching(Mosec):
    """With mosec's dynamic batching: a worker waits up to a millisecond, the least that can be set, for more requests."""

    title = "mosec 0.9.8, batching"
    items_together = 8
