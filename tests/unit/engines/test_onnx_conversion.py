import os
import subprocess
import sys

import pytest

from hubserve.engines import find_model_files, load_engine
from hubserve.engines.onnx_conversion import onnx_of
from hubserve.engines.subprocess_call import ChildFailed, call_in_child
from hubserve.errors import LoadFailed, MissingDependency
from tests.unit.engines import onnx_classifier

CONVERT = (
    "import sys\n"
    "from pathlib import Path\n"
    "from hubserve.engines import find_model_files\n"
    "from hubserve.engines.onnx_conversion import onnx_of\n"
    "onnx_of(find_model_files(Path(sys.argv[1])))\n"
)


@pytest.fixture
def files(models):
    return find_model_files(models / "pdmodel" / "classifier")


@pytest.fixture
def converter(converter, tmp_path, monkeypatch):
    """The same, with nothing converted yet; gives the folder of what is kept."""

    def write(body):
        converter(body)
        monkeypatch.setenv("HUB_HOME", str(tmp_path / "home"))
        return tmp_path / "home" / "cache" / "onnx"

    return write


def left_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_conversion_is_made_once_and_another_model_gets_its_own(files, models, converter):
    converter("open(output, 'w').write(model)")
    first = onnx_of(files)
    made = first.stat()
    assert onnx_of(files) == first
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert onnx_of(find_model_files(models / "pdmodel" / "two_inputs")) != first


def test_a_kept_conversion_that_was_damaged_is_made_again(models, converter, tmp_path):
    converter(f"import shutil; shutil.copy({str(onnx_classifier.write(tmp_path / 'any.onnx'))!r}, output)")
    folder = models / "pdmodel" / "classifier"
    kept = onnx_of(find_model_files(folder))
    whole = kept.read_bytes()
    kept.write_bytes(whole[:100])
    assert load_engine(folder, "onnxruntime").name == "onnxruntime"
    assert len(kept.read_bytes()) == len(whole)


def test_processes_that_convert_the_same_model_at_once_convert_it_once_and_leave_nothing_else(models, tmp_path):
    home = tmp_path / "home"
    counter = tmp_path / "counter"
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "paddle2onnx.py").write_text(
        "import time\n"
        "def export(model, weights, output, **options):\n"
        f"    open({str(counter)!r}, 'a').write('x')\n"
        "    time.sleep(0.3)\n"
        "    open(output, 'wb').write(b'converted')\n"
    )
    environment = {**os.environ, "HUB_HOME": str(home), "PYTHONPATH": os.pathsep.join([str(tmp_path / "first"), *sys.path])}
    command = [sys.executable, "-c", CONVERT, str(models / "pdmodel" / "classifier")]
    running = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert counter.read_text() == "x"
    assert [each.partition(".onnx")[2] for each in sorted(left_in(home / "cache" / "onnx"))] == ["", ".origins"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("sys.exit(-1)", "gave up with exit status -1"),
        ("raise RuntimeError('no such operator')", "no such operator"),
        ("os._exit(3)", "ended with status 3"),
        ("os.kill(os.getpid(), 11)", "ended by signal 11"),
        ("pass", "wrote nothing"),
        ("open(output, 'wb').close()", "wrote nothing"),
    ],
)
def test_a_converter_that_fails_in_any_way_is_an_error_and_nothing_is_kept(body, says, files, converter):
    cache = converter(body)
    with pytest.raises(
        LoadFailed, match=rf"cannot convert inference.pdmodel and inference.pdiparams in .* to ONNX: .*{says}.*use engine 'paddle'"
    ):
        onnx_of(files)
    assert left_in(cache) == []


def test_a_missing_converter_is_named_with_the_command_that_installs_it(files, tmp_path, monkeypatch):
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "paddle2onnx.py").write_text("raise ModuleNotFoundError(\"No module named 'paddle2onnx'\", name='paddle2onnx')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "first"))
    monkeypatch.setenv("HUB_HOME", str(tmp_path / "home"))
    with pytest.raises(MissingDependency, match=r"needs the package 'paddle2onnx'.*pip install paddle2onnx"):
        onnx_of(files)


def test_a_cache_that_cannot_be_written_is_an_error_that_says_what_to_do(files, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HUB_HOME", str(tmp_path / "file"))
    with pytest.raises(LoadFailed, match="cannot keep the converted model.*HUB_HOME"):
        onnx_of(files)


def test_a_child_that_hangs_is_killed_and_the_failure_does_not_last():
    with pytest.raises(ChildFailed, match="more than 1 s") as caught:
        call_in_child("time:sleep", [60], timeout_s=1)
    assert not caught.value.lasting


def test_a_child_gives_its_result_and_its_last_words():
    assert call_in_child("operator:add", [2, 3], timeout_s=30) == 5
    with pytest.raises(ChildFailed, match="status 1") as caught:
        call_in_child("operator:add", [2, "a"], timeout_s=30)
    assert "TypeError" in caught.value.detail
    assert caught.value.lasting
