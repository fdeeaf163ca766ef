"""Everything that an operator switches on: TLS, keys, the access log, metrics and traces; and its rotation under load."""

import json
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .otlp_sink import OtlpSink, running_sink

#: share of the requests that are traced
TRACED = 0.01


class Protection:
    """Connections of the clients of a stress program to the server: encrypted and with a key, or plain ones.

    Attributes:
        tls: for connections; None if they are not encrypted.
        scheme: of URLs.
        headers: of every request; they change with the key.
        sink: what has received traces.
    """

    def __init__(self) -> None:
        self.tls: ssl.SSLContext | None = None
        self.scheme = "http"
        self.headers: dict[str, str] = {}
        self._key_id = ""
        self.sink: OtlpSink | None = None
        self._line = b""
        self._rotations = 0

    @contextmanager
    def set_up(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Make certificates and a key in a folder, and start an endpoint for traces; yield the server's settings."""
        from tests.behaviours.certificates import Authority

        self._folder, self._keys = folder, folder / "keys.json"
        self._authority = Authority(folder / "authority")
        self._authority.write(folder, "server")
        self.tls, self.scheme = self._authority.client(), "https"
        os.environ["REQUESTS_CA_BUNDLE"] = str(self._authority.file)
        self._create_key()
        with running_sink() as self.sink:
            yield {
                "tls_cert": "server.pem",
                "tls_key": "server.key",
                "access_keys": "keys.json",
                "access_log": "json",
                "access_log_file": "access.log",
                "trace_endpoint": self.sink.url,
                "trace_ratio": TRACED,
            }

    def with_key(self, raw: bytes) -> bytes:
        """Return a request with the key behind its first line."""
        if not self._line:
            return raw
        start = raw.find(b"\r\n") + 2
        return raw[:start] + self._line + raw[start:] if start > 1 else raw

    def rotate(self) -> str:
        """Replace the certificate and the key; return the id of the old key, which is valid until it is revoked."""
        before = self._key_id
        self._authority.write(self._folder, "server")
        self._create_key()
        return before

    def revoke(self, key_id: str) -> None:
        """Revoke a key."""
        self._hub("revoke", str(self._keys), key_id)

    def _create_key(self) -> None:
        self._rotations += 1
        found = json.loads(self._hub("create", str(self._keys), "--name", f"load-{self._rotations}", "--admin", "--modules", "*", "--json"))
        self._key_id = found["id"]
        self.headers["Authorization"] = f"Bearer {found['key']}"
        self._line = f"Authorization: Bearer {found['key']}\r\n".encode()

    def _hub(self, *arguments: str) -> str:
        from tests.conftest import hub

        done = hub("access", *arguments, home=self._folder / "home")
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout


#: of this process
current = Protection()
