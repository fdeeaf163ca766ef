"""``bench/engines.py`` on a model that takes no time."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.unit.engines import onnx_classifier


def bench(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "bench/engines.py", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_every_engine_that_reads_the_model_has_a_row_and_autos_choice_is_shown(home: Path, tmp_path: Path) -> None:
    done = bench("--model", onnx_classifier.write(tmp_path / "model.onnx"), "--rounds", 2, "--batch-size", 4)
    assert done.returncode == 0, done.stderr
    assert "batch of 1" in done.stdout
    assert "batch of 4" in done.stdout
    rows = [line.split("│") for line in done.stdout.splitlines() if line.startswith("│")]
    assert [row[1].strip() for row in rows] == ["onnxruntime", "openvino"]
    assert all(float(row[column]) > 0 for row in rows for column in (2, 3))
    assert done.stdout.count("auto: ") == 2
    assert not list(home.glob("cache/engines/*.json"))


def test_a_missing_model_is_reported(home: Path, tmp_path: Path) -> None:
    done = bench("--model", tmp_path / "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no model folder" in done.stderr
