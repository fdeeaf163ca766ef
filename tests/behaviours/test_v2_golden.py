"""Every raw request of the golden folder is answered with the bytes that are recorded there; ``tests/golden/record.py`` records."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Server, servers
from tests.v2 import exchange, modules
from tests.v2_requests import CASES

GOLDEN = ROOT / "tests" / "golden" / "v2_http"


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("golden")
    (folder / "modules").mkdir()
    with servers(shared_home, folder) as start:
        yield start(modules(folder / "modules"), max_body_bytes=1 << 20, shared_memory=True)


def test_the_folder_has_every_case() -> None:
    assert {folder.name for folder in GOLDEN.iterdir()} == set(CASES)
    recorded = {name: (GOLDEN / name / "request").read_bytes() for name in CASES}
    assert {name for name in CASES if but_for_packing(recorded[name]) != but_for_packing(CASES[name])} == set()


def but_for_packing(request: bytes) -> bytes:
    """A request without what another Python or zlib packs into other bytes."""
    head, _, _ = request.partition(b"\r\n\r\n")
    packed = re.search(rb"(?i)^Content-Encoding:", head, re.MULTILINE)
    return re.sub(rb"(?im)^Content-Length:.*$", b"", head) if packed else request


@pytest.mark.parametrize("case", sorted(CASES))
def test_a_recorded_request_gets_its_recorded_answer(server: Server, case: str) -> None:
    answer = exchange(server.port, (GOLDEN / case / "request").read_bytes())
    assert but_for_what_varies(answer) == but_for_what_varies((GOLDEN / case / "response").read_bytes())


def but_for_what_varies(answer: bytes) -> bytes:
    """An answer without its status's name, which is another one in Python 3.13 for some, and without the id of its request."""
    return re.sub(rb"(?m)^x-request-id: [0-9a-f]{16}-[0-9a-f]+\r\n", b"", re.sub(rb"\A(HTTP/1.1 \d{3})[^\r]*", rb"\1", answer))


def test_no_answer_is_the_servers_own_failure() -> None:
    statuses = {case: int((GOLDEN / case / "response").read_bytes()[9:12]) for case in CASES}
    assert {case for case, status in statuses.items() if status >= 500 and status not in (501, 503)} == set()
    assert set(statuses.values()) == {200, 400, 404, 405, 413, 501}
