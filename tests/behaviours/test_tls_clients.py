"""hubserve's own clients and commands against a server that asks for clients' certificates."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3.exceptions

from hubserve.client import Client, ServerError
from hubserve.errors import ConfigError
from tests.behaviours.certificates import Authority
from tests.conftest import ROOT, Server, hub, servers, toy, wait_for


class Secured:
    """A server with mutual TLS, and files of a client that it accepts."""

    def __init__(self, server: Server, authority: Path, certificate: str, key: str) -> None:
        self.server, self.authority, self.certificate, self.key = server, str(authority), certificate, key
        self.url = f"https://127.0.0.1:{server.port}/predict"

    @property
    def files(self) -> dict[str, Any]:
        """The arguments of a client."""
        return {"cacert": self.authority, "cert": self.certificate, "key": self.key}

    @property
    def options(self) -> list[str]:
        """The same for a command."""
        return [word for name, value in self.files.items() for word in (f"--{name}", value)]


@pytest.fixture(scope="module")
def secured(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder / "authority")
    authority.write(folder, "server")
    shutil.copy(authority.file, folder / "ca.pem")
    own = authority.write(folder, "alice")
    tls = {"tls_cert": "server.pem", "tls_key": "server.key", "tls_client_ca": "ca.pem"}
    with servers(shared_home, folder) as start:
        server = start({name: toy(name) for name in ("shout", "doubler")}, wait=False, **tls)
        made = Secured(server, authority.file, *own)
        wait_for(lambda: '"ready": true' in hub("serving", "status", "-p", server.port, "--json", home=shared_home).stdout)
        yield made


def test_the_python_client_presents_and_checks_certificates(secured: Secured, tmp_path: Path) -> None:
    with Client(f"{secured.url}/shout", **secured.files) as client:
        assert client.call(text="a") == "A!"
    both = tmp_path / "both.pem"
    both.write_text(Path(secured.certificate).read_text() + Path(secured.key).read_text())
    with Client(f"{secured.url}/shout", cacert=secured.authority, cert=both) as client:
        assert client.call(text="a") == "A!"
    with Client(f"{secured.url}/shout", cert=both, insecure=True) as client, pytest.warns(urllib3.exceptions.InsecureRequestWarning):
        assert client.call(text="a") == "A!"
    with Client(f"{secured.url}/shout", cert=both) as client, pytest.raises(ServerError, match="cacert"):
        client.call(text="a")
    with Client(f"{secured.url}/shout", cacert=secured.authority) as client, pytest.raises(ServerError):
        client.call(text="a")


def test_authorities_of_the_environment_do_not_replace_those_of_the_client(secured: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", secured.certificate)
    with Client(f"{secured.url}/shout", **secured.files) as client:
        assert client.call(text="a") == "A!"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cacert": "none.pem"}, "'none.pem' is not a PEM file of certificates of authorities"),
        ({"cert": "none.pem"}, "'none.pem' is not a PEM file of a certificate and its key"),
        ({"key": "none.key"}, "has no certificate"),
        ({"cert": "{certificate}"}, "is not a PEM file of a certificate and its key"),
    ],
)
def test_files_that_a_client_cannot_use_are_reported_before_it_connects(secured: Secured, options: dict[str, str], said: str) -> None:
    given = {name: value.format(certificate=secured.certificate) for name, value in options.items()}
    with pytest.raises(ConfigError, match=said):
        Client(f"{secured.url}/shout", **given)
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    done = hub("serving", "status", "-p", secured.server.port, *words, home=Path("/nonexistent"))
    assert done.returncode == 1
    assert said in done.stderr


def test_certificates_have_no_meaning_for_an_address_that_is_not_encrypted() -> None:
    with pytest.raises(ConfigError, match="write https://"):
        Client("http://127.0.0.1:8866/predict/shout", insecure=True)


def test_the_status_of_a_server_elsewhere_is_shown(secured: Secured, tmp_path: Path) -> None:
    """Another home stands for another machine."""
    asked = ("serving", "status", "-p", secured.server.port, "--json")
    done = hub(*asked, *secured.options, home=tmp_path)
    assert {each["name"] for each in json.loads(done.stdout)["modules"]} == {"shout", "doubler"}
    plain = hub(*asked, home=tmp_path)
    assert (plain.returncode, "is encrypted; give --cacert" in plain.stderr) == (1, True)
    untrusting = hub(*asked, "--https", home=tmp_path)
    assert (untrusting.returncode, "CERTIFICATE_VERIFY_FAILED" in untrusting.stderr) == (1, True)
    insecure = hub(*asked, "--insecure", "--cert", secured.certificate, "--key", secured.key, home=tmp_path)
    assert insecure.returncode == 0


def test_a_measurement_is_encrypted(secured: Secured, tmp_path: Path) -> None:
    measure = ("bench", "doubler", "-p", secured.server.port, "--seconds", "0.3", "--rounds", "1", "--connections", "2", "--shape", "3")
    for home in (secured.server.home, tmp_path):
        done = hub(*measure, "--no-raw", "--json", *secured.options, home=home)
        assert done.returncode == 0, done.stderr
        step = json.loads(done.stdout)["steps"][0]
        assert step["requests_per_s"] > 0
        assert step["errors"] == []
        plain = hub(*measure, home=home)
        assert (plain.returncode, "--cacert" in plain.stderr) == (1, True)


def test_the_tool_that_classifies_pictures_presents_and_checks_certificates(secured: Secured, cat_photo: Path) -> None:
    command = [sys.executable, "tools/test_client.py", "--server_url", f"{secured.url}/doubler", "--image_file", str(cat_photo)]
    done = subprocess.run([*command, *secured.options], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert "no encrypted connection" not in done.stderr
    assert "answered status 101 (HTTP 200)" in done.stderr  # the module doubles numbers, and takes no pictures
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert "no encrypted connection" in done.stderr
