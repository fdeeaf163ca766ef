"""Records what the server answers to each of ``tests/v2_requests.py``: ``python -m tests.golden.record``.

Each case is a folder with ``request`` and ``response``, the raw bytes of HTTP. Read what has changed before it is kept: clients see it.
"""

import re
import shutil
import tempfile
from pathlib import Path

from tests.conftest import servers
from tests.v2 import exchange, modules
from tests.v2_requests import CASES

FOLDER = Path(__file__).parent / "v2_http"


def main() -> None:
    """Record every case again."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "modules").mkdir()
        with servers(work / "home", work) as start:
            server = start(modules(work / "modules"), max_body_bytes=1 << 20, shared_memory=True)
            for case, request in CASES.items():
                folder = FOLDER / case
                folder.mkdir(parents=True)
                (folder / "request").write_bytes(request)
                (folder / "response").write_bytes(re.sub(rb"(?m)^x-request-id: .*\n", b"", exchange(server.port, request)))
    print(f"{len(CASES)} cases in {FOLDER}")


if __name__ == "__main__":
    main()
