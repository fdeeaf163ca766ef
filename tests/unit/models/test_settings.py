"""Test layered settings."""

import pytest

from hubserve.errors import ConfigError
from hubserve.models.classifier import ClassifierModule
from hubserve.models.settings import merged, override


def test_missing_settings_have_their_defaults_and_defaults_are_never_changed():
    config = merged(ClassifierModule.defaults, {"Global": {"batch_size": 2}, "PostProcess": {"Topk": {"topk": 1}}})
    override([config["Global"], config["PreProcess"]], {"engine": "paddle", "crop_size": 96}, "flowers")
    assert (config["Global"]["batch_size"], config["Global"]["engine"], config["PreProcess"]["crop_size"]) == (2, "paddle", 96)
    left_out = {"class_id_map_file": "auto", "default_class_id_map_file": None, "softmax": None}
    assert config["PostProcess"]["Topk"] == {"topk": 1, **left_out}
    assert ClassifierModule.defaults["Global"]["engine"] == "auto"
    assert ClassifierModule.defaults["PreProcess"]["crop_size"] is None


def test_an_unknown_setting_is_reported_with_its_place():
    with pytest.raises(ConfigError, match=r"PostProcess\.Topk\.topkk"):
        merged(ClassifierModule.defaults, {"PostProcess": {"Topk": {"topkk": 1}}})
    with pytest.raises(TypeError, match="flowers has no setting 'colour'; params.py has engine"):
        override([{"engine": "auto"}], {"colour": 1}, "flowers")


def test_the_settings_of_paddleclass_own_module_are_all_known():
    keys = "inference_model_dir batch_size use_gpu use_fp16 enable_mkldnn cpu_num_threads use_tensorrt ir_optim gpu_mem"
    theirs = dict.fromkeys([*keys.split(), "enable_profile", "enable_benchmark"], 1)
    post = {"main_indicator": "Topk", "Topk": {"topk": 5, "class_id_map_file": "labels.txt"}}
    config = merged(ClassifierModule.defaults, {"Global": theirs, "PostProcess": post})
    assert theirs.items() <= config["Global"].items()
