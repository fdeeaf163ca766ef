"""Fetch Swagger UI, which ``/docs`` shows, from npm: ``python tools/swagger_ui.py``.

The files lie in ``hubserve/pages/swagger_ui`` as they are published; tests/unit/pages/test_swagger_ui.py has the digest of each.
"""

import base64
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "5.35.0"
#: of the tarball, as npm lists it for this version
INTEGRITY = "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ=="
FILES = ("LICENSE", "NOTICE", "swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "swagger-ui.css")
FOLDER = Path(__file__).resolve().parent.parent / "hubserve" / "pages" / "swagger_ui"


def main() -> None:
    """Fetch the tarball, check it, and write the files."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["npm", "pack", f"swagger-ui-dist@{VERSION}", "--silent", "--pack-destination", scratch]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (tarball,) = Path(scratch).glob("*.tgz")
        found = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
        if found != INTEGRITY:
            raise SystemExit(
                f"the tarball of swagger-ui-dist {VERSION} has the integrity {found} instead of {INTEGRITY}; nothing was written"
            )
        with tarfile.open(tarball) as archive:
            for name in FILES:
                member = archive.extractfile(f"package/{name}")
                assert member is not None
                (FOLDER / name).write_bytes(member.read())
                print(hashlib.sha256((FOLDER / name).read_bytes()).hexdigest(), name)


if __name__ == "__main__":
    main()
