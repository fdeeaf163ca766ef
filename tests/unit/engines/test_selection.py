import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from hubserve.engines import EngineOptions, find_model_files, load_engine
from hubserve.engines.selection import choose
from hubserve.engines.verdicts import Verdict, cpu_model, remembered
from hubserve.errors import LoadFailed, MissingDependency
from tests.engines_here import CONVERTS, PREFERRED
from tests.unit.engines import onnx_classifier

X = {"x": np.random.default_rng(2).standard_normal((2, 3, 32, 32)).astype("float32")}


def verdicts(home):
    return sorted((home / "cache" / "engines").glob("*.json"))


@pytest.fixture
def converted_wrong(fresh_home, converter, tmp_path):
    """Every conversion is another classifier: it loads, runs, and is wrong."""
    shutil.rmtree(fresh_home / "cache", ignore_errors=True)
    converter(f"import shutil; shutil.copy({str(onnx_classifier.write(tmp_path / 'other.onnx'))!r}, output)")


def without(monkeypatch, *packages):
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def test_auto_takes_the_preferred_engine_that_agrees_with_paddle_and_says_so(models, fresh_home, paddle_answers):
    folder = models / "pdmodel" / "classifier"
    engine = load_engine(folder)
    assert engine.name == PREFERRED
    over = r"openvino and paddle" if CONVERTS else r"paddle; not onnxruntime: .* needs the package 'paddle2onnx'.*"
    said = rf"auto: {PREFERRED} agrees with paddle within \d\.\de-\d\d \(checked \d{{4}}-\d\d-\d\d\), preferred over {over}"
    assert re.fullmatch(said, engine.reason)
    assert engine.describe()["reason"] == engine.reason
    np.testing.assert_allclose(engine.run(X)[0], paddle_answers(folder, X)[0], atol=1e-6)


def test_the_choice_is_remembered_and_shown_again(models, fresh_home):
    folder = models / "pdmodel" / "classifier"
    load_engine(folder)
    (kept,) = verdicts(fresh_home)
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "reason": "auto: as remembered"}))
    assert load_engine(folder).reason == "auto: as remembered"
    assert load_engine(models / "pdmodel" / "two_inputs").reason.startswith(f"auto: {PREFERRED} agrees")
    assert len(verdicts(fresh_home)) == 2


def test_a_damaged_memory_is_made_again(models, fresh_home):
    files = find_model_files(models / "pdmodel" / "classifier")
    found = Verdict("openvino", "because")
    assert remembered(files, ["openvino"], lambda: found) == found
    (kept,) = verdicts(fresh_home)
    whole = kept.read_text()
    for damage in ("", "{", "[]", '{"engine": "openvino"}', '{"engine": "gpu", "reason": "x"}', '{"engine": "openvino", "reason": 1}'):
        kept.write_text(damage)
        assert remembered(files, ["openvino"], lambda: found) == found
        assert kept.read_text() == whole


def test_a_verdict_that_may_not_last_is_not_remembered(models, fresh_home):
    files = find_model_files(models / "pdmodel" / "classifier")
    assert remembered(files, ["paddle"], lambda: Verdict("paddle", "out of memory", lasting=False)).reason == "out of memory"
    assert verdicts(fresh_home) == []


def test_an_engine_whose_answers_differ_is_refused_and_the_next_one_taken(models, converted_wrong, paddle_answers):
    folder = models / "pdmodel" / "classifier"
    engine = load_engine(folder)
    assert engine.name == "openvino"
    assert "auto: openvino agrees with paddle within" in engine.reason
    assert "not onnxruntime: output 0 differs by up to" in engine.reason
    np.testing.assert_allclose(engine.run(X)[0], paddle_answers(folder, X)[0], atol=1e-6)


def test_paddle_is_taken_when_no_other_agrees(models, converted_wrong, monkeypatch):
    without(monkeypatch, "openvino")
    engine = load_engine(models / "pdmodel" / "classifier")
    assert engine.name == "paddle"
    assert "not onnxruntime: output 0 differs" in engine.reason


def test_an_engine_that_cannot_convert_the_model_is_passed_over(models, fresh_home, converter):
    converter("raise SystemExit(-1)")
    shutil.rmtree(fresh_home / "cache", ignore_errors=True)
    engine = load_engine(models / "pdmodel" / "classifier")
    assert engine.name == "openvino"
    assert "not onnxruntime: cannot convert" in engine.reason
    assert len(verdicts(fresh_home)) == 1


def test_a_model_that_a_made_up_batch_does_not_fit_is_left_to_paddle(models, fresh_home):
    engine = load_engine(models / "pdmodel" / "picky")
    assert engine.name == "paddle"
    assert "because it could not run a made-up batch to compare others with" in engine.reason
    assert engine.run({"x": np.ones((2, 5), "float32")})[0].shape == (2, 2)


def test_only_what_is_installed_is_considered(models, fresh_home, monkeypatch):
    pdmodel, pir = (find_model_files(models / form / "classifier") for form in ("pdmodel", "json"))
    without(monkeypatch, "onnxruntime")
    assert choose(pir, EngineOptions()) == ("paddle", "auto: paddle, the only engine installed here that can read inference.json", True)
    assert choose(pdmodel, EngineOptions()).engine == "openvino"
    without(monkeypatch, "openvino")
    assert choose(pdmodel, EngineOptions()).engine == "paddle"


def test_without_paddle_the_preferred_engine_that_runs_is_taken_unchecked(models, fresh_home, monkeypatch):
    without(monkeypatch, "paddle", "onnxruntime")
    engine = load_engine(models / "pdmodel" / "classifier")
    assert (engine.name, engine.reason) == ("openvino", "auto: openvino, not compared with paddle, which is not installed here")


def test_without_any_engine_the_error_says_what_to_install(models, fresh_home, monkeypatch):
    without(monkeypatch, "paddle", "onnxruntime", "openvino")
    with pytest.raises(MissingDependency, match="pip install paddlepaddle"):
        load_engine(models / "pdmodel" / "classifier")
    (fresh_home / "model.onnx").touch()
    with pytest.raises(MissingDependency, match="pip install onnxruntime"):
        load_engine(fresh_home)


def test_onnx_files_go_to_the_first_engine_that_reads_them(tmp_path, monkeypatch):
    model = onnx_classifier.write(tmp_path / "model.onnx")
    assert load_engine(model).name == "onnxruntime"
    without(monkeypatch, "onnxruntime")
    assert load_engine(model).name == "openvino"


def test_use_gpu_means_paddle(models, fresh_home):
    files = find_model_files(models / "pdmodel" / "classifier")
    assert choose(files, EngineOptions(use_gpu=True)) == ("paddle", "auto: paddle, because use_gpu is set", True)


def test_half_precision_is_never_chosen_on_a_cpu_unless_the_engine_is_named(models, fresh_home, monkeypatch):
    without(monkeypatch, "onnxruntime")
    folder, half = models / "pdmodel" / "classifier", EngineOptions(use_fp16=True)
    assert load_engine(folder, "auto", half).describe()["precision"] == "fp32"
    assert load_engine(folder, "openvino", half).describe()["precision"] != "fp32"


def test_damaged_weights_are_an_error_and_not_a_choice(copy_of, fresh_home):
    folder = copy_of("pdmodel")
    (folder / "inference.pdiparams").write_bytes(b"cut")
    with pytest.raises(LoadFailed, match="inference.pdiparams"):
        load_engine(folder)


def test_a_remembered_engine_that_no_longer_loads_gives_way_to_paddle(models, fresh_home, converter):
    folder = models / "pdmodel" / "classifier"
    load_engine(folder)
    (kept,) = verdicts(fresh_home)
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "engine": "onnxruntime"}))
    shutil.rmtree(fresh_home / "cache" / "onnx", ignore_errors=True)
    converter("raise SystemExit(-1)")
    engine = load_engine(folder)
    assert engine.name == "paddle"
    assert "onnxruntime, which was chosen before, could not be loaded: cannot convert" in engine.reason


def test_a_choice_that_cannot_be_remembered_is_still_made_and_says_so(models, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HUB_HOME", str(tmp_path / "file"))
    engine = load_engine(models / "pdmodel" / "classifier")
    assert engine.name == "openvino"  # a conversion needs the cache
    assert "not remembered: cannot write to" in engine.reason


def test_processes_that_choose_at_once_check_once_and_agree(models, fresh_home, tmp_path):
    log = tmp_path / "log"
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "import hubserve.engines.selection as s\n"
        "from hubserve.engines import find_model_files, EngineOptions\n"
        "real = s.check\n"
        "def counted(*arguments):\n"
        "    open(sys.argv[2], 'a').write('x')\n"
        "    return real(*arguments)\n"
        "s.check = counted\n"
        "print(s.choose(find_model_files(Path(sys.argv[1])), EngineOptions()).reason)\n"
    )
    command = [sys.executable, "-c", script, str(models / "pdmodel" / "classifier"), str(log)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert said[0] == said[1]
    assert said[0].startswith(f"auto: {PREFERRED} agrees")
    assert log.read_text() == "x"


def test_the_chosen_engine_alone_is_in_memory_after_auto(models, fresh_home):
    script = (
        "import sys\n"
        "from hubserve.engines import load_engine\n"
        "engine = load_engine(sys.argv[1])\n"
        "print(engine.name, 'paddle' in sys.modules, 'openvino' in sys.modules)\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(models / "pdmodel" / "classifier")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (f"{PREFERRED} False {PREFERRED == 'openvino'}\n", "")


def test_the_cpu_is_told_by_its_name_and_instruction_sets(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor: 0\nmodel name: A\nflags: avx\ncpu MHz: 2000.1\n\nprocessor: 1\nmodel name: A\nflags: avx\ncpu MHz: 3000.2\n"
    )
    assert cpu_model(cpuinfo) == "flags: avx|model name: A"
    assert cpu_model(tmp_path / "none")
    assert cpu_model() == cpu_model()
