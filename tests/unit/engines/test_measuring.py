from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest

from hubserve.engines import EngineOptions, ModelFiles, find_model_files
from hubserve.engines.cache import locked
from hubserve.engines.measuring import BUDGET_S, LONGEST_RUN_S, MOST_RUNS, measure_here, measure_in_child, run_seconds
from hubserve.engines.program import read_program
from hubserve.engines.sample import make_sample
from hubserve.errors import LoadFailed, ModuleFailed
from tests.conftest import wait_for
from tests.unit.engines import onnx_classifier


class Machine:
    """A clock that only runs while something is computed; each size takes what it is told, run by run."""

    def __init__(self, seconds):
        self.now, self.ran, self._seconds = 0.0, [], seconds

    def run(self, size):
        self.ran.append(size)
        taken = self._seconds[size]
        self.now += taken(self.ran.count(size)) if callable(taken) else taken

    def measure(self, *sizes):
        return run_seconds(self.run, sizes, 1.5, lambda: self.now)


def test_a_size_is_measured_by_the_median_of_its_runs_without_the_warm_up():
    machine = Machine({1: lambda number: 0.2 if number == 1 else 0.03 if number % 5 else 0.3})
    assert machine.measure(1) == {1: pytest.approx(0.03)}
    assert len(machine.ran) > 5


def test_fast_runs_are_counted_and_not_repeated_until_the_time_is_up():
    machine = Machine({1: 1e-5, 8: 5e-5})
    assert machine.measure(1, 8) == {1: pytest.approx(1e-5), 8: pytest.approx(5e-5)}
    assert machine.ran == [1] * MOST_RUNS + [8] * MOST_RUNS


@pytest.mark.parametrize("each_s", [0.01, 0.05, 0.1, 0.2])
def test_all_sizes_together_stay_within_the_budget_but_for_one_run_each(each_s):
    machine = Machine({1: each_s, 8: 8 * each_s})
    assert machine.measure(1, 8) == {1: pytest.approx(each_s), 8: pytest.approx(8 * each_s)}
    assert machine.now <= 1.5 + 8 * each_s


def test_a_slow_model_is_run_once_and_larger_batches_are_left_out():
    machine = Machine({1: 10.0, 8: 80.0})
    assert machine.measure(1, 8) == {1: 10.0}
    assert machine.ran == [1]


def test_a_larger_batch_is_run_where_it_is_expected_to_be_short_enough():
    each_s = LONGEST_RUN_S / 8
    assert Machine({1: each_s, 8: 2.0}).measure(1, 8) == {1: pytest.approx(each_s), 8: 2.0}
    assert 8 not in Machine({1: each_s * 1.01, 8: 2.0}).measure(1, 8)


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
    model = onnx_classifier.write(tmp_path / "model.onnx", batch=3)
    seconds = measure_here("onnxruntime", str(model), None, list(EngineOptions()), str(tmp_path / "s.npz"), str(tmp_path / "a.npz"), [1, 8])
    assert set(seconds) == {"3"}


def test_a_model_whose_first_run_outlasts_the_budget_is_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr("hubserve.engines.measuring.BUDGET_S", 0.0)
    model = onnx_classifier.write(tmp_path / "model.onnx")
    seconds = measure_here("onnxruntime", str(model), None, list(EngineOptions()), str(tmp_path / "s.npz"), str(tmp_path / "a.npz"), [1, 8])
    assert set(seconds) == {"2"}
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
