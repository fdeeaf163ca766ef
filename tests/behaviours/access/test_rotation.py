"""Keys that are replaced while clients use them."""

import json
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.behaviours.access.keys import add_key, bearer, remove_keys, tensors
from tests.conftest import Server, Start, free_port, toy, wait_for


def shout(url: str, text: str, session: Any = requests) -> int:
    answer = session.post(f"{url}/predict/shout", json={"text": "a"}, headers=bearer(text), timeout=30)
    return int(answer.status_code)


class Load:
    """Clients that send one request after the other, with the key that is current.

    Attributes:
        key: that they use.
        counts: of each client's answers.
        wrong: what was no result.
    """

    def __init__(self, server: Server, key: str) -> None:
        self.key = key
        self.counts = [0] * 4
        self.wrong: list[str] = []
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=(self._http, self._grpc)[number % 2], args=(number,)) for number in range(4)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_all(self) -> None:
        """Wait until every client was answered twice: whatever it sends from now on has the key that is current now."""
        before = list(self.counts)
        wait_for(lambda: all(now > was + 1 for now, was in zip(self.counts, before, strict=True)))

    def _http(self, number: int) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                status = shout(self._server.url, self.key, session)
                if status != 200:
                    self.wrong.append(str(status))
                self.counts[number] += 1

    def _grpc(self, number: int) -> None:
        sent = tensors(tritonclient.grpc, "arguments", "BYTES", np.array([json.dumps({"text": "a"})], dtype=np.object_))
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{self._server.port}") as client:
            while not self._stop.is_set():
                try:
                    client.infer("shout", sent, headers={"x-api-key": self.key})
                except InferenceServerException as error:
                    self.wrong.append(str(error))
                self.counts[number] += 1


def test_keys_are_rotated_under_load_without_a_lost_request(start: Start, tmp_path: Path) -> None:
    """Each round adds a key, moves every client to it, breaks the file for a while, and then removes the key before."""
    file, port = tmp_path / "keys.json", free_port()
    first = add_key(file, "round-0", ("*",))
    server = start({"shout": {**toy("shout"), "workers": 1}}, access_keys="keys.json", port=port, grpc_port=port)
    with Load(server, first) as load:
        for number in range(1, 3):
            before, after = load.key, add_key(file, f"round-{number}", ("*",))
            wait_for(partial(_is_answered, server, after))
            load.key = after
            load.wait_for_all()
            content = file.read_bytes()
            file.write_text("{")
            wait_for(partial(_says, server, "the last good keys stay in use", number))
            load.wait_for_all()
            file.write_bytes(content)
            remove_keys(file, f"round-{number - 1}")
            wait_for(partial(_is_refused, server, before))
            load.wait_for_all()
    assert load.wrong == []
    assert min(load.counts) > 10


def _is_answered(server: Server, text: str) -> bool:
    return shout(server.url, text) == 200


def _is_refused(server: Server, text: str) -> bool:
    return shout(server.url, text) == 401


def _says(server: Server, said: str, times: int) -> bool:
    return server.log.read_text().count(said) == times
