from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from hubserve.engines import EngineOptions, ModelFiles, find_model_files
from hubserve.engines.file_cache import locked
from hubserve.engines.measurement import (
    BUDGET_S,
    LONGEST_RUN_S,
    MOST_RUNS,
    Session,
    Took,
    measure_all,
    measure_in_child,
    run_round,
    serve_here,
)
from hubserve.engines.paddle_program import read_program
from hubserve.engines.synthetic_batch import make_sample
from hubserve.errors import HubError, LoadFailed, ModuleFailed
from tests.conftest import wait_for
from tests.unit.engines import onnx_classifier


class Machine:
    """Clocks that advance only during a run; each run takes the given wall time and processor time."""

    def __init__(self, wall, processor=lambda number: 0.001):
        self.wall_s, self.processor_s, self.runs = 0.0, 0.0, 0
        self._wall, self._processor = wall, processor

    def run(self):
        self.runs += 1
        self.wall_s += self._wall(self.runs)
        self.processor_s += self._processor(self.runs)

    def round(self, budget_s):
        return run_round(self.run, budget_s, lambda: self.wall_s, lambda: self.processor_s)


def test_a_run_counts_by_its_processor_time_whatever_else_the_machine_does():
    quiet, busy = Machine(lambda number: 0.01), Machine(lambda number: 0.01 * (1 + number % 3))
    for machine in (quiet, busy):
        wall, processor, all_s = machine.round(0.3)
        assert processor == pytest.approx(0.001)
        assert all_s == pytest.approx(0.001 * machine.runs)
        assert wall == pytest.approx(0.01), "the shortest run by the clock is one that nothing disturbed"
    assert busy.runs < quiet.runs


def test_the_first_run_of_a_round_finds_others_caches_and_does_not_count():
    wall, processor, _ = Machine(lambda number: 0.05 if number == 1 else 0.01, lambda number: 0.04 if number == 1 else 0.002).round(0.3)
    assert (wall, processor) == (pytest.approx(0.01), pytest.approx(0.002))


def test_fast_runs_are_counted_and_not_repeated_until_the_time_is_up():
    machine = Machine(lambda number: 1e-5)
    machine.round(0.3)
    assert machine.runs == 1 + MOST_RUNS


@pytest.mark.parametrize("each_s", [0.01, 0.05, 0.1, 0.2, 10.0])
def test_a_round_stays_within_its_budget_but_for_one_run(each_s):
    machine = Machine(lambda number: each_s)
    assert machine.round(0.3)[0] == pytest.approx(each_s)
    assert machine.wall_s <= max(0.3, each_s) + 1e-9


def test_a_larger_batch_is_run_where_it_is_expected_to_be_short_enough(tmp_path, monkeypatch):
    model = ModelFiles(onnx_classifier.write(tmp_path / "model.onnx"), None)
    session = Session("onnxruntime", model, EngineOptions(), tmp_path, [1, 8])
    try:
        assert session.sizes == [1, 8]
        session.best[1] = Took(LONGEST_RUN_S / 8 * 1.01, 0.1)
        session.time(8, 0.1)
        assert set(session.best) == {1}
        session.best[1] = Took(LONGEST_RUN_S / 8, 0.1)
        session.time(8, 0.1)
        assert set(session.best) == {1, 8}
        assert session.processor_s > 0
    finally:
        session.close()


def test_engines_take_turns_and_one_that_fails_does_not_keep_the_others(tmp_path):
    files = ModelFiles(onnx_classifier.write(tmp_path / "model.onnx"), None)
    outcomes, load = measure_all(["onnxruntime", "pytorch", "openvino"], files, EngineOptions(), tmp_path, [1, 4])
    assert list(outcomes) == ["onnxruntime", "pytorch", "openvino"]
    assert isinstance(outcomes["pytorch"], HubError)
    for name in ("onnxruntime", "openvino"):
        assert set(outcomes[name].ms_per_item) == {1, 4}
        assert outcomes[name].ms_per_item == outcomes[name].processor_ms, "with one thread it is the processor time that counts"
    assert set(load) == {"loadavg", "others_cores", "stolen_cores", "busy"}


def test_with_several_threads_the_clock_counts_and_processor_time_is_told(tmp_path):
    model = ModelFiles(onnx_classifier.write(tmp_path / "model.onnx"), None)
    measured = measure_in_child("onnxruntime", model, EngineOptions(cpu_num_threads=2), tmp_path, [1])
    assert set(measured.ms_per_item) == set(measured.processor_ms) == {1}
    assert measured.ms_per_item != measured.processor_ms


def test_where_memory_is_short_engines_are_loaded_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr("hubserve.engines.measurement._TIMES_FILES", 1 << 40)
    files = ModelFiles(onnx_classifier.write(tmp_path / "model.onnx"), None)
    outcomes, _ = measure_all(["onnxruntime", "openvino"], files, EngineOptions(), tmp_path, [1])
    assert all(set(each.ms_per_item) == {1} for each in outcomes.values())


def test_an_engine_is_timed_at_every_size_and_its_answers_come_back(models, tmp_path):
    files = find_model_files(models / "pdmodel" / "classifier")
    measured = measure_in_child("openvino", files, EngineOptions(), tmp_path, [1, 4])
    assert set(measured.ms_per_item) == {1, 4}
    assert all(0 < ms < 1000 for ms in measured.ms_per_item.values())
    assert [answer.shape for answer in measured.answers] == [(2, 10)]


def test_all_engines_of_a_folder_are_given_the_same_batch(models, tmp_path, paddle_answers):
    folder = models / "pdmodel" / "two_inputs"
    files = find_model_files(folder)
    expected = paddle_answers(folder, make_sample(read_program(files.graph).inputs))
    for engine in ("paddle", "openvino"):
        measured = measure_in_child(engine, files, EngineOptions(), tmp_path, ())
        assert measured.ms_per_item == {}
        for want, got in zip(expected, measured.answers, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_model_of_a_fixed_batch_size_is_timed_at_that(tmp_path):
    model = ModelFiles(onnx_classifier.write(tmp_path / "model.onnx", batch=3), None)
    assert set(measure_in_child("onnxruntime", model, EngineOptions(), tmp_path, [1, 8]).ms_per_item) == {3}


def test_a_model_whose_first_run_outlasts_the_budget_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr("hubserve.engines.measurement.BUDGET_S", 0.0)
    model = onnx_classifier.write(tmp_path / "model.onnx")
    served = serve_here("onnxruntime", str(model), None, list(EngineOptions()), str(tmp_path / "s.npz"), str(tmp_path / "a.npz"), [1, 8])
    about = next(served)
    assert (set(about["done"]), about["sizes"]) == ({"2"}, [])
    assert BUDGET_S > 1


def test_engines_are_timed_one_at_a_time_also_those_of_different_models(home, tmp_path):
    model = onnx_classifier.write(tmp_path / "model.onnx")
    (tmp_path / "work").mkdir()
    answered = tmp_path / "work" / "onnxruntime-answers.npz"
    with ThreadPoolExecutor(1) as thread:
        with locked(home / "cache" / "engines" / "timing"):
            work = thread.submit(measure_in_child, "onnxruntime", ModelFiles(model, None), EngineOptions(), tmp_path / "work", [1])
            wait_for(answered.exists)
            assert not wait([work], timeout=0.5).done
        assert set(work.result(60).ms_per_item) == {1}


def test_what_an_engine_cannot_load_or_compute_is_its_own_error(models, copy_of, tmp_path):
    with pytest.raises(ModuleFailed, match="could not compute"):
        measure_in_child("paddle", find_model_files(models / "pdmodel" / "picky"), EngineOptions(), tmp_path, [1])
    with pytest.raises(LoadFailed, match="does not read Paddle 3's"):
        measure_in_child("openvino", find_model_files(models / "json" / "classifier"), EngineOptions(), tmp_path, [1])
