"""The requests that are made for each kind of module."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.bench.payloads import Options, build, choose_kind, default_image, sample_inputs
from hubserve.errors import ConfigError, HubError, InvalidInput, UnsupportedFace
from hubserve.module import decode_array
from hubserve.vision.codecs import decode_picture

IMAGES = {
    "name": "clas",
    "faces": ["tensors", "json", "picture"],
    "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 3, 8, 8]}],
    "json_array": ["images", "revert_params"],
    "picture_item": {"name": "x", "dtype": "float32", "shape": [3, 8, 8]},
}
TEXT: dict[str, Any] = {"name": "shout", "faces": ["json"], "inputs": [], "json_array": None, "picture_item": None}
TOKENS = {
    **IMAGES,
    "faces": ["tensors"],
    "inputs": [{"name": "ids", "dtype": "int64", "shape": [-1, -1]}],
    "json_array": None,
    "picture_item": None,
}


def parts(request: bytes) -> tuple[dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = dict(each.split(": ", 1) for each in lines)
    assert line.startswith("POST /predict/")
    assert int(headers["Content-Length"]) == len(body)
    assert headers["Host"] == "h:1"
    return headers, body


@pytest.mark.parametrize(
    ("module", "options", "kind"),
    [
        (IMAGES, Options(), "base64"),
        (IMAGES, Options("image"), "image"),
        (IMAGES, Options(image_file=Path("cat.jpg")), "image"),
        (IMAGES, Options(data="{}"), "json"),
        (TEXT, Options(data="{}"), "json"),
        (TOKENS, Options(shape=(5,)), "raw"),
        (TOKENS, Options(), "raw"),
    ],
)
def test_the_kind_is_what_is_asked_for_or_what_the_module_takes_first(module: dict[str, Any], options: Options, kind: str) -> None:
    assert choose_kind(module, options) == kind


@pytest.mark.parametrize(
    ("module", "options", "error", "text"),
    [
        (TEXT, Options("raw"), UnsupportedFace, "does not take the payload raw .* it takes json"),
        (TOKENS, Options("base64"), UnsupportedFace, "it takes raw"),
        (TEXT, Options(), ConfigError, "--data"),
        (IMAGES, Options("image", data="{}"), ConfigError, "--data is for the payload json"),
        (IMAGES, Options("base64", image_file=Path("x")), ConfigError, "--image_file is for the payload image"),
        (IMAGES, Options("image", shape=(3,)), ConfigError, "--shape is for"),
    ],
)
def test_what_does_not_fit_is_refused(module: dict[str, Any], options: Options, error: type[HubError], text: str) -> None:
    with pytest.raises(error, match=text):
        choose_kind(module, options)


def test_base64_and_raw_carry_the_same_array() -> None:
    expected = sample_inputs(IMAGES, 2)["x"]
    headers, body = parts(build(IMAGES, "base64", 2, Options(), "h:1").request)
    assert headers["Content-Type"] == "application/json"
    sent = json.loads(body)
    assert np.array_equal(decode_array(sent["images"], sent["revert_params"]), expected)
    headers, body = parts(build(IMAGES, "raw", 2, Options(), "h:1").request)
    assert (headers["X-Hub-Shape"], headers["X-Hub-Dtype"]) == ("2,3,8,8", "float32")
    assert body == expected.tobytes()


def test_lengths_come_from_the_picture_or_from_the_user() -> None:
    free = {**IMAGES, "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 3, -1, -1]}]}
    assert sample_inputs(free, 2)["x"].shape == (2, 3, 8, 8)
    assert sample_inputs(free, 2, (3, 5, 6))["x"].shape == (2, 3, 5, 6)
    with pytest.raises(ConfigError, match=r"--shape \?"):
        sample_inputs(TOKENS, 1)
    with pytest.raises(InvalidInput, match="must have shape"):
        sample_inputs(IMAGES, 2, (4, 8, 8))
    ids = sample_inputs(TOKENS, 3, (7,))["ids"]
    assert (ids.dtype.name, ids.shape, set(ids.flat)) == ("int64", (3, 7), {0, 1})


def test_one_picture_is_a_body_and_several_are_files_of_a_form(tmp_path: Path) -> None:
    picture = default_image()
    assert picture == default_image()
    assert decode_picture(picture).shape == (300, 451, 3)
    headers, body = parts(build(IMAGES, "image", 1, Options(), "h:1").request)
    assert headers["Content-Type"] == "image/jpeg"
    assert body == picture
    file = tmp_path / "x.jpg"
    file.write_bytes(picture)
    headers, body = parts(build(IMAGES, "image", 3, Options(image_file=file), "h:1").request)
    boundary = headers["Content-Type"].removeprefix("multipart/form-data; boundary=").encode()
    assert body.count(picture) == 3
    assert body.count(b"--" + boundary) == 4
    with pytest.raises(ConfigError, match=r"cannot read --image_file '.*none.jpg'"):
        build(IMAGES, "image", 1, Options(image_file=tmp_path / "none.jpg"), "h:1")


def test_json_is_sent_as_it_is_given(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    file.write_text('{"text": "größer"}', "utf-8")
    for data in (file.read_text("utf-8"), f"@{file}"):
        _, body = parts(build(TEXT, "json", 1, Options(data=data), "h:1").request)
        assert body == '{"text": "größer"}'.encode()


@pytest.mark.parametrize(
    ("data", "text"), [("{", "is not valid JSON"), ("[1]", "must be a JSON object"), ("@/none.json", "cannot read --data @/none.json")]
)
def test_data_that_cannot_be_sent_is_refused(data: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        build(TEXT, "json", 1, Options(data=data), "h:1")
