import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from hubserve.engines import EngineOptions, find_model_files, load_engine
from hubserve.engines.parity import TOLERANCE
from hubserve.engines.selection import PREFERENCE, choose
from hubserve.engines.selection_cache import Verdict, cpu_model, remembered
from hubserve.engines.selection_policy import TIE
from hubserve.errors import LoadFailed, MissingDependency
from tests.engines_here import CONVERTS
from tests.unit.engines import onnx_classifier

BATCHES = EngineOptions(max_batch_size=4)
X = {"x": np.random.default_rng(2).standard_normal((2, 3, 32, 32)).astype("float32")}


def verdicts(home):
    return sorted((home / "cache" / "engines").glob("*.json"))


@pytest.fixture(scope="module")
def measured_cache(models, shared_home, tmp_path_factory):
    """The cache in which the choice for the classifier lies, measured once: it takes a process for each engine."""
    home = tmp_path_factory.mktemp("chosen")
    if (shared_home / "cache" / "onnx").is_dir():
        shutil.copytree(shared_home / "cache" / "onnx", home / "cache" / "onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_HOME", str(home))
        load_engine(models / "pdmodel" / "classifier", "auto", BATCHES)
    return home / "cache"


@pytest.fixture
def chosen_home(fresh_home, measured_cache):
    """A home of the test's own that remembers that choice."""
    shutil.copytree(measured_cache, fresh_home / "cache", dirs_exist_ok=True)
    return fresh_home


@pytest.fixture
def converted_wrong(fresh_home, converter, tmp_path):
    """Every conversion is another classifier: it loads, runs, and is wrong."""
    shutil.rmtree(fresh_home / "cache", ignore_errors=True)
    converter(f"import shutil; shutil.copy({str(onnx_classifier.write(tmp_path / 'other.onnx'))!r}, output)")


def without(monkeypatch, *packages):
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def best_of(measured):
    """Engine -> its best milliseconds per item, of those that could be taken, in the order of preference."""
    figures = {name: measured["engines"][name] for name in PREFERENCE if name in measured["engines"]}
    return {name: min(each["ms_per_item"].values()) for name, each in figures.items() if "left_out" not in each}


def test_auto_takes_the_engine_whose_remembered_figures_are_best_and_tells_them(models, chosen_home, paddle_answers):
    folder = models / "pdmodel" / "classifier"
    engine = load_engine(folder, "auto", BATCHES)
    (kept,) = verdicts(chosen_home)
    measured = json.loads(kept.read_text())["measured"]
    best = best_of(measured)
    assert set(best) == {"openvino", "paddle", *(["onnxruntime"] if CONVERTS else [])}
    assert engine.name == next(name for name, ms in best.items() if ms <= min(best.values()) * TIE)
    assert all(set(measured["engines"][name]["ms_per_item"]) == {"1", "4"} for name in best)
    assert all(measured["engines"][name]["difference"] < 1e-5 for name in best)
    assert (measured["threads"], measured["reference"], measured["tolerance"]) == (1, "paddle", TOLERANCE)
    if not CONVERTS:
        assert "needs the package 'paddle2onnx'" in measured["engines"]["onnxruntime"]["left_out"]
    np.testing.assert_allclose(engine.run(X)[0], paddle_answers(folder, X)[0], atol=1e-6)
    described = json.loads(json.dumps(engine.describe()))
    assert (described["reason"], described["measured"]) == (json.loads(kept.read_text())["reason"], measured)
    beside = r"\(.+; all agree within \d\.\de-\d\d\)"
    left_out = "" if CONVERTS else "; not onnxruntime: .*paddle2onnx.*"
    said = rf"auto: {engine.name}, [\d.]+ ms per item at best {beside}, measured \d{{4}}-\d\d-\d\d with 1 thread{left_out}"
    assert re.fullmatch(said, engine.reason)


def test_paddle_is_measured_as_the_options_have_it(models, fresh_home, monkeypatch):
    without(monkeypatch, "onnxruntime")
    files = find_model_files(models / "pdmodel" / "classifier")
    for enabled in (True, False):
        assert choose(files, EngineOptions(enable_mkldnn=enabled)).measured["engines"]["paddle"]["ms_per_item"]
    assert len(verdicts(fresh_home)) == 2


def test_the_choice_is_remembered_and_shown_again(models, chosen_home):
    folder = models / "pdmodel" / "classifier"
    (kept,) = verdicts(chosen_home)
    changed = {**json.loads(kept.read_text()), "reason": "auto: as remembered", "measured": {"date": "2026-11-21"}}
    kept.write_text(json.dumps(changed))
    again = load_engine(folder, "auto", BATCHES)
    assert (again.reason, again.measured) == ("auto: as remembered", {"date": "2026-11-21"})


def test_another_model_has_its_own_choice(models, fresh_home):
    for name, verdict in (("classifier", Verdict("paddle", "one")), ("two_inputs", Verdict("openvino", "other"))):
        assert remembered(find_model_files(models / "pdmodel" / name), PREFERENCE, [], lambda found=verdict: found) == verdict
    assert len(verdicts(fresh_home)) == 2


@pytest.mark.parametrize(
    ("options", "verdicts_then"),
    [
        (EngineOptions(max_batch_size=32), 1),  # batches beyond 8 are not measured
        (EngineOptions(gpu_mem=1), 1),
        (EngineOptions(max_batch_size=4), 2),
        (EngineOptions(cpu_num_threads=2), 2),
        (EngineOptions(ir_optim=False), 2),
        (EngineOptions(enable_mkldnn=False), 2),
    ],
)
def test_a_choice_counts_for_the_options_that_it_was_measured_with(models, fresh_home, options, verdicts_then):
    files = find_model_files(models / "pdmodel" / "classifier")

    def ask(options):
        about = []

        def noted(files, engines, on, find, asked):
            about.extend(on)
            return remembered(files, engines, on, lambda: Verdict("paddle", "because"))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hubserve.engines.selection.remembered", noted)
            choose(files, options)
        assert about

    ask(EngineOptions(max_batch_size=8))
    ask(options)
    assert len(verdicts(fresh_home)) == verdicts_then


def test_a_damaged_memory_is_made_again(models, fresh_home):
    files = find_model_files(models / "pdmodel" / "classifier")
    found = Verdict("openvino", "because", True, {"date": "2026-11-21"})
    assert remembered(files, ["openvino"], [], lambda: found) == found
    (kept,) = verdicts(fresh_home)
    whole = kept.read_text()
    good = json.loads(whole)
    changed = ({"engine": "gpu"}, {"reason": 1}, {"measured": []})
    for damage in ("", "{", "[]", '{"engine": "openvino"}', *(json.dumps({**good, **each}) for each in changed)):
        kept.write_text(damage)
        assert remembered(files, ["openvino"], [], lambda: found) == found
        assert kept.read_text() == whole


def test_a_verdict_that_may_not_last_is_not_remembered(models, fresh_home):
    files = find_model_files(models / "pdmodel" / "classifier")
    assert remembered(files, ["paddle"], [], lambda: Verdict("paddle", "out of memory", lasting=False)).reason == "out of memory"
    assert verdicts(fresh_home) == []


def test_an_engine_whose_answers_differ_is_refused_and_another_one_taken(models, converted_wrong, paddle_answers):
    folder = models / "pdmodel" / "classifier"
    engine = load_engine(folder)
    assert engine.name in ("openvino", "paddle")
    assert "; not onnxruntime: output 0 differs by up to" in engine.reason
    refused = engine.describe()["measured"]["engines"]["onnxruntime"]
    assert refused["difference"] > 1e-3
    assert refused["left_out"] in engine.reason
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
    assert engine.name in ("openvino", "paddle")
    assert "not onnxruntime: cannot convert" in engine.reason
    assert len(verdicts(fresh_home)) == 1


def test_an_engine_that_is_killed_is_passed_over_this_time_only(models, fresh_home, converter, monkeypatch):
    converter("os.kill(os.getppid(), 9)")  # as the kernel ends the engine's process where memory runs out
    shutil.rmtree(fresh_home / "cache", ignore_errors=True)
    engine = load_engine(models / "pdmodel" / "classifier")
    assert engine.name in ("openvino", "paddle")
    assert "not onnxruntime: its process was ended by signal 9" in engine.reason
    assert verdicts(fresh_home) == []


def test_a_model_that_a_made_up_batch_does_not_fit_is_left_to_paddle(models, fresh_home):
    engine = load_engine(models / "pdmodel" / "picky")
    assert engine.name == "paddle"
    assert "because it could not run a made-up batch to compare others with" in engine.reason
    assert engine.run({"x": np.ones((2, 5), "float32")})[0].shape == (2, 2)


def test_only_what_is_installed_is_considered_and_one_alone_is_not_measured(models, fresh_home, monkeypatch):
    pdmodel, pir = (find_model_files(models / form / "classifier") for form in ("pdmodel", "json"))
    without(monkeypatch, "onnxruntime")
    reason = "auto: paddle, the only engine installed here that can read inference.json"
    assert choose(pir, EngineOptions()) == ("paddle", reason, True, None)
    assert set(choose(pdmodel, EngineOptions()).measured["engines"]) == {"openvino", "paddle"}
    assert len(verdicts(fresh_home)) == 1
    without(monkeypatch, "openvino")
    assert choose(pdmodel, EngineOptions()).measured is None
    assert len(verdicts(fresh_home)) == 1


def test_without_paddle_the_only_engine_is_taken_uncompared(models, fresh_home, monkeypatch):
    without(monkeypatch, "paddle", "onnxruntime")
    engine = load_engine(models / "pdmodel" / "classifier")
    assert engine.name == "openvino"
    assert engine.reason.endswith("read inference.pdmodel; not compared with paddle, which is not installed here")
    assert "measured" not in engine.describe()


def test_without_paddle_the_first_that_runs_is_the_reference(models, home, fresh_home, monkeypatch):
    folder = models / "pdmodel" / "classifier"
    if CONVERTS:
        load_engine(folder, "onnxruntime")  # keeps the conversion, for which Paddle is needed
    monkeypatch.setattr("hubserve.engines.selection.is_installed", lambda name: name != "paddle")
    engine = load_engine(folder)
    assert engine.measured["reference"] == ("onnxruntime" if CONVERTS else "openvino")
    assert set(engine.measured["engines"]) == {"onnxruntime", "openvino"}
    assert engine.reason.endswith("; not compared with paddle, which is not installed here")


def test_without_paddle_a_model_that_no_engine_loads_is_an_error_that_names_paddle(copy_of, fresh_home, converter, monkeypatch):
    folder = copy_of("json")
    shutil.rmtree(fresh_home / "cache", ignore_errors=True)
    converter("raise SystemExit(-1)")
    monkeypatch.setattr("hubserve.engines.selection.is_installed", lambda name: name != "paddle")
    monkeypatch.setattr("hubserve.engines.openvino.OpenVinoEngine.reads", lambda graph: True)
    with pytest.raises(MissingDependency, match="onnxruntime: .*; openvino: .*pip install paddlepaddle"):
        load_engine(folder)


def test_without_any_engine_the_error_says_what_to_install(models, fresh_home, monkeypatch):
    without(monkeypatch, "paddle", "onnxruntime", "openvino")
    with pytest.raises(MissingDependency, match="pip install paddlepaddle"):
        load_engine(models / "pdmodel" / "classifier")
    (fresh_home / "model.onnx").touch()
    with pytest.raises(MissingDependency, match="pip install onnxruntime"):
        load_engine(fresh_home)


def test_onnx_files_go_to_the_fastest_of_those_that_agree_with_the_first(tmp_path, fresh_home, monkeypatch):
    model = onnx_classifier.write(tmp_path / "model.onnx")
    engine = load_engine(model)
    best = best_of(engine.measured)
    assert engine.name == next(name for name, ms in best.items() if ms <= min(best.values()) * TIE)
    assert (set(best), engine.measured["reference"]) == ({"onnxruntime", "openvino"}, "onnxruntime")
    assert ", compared with onnxruntime)" in engine.reason
    np.testing.assert_allclose(engine.run(X)[0], onnx_classifier.expected(X["x"]), rtol=1e-5, atol=1e-6)
    without(monkeypatch, "onnxruntime")
    assert load_engine(model).reason == "auto: openvino, the only engine installed here that can read model.onnx"


def test_a_damaged_onnx_file_is_an_error_and_not_a_choice(tmp_path, fresh_home):
    model = onnx_classifier.write(tmp_path / "model.onnx")
    model.write_bytes(model.read_bytes()[:1000])
    with pytest.raises(LoadFailed, match=r"model\.onnx.*onnxruntime: .*openvino: "):
        load_engine(model)
    assert verdicts(fresh_home) == []


def test_an_onnx_model_that_a_made_up_batch_does_not_fit_is_left_to_the_first_that_loads_it(tmp_path, fresh_home):
    engine = load_engine(onnx_classifier.write(tmp_path / "model.onnx", height="height"))
    assert engine.name == "onnxruntime"
    assert "because it could not run a made-up batch to compare others with" in engine.reason
    np.testing.assert_allclose(engine.run(X)[0], onnx_classifier.expected(X["x"]), rtol=1e-5, atol=1e-6)


def test_use_gpu_means_paddle(models, fresh_home):
    files = find_model_files(models / "pdmodel" / "classifier")
    assert choose(files, EngineOptions(use_gpu=True)) == ("paddle", "auto: paddle, because use_gpu is set", True, None)


def test_half_precision_is_never_chosen_on_a_cpu_unless_the_engine_is_named(models, fresh_home, monkeypatch):
    without(monkeypatch, "onnxruntime", "paddle")
    folder, half = models / "pdmodel" / "classifier", EngineOptions(use_fp16=True)
    assert load_engine(folder, "auto", half).describe()["precision"] == "fp32"
    assert load_engine(folder, "openvino", half).describe()["precision"] != "fp32"


def test_damaged_weights_are_an_error_and_not_a_choice(copy_of, fresh_home):
    folder = copy_of("pdmodel")
    (folder / "inference.pdiparams").write_bytes(b"cut")
    with pytest.raises(LoadFailed, match="inference.pdiparams"):
        load_engine(folder)


def test_a_remembered_engine_that_no_longer_loads_gives_way_to_paddle(models, chosen_home, converter):
    folder = models / "pdmodel" / "classifier"
    (kept,) = verdicts(chosen_home)
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "engine": "onnxruntime"}))
    shutil.rmtree(chosen_home / "cache" / "onnx", ignore_errors=True)
    converter("raise SystemExit(-1)")
    engine = load_engine(folder, "auto", BATCHES)
    assert engine.name == "paddle"
    assert "onnxruntime, which was chosen before, could not be loaded: cannot convert" in engine.reason


def test_a_choice_that_cannot_be_remembered_is_still_made_and_says_so(models, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HUB_HOME", str(tmp_path / "file"))
    engine = load_engine(models / "pdmodel" / "classifier")
    assert engine.name in ("openvino", "paddle")  # a conversion needs the cache
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
    said = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert said[0] == said[1]
    assert " ms per item at best" in said[0]
    assert log.read_text() == "x"


def test_the_chosen_engine_alone_is_in_memory_after_auto_and_people_see_what_takes_the_time(models, fresh_home):
    script = (
        "import sys\n"
        "from hubserve.engines import load_engine\n"
        "engine = load_engine(sys.argv[1])\n"
        "print(engine.name, *[name for name in ('onnxruntime', 'openvino', 'paddle') if name in sys.modules])\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(models / "pdmodel" / "classifier")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    chosen, *imported = done.stdout.split()
    assert imported == [chosen]
    told = done.stderr.splitlines()
    assert all(line.startswith("choosing the engine for inference.pdmodel: ") for line in told)
    assert [line.split()[-2] for line in told if line.endswith(" ...") and "measuring" in line] == list(PREFERENCE)
    assert f": auto: {chosen}, " in told[-1]
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert (again.stdout, again.stderr) == (done.stdout, "")


def test_the_cpu_is_told_by_its_name_and_instruction_sets(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        "processor: 0\nmodel name: A\nflags: avx\ncpu MHz: 2000.1\n\nprocessor: 1\nmodel name: A\nflags: avx\ncpu MHz: 3000.2\n"
    )
    assert cpu_model(cpuinfo) == "flags: avx|model name: A"
    assert cpu_model(tmp_path / "none")
    assert cpu_model() == cpu_model()
