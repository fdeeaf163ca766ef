"""The scripts of these tests, and a server of one of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODULES, Server, servers

SCRIPTS = MODULES / "tiinfer"


def script(name: str, **settings: Any) -> dict[str, Any]:
    """The ``modules_info`` entry that serves a script from its folder."""
    return {"init_args": {"directory": str(SCRIPTS / name)}, **settings}


@pytest.fixture(scope="module")
def chain(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one script, over HTTP and gRPC on one port."""
    with servers(shared_home, tmp_path_factory.mktemp("chain")) as start:
        yield start({"chain": script("chain")}, max_body_bytes=4 << 20)
