"""Trial runs of models with a synthetic batch."""

import pytest

from hubserve.authoring.trial import try_model
from hubserve.engines import ModelFiles
from hubserve.errors import InvalidInput, LoadFailed
from hubserve.models.classifier import ClassifierModule
from hubserve.models.items import UNBATCHED
from hubserve.models.trial import run_trial
from hubserve.types import ANY
from tests import onnx_models
from tests.unit.engines import onnx_classifier

PICTURES = dict(ClassifierModule.defaults["PreProcess"])


@pytest.mark.parametrize(
    ("make", "per_run", "merges", "why"),
    [
        (onnx_classifier.write, ANY, True, ""),
        (lambda path: onnx_classifier.write(path, batch=4), 4, True, ""),
        (lambda path: onnx_classifier.write(path, batch=1), 1, False, "exported for one item"),
        (onnx_models.two_inputs, ANY, True, ""),
        (onnx_models.only_one, ANY, False, "one item, but not two"),
        (onnx_models.total, UNBATCHED, False, "'y' does not have as many items"),
        (onnx_models.sequence, UNBATCHED, False, "depends on the other items of the batch"),
        (onnx_models.recurrent, UNBATCHED, False, "no first dimension in common"),
        (onnx_models.fives, ANY, None, "because a synthetic batch could not be computed"),
    ],
)
def test_a_run_shows_whether_the_first_dimension_is_the_batch(tmp_path, make, per_run, merges, why):
    trial = run_trial(str(make(tmp_path / "net.onnx")), None, None)
    assert (trial["per_run"], trial["merges"]) == (per_run, merges)
    assert why in trial["why"]
    assert bool(why) == bool(trial["why"])


def test_pictures_give_open_lengths_their_size(tmp_path):
    path = onnx_classifier.write(tmp_path / "net.onnx", height="height")
    assert run_trial(str(path), None, {**PICTURES, "crop_size": 32})["merges"] is True
    assert run_trial(str(path), None, None)["merges"] is None, "a made-up height does not fit the weights"
    with pytest.raises(InvalidInput, match="Set --image_size"):
        run_trial(str(path), None, {**PICTURES, "crop_size": 48})


def test_a_model_without_scores_is_no_classifier(tmp_path):
    with pytest.raises(LoadFailed, match="a classifier has one input"):
        run_trial(str(onnx_models.fives(tmp_path / "net.onnx")), None, PICTURES)


def test_probabilities_are_recognised(tmp_path):
    assert run_trial(str(onnx_classifier.write(tmp_path / "net.onnx")), None, None)["probabilities"] is True
    assert run_trial(str(onnx_models.only_one(tmp_path / "one.onnx")), None, None)["probabilities"] is False
    assert run_trial(str(onnx_models.fives(tmp_path / "fives.onnx")), None, None)["probabilities"] is None


def test_a_trial_in_a_process_of_its_own_tells_the_same(tmp_path):
    path = onnx_classifier.write(tmp_path / "net.onnx")
    trial = try_model(ModelFiles(path, None), "auto", PICTURES)
    assert (trial.engine, trial.per_run, trial.merges) == ("onnxruntime", ANY, True)
    assert trial.inputs[0].shape == (ANY, 3, 32, 32)


def test_a_model_that_no_engine_loads_has_the_first_engines_error(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x08")
    with pytest.raises(LoadFailed, match="is not an ONNX model, or is damaged"):
        try_model(ModelFiles(path, None), "auto", None)
