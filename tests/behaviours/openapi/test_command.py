"""``hub serving openapi`` writes the document of a running server."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
from openapi_spec_validator import validate

from tests.behaviours.access.keys import add_key, bearer
from tests.conftest import Start, free_port, hub, toy


def test_the_document_of_a_server_with_keys_is_written_to_standard_output_or_a_file(start: Start, home: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "builds", ("shout",))
    server = start({"shout": toy("shout"), "doubler": toy("doubler")}, access_keys="keys.json")
    file = tmp_path / "openapi.json"
    done = hub("serving", "openapi", "-p", server.port, "--api-key", key, "-o", file, home=home)
    assert (done.returncode, done.stdout) == (0, "")
    written = json.loads(file.read_bytes())
    assert written == requests.get(f"{server.url}/openapi.json", headers=bearer(key), timeout=30).json()
    validate(written)
    assert "/predict/shout" in written["paths"]
    assert "/predict/doubler" not in written["paths"], "the key may not use it"
    shown = hub("serving", "openapi", "-p", server.port, "--api-key", key, home=home)
    assert json.loads(shown.stdout) == written
    refused = hub("serving", "openapi", "-p", server.port, "-o", tmp_path / "other.json", home=home)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "answers HTTP 401" in refused.stderr
    assert not (tmp_path / "other.json").exists()
    unwritable = hub("serving", "openapi", "-p", server.port, "--api-key", key, "-o", tmp_path / "missing" / "x.json", home=home)
    assert unwritable.returncode == 1
    assert "cannot be written: No such file or directory" in unwritable.stderr


@pytest.mark.parametrize("listens", [True, False])
def test_what_does_not_answer_as_a_hub_server_is_an_error(home: Path, listens: bool) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"swagger": "2.0"}')

    port = free_port()
    if listens:
        server = HTTPServer(("127.0.0.1", port), Other)
        Thread(target=server.handle_request, daemon=True).start()
    done = hub("serving", "openapi", "-p", port, home=home)
    if listens:
        server.server_close()
    assert (done.returncode, done.stdout) == (1, "")
    assert ("is not a hub server" if listens else "no hub server answers") in done.stderr
    assert "Traceback" not in done.stderr
