"""Settings of pictures from ``inference.yml`` and options."""

import pytest

from hubserve.authoring.pictures import picture_settings
from hubserve.errors import ConfigError

USUAL = """
Global: {{model_name: PP-LCNet_x1_0}}
PreProcess:
  transform_ops:
{operators}
PostProcess:
  Topk:
    topk: 3
    {names}
"""
CHAIN = """\
  - ResizeImage: {resize_short: 292}
  - CropImage: {size: 256}
  - NormalizeImage: {channel_num: 3, mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25], scale: 0.00392156862745098, order: ''}
  - ToCHWImage: null
"""


def write(folder, operators=CHAIN, names="label_list: [tench, shark]"):
    (folder / "inference.yml").write_text(USUAL.format(operators=operators, names=names))
    return folder


def test_the_usual_chain_becomes_its_numbers(tmp_path):
    pictures = picture_settings(write(tmp_path), {}, {}, None)
    numbers = {"mean": [0.5] * 3, "std": [0.25] * 3, "scale": 0.00392156862745098}
    assert pictures.preprocess == {"resize_short": 292, "crop_size": 256, **numbers}
    assert (pictures.topk, pictures.labels, pictures.notes) == ({"topk": 3}, {0: "tench", 1: "shark"}, ())


@pytest.mark.parametrize(
    ("operators", "first"),
    [
        ("  - ResizeImage: {size: 96}\n  - ToCHWImage: null", "ToRGB"),
        (CHAIN.replace("}", ", interpolation: bicubic}", 1), "ToRGB"),
        ("  - DecodeImage: {to_rgb: true}\n  - ResizeImage: {size: 96}\n", "ToRGB"),
        ("  - DecodeImage: {to_rgb: false, channel_first: false}\n" + CHAIN, "ResizeImage"),
    ],
)
def test_any_other_chain_stays_a_list_that_starts_with_a_picture_in_bgr(tmp_path, operators, first):
    (name,) = picture_settings(write(tmp_path, operators), {}, {}, None).preprocess["transform_ops"][0]
    assert name == first


def test_options_count_more_than_the_file(tmp_path):
    labels = tmp_path / "names.txt"
    labels.write_text("a\nb\n")
    pictures = picture_settings(write(tmp_path), {"crop_size": 224}, {"topk": 1}, labels)
    assert (pictures.preprocess["crop_size"], pictures.preprocess["resize_short"]) == (224, 292)
    assert (pictures.topk, pictures.labels) == ({"topk": 1}, {0: "a", 1: "b"})
    pictures = picture_settings(write(tmp_path, "  - ResizeImage: {size: 96}\n"), {"crop_size": 224}, {}, None)
    assert pictures.preprocess == {"crop_size": 224}


def test_an_unsupported_chain_is_an_error_unless_options_replace_it(tmp_path):
    write(tmp_path, "  - ResizeImage: {resize_short: 256, backend: pil}\n")
    with pytest.raises(ConfigError, match=r"unknown parameter 'backend'.*--image_size"):
        picture_settings(tmp_path, {}, {}, None)
    assert picture_settings(tmp_path, {"crop_size": 224}, {}, None).preprocess == {"crop_size": 224}
    with pytest.raises(ConfigError, match="transform_ops"):
        picture_settings(write(tmp_path, "  - 7\n"), {}, {}, None)


def test_a_label_file_that_is_not_there_is_noted_and_one_beside_the_model_is_found(tmp_path):
    write(tmp_path, names="class_id_map_file: ../ppcls/utils/names.txt")
    pictures = picture_settings(tmp_path, {}, {}, None)
    assert pictures.labels == {}
    assert "--labels" in pictures.notes[0]
    (tmp_path / "names.txt").write_text("0 tench\n")
    assert picture_settings(tmp_path, {}, {}, None).labels == {0: "tench"}


@pytest.mark.parametrize("text", ["PostProcess: {name: DBPostProcess}\nPreProcess: {transform_ops: [DetResizeForTest: null]}", "[]", ""])
def test_a_file_that_describes_no_classifier_says_nothing_of_pictures(tmp_path, text):
    (tmp_path / "inference.yml").write_text(text)
    assert picture_settings(tmp_path, {}, {}, None) is None
    assert picture_settings(tmp_path, {"crop_size": 32}, {}, None).preprocess == {"crop_size": 32}


def test_a_file_that_is_not_yaml_is_an_error(tmp_path):
    (tmp_path / "inference.yml").write_text("a: [1\nb: }")
    with pytest.raises(ConfigError, match=r"inference\.yml.*YAML"):
        picture_settings(tmp_path, {}, {}, None)
