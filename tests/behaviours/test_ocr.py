"""The OCR module with its real models, over HTTP and from the command line."""

import base64
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests

from hubserve.client import Client
from hubserve.errors import ConfigError, HubError
from hubserve.kinds import get_kind
from hubserve.vision import decode_picture, encode_picture
from tests.conftest import ROOT, Server, hub, servers
from tests.engines_here import READ_PADDLE
from tests.unit.vision.pictures import png_of

MODULE = ROOT / "hubmodules" / "ocr"
#: what is printed on scikit-image's page, without the line of code below it
PAGE = [
    "Region-based segmentation",
    "Let us first determine markers of the coins and the",
    "background. These markers are pixels that we can label",
    "unambiguously as either object or background. Here,",
    "the markers are found at the two extreme parts of the",
    "histogram of grey values:",
]
#: paddle2onnx 2 cannot convert these models; 1.3.1 can
ENGINES = [name for name in READ_PADDLE if name != "onnxruntime" or version("paddle2onnx").startswith("1.")]


@pytest.fixture(scope="module")
def server(ocr_dir: Path, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("ocr")) as start:
        yield start({"ocr_system": {"init_args": {"directory": str(MODULE), "engine": "openvino"}, "workers": 1}})


def texts(results: list[dict[str, Any]]) -> list[str]:
    return [line["text"] for line in results]


def encoded(*pictures: Any) -> list[str]:
    contents = [each if isinstance(each, bytes) else encode_picture(each, ".png") for each in pictures]
    return [base64.b64encode(each).decode() for each in contents]


def refused(server: Server, **arguments: Any) -> str:
    answer = server.predict("ocr_system", json=arguments).json()
    assert (answer["status"], answer["results"]) == ("101", "")
    return str(answer["msg"])


def written(text: str, width: int = 420, height: int = 80) -> np.ndarray:
    picture = np.full((height, width, 3), 255, np.uint8)
    cv2.putText(picture, text, (15, height - 25), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (0, 0, 0), 2, cv2.LINE_AA)
    return picture


WHITE = np.full((240, 320, 3), 255, np.uint8)


def test_a_printed_page_is_read_line_by_line(server: Server, page_photo: Path) -> None:
    (lines,) = server.results("ocr_system", images=encoded(page_photo.read_bytes()))
    assert texts(lines)[:6] == PAGE
    assert "markers" in lines[6]["text"]
    assert "zeros" in lines[6]["text"]
    assert len(lines) == 7
    for line in lines:
        assert set(line) == {"text", "confidence", "text_region"}
        assert 0.5 <= line["confidence"] <= 1
        assert np.shape(line["text_region"]) == (4, 2)
        assert all(0 <= x < 384 and 0 <= y < 191 for x, y in line["text_region"])
    tops = [line["text_region"][0][1] for line in lines]
    assert tops == sorted(tops)


def test_encoded_pictures_are_taken_as_they_are(server: Server, page_photo: Path) -> None:
    content = page_photo.read_bytes()
    (lines,) = server.predict("ocr_system", data=content, headers={"Content-Type": "image/png"}).json()["results"]
    assert texts(lines)[:6] == PAGE
    client = Client(f"{server.url}/predict/ocr_system")
    several = client.predict_pictures([encode_picture(written("First"), ".jpg"), content, encode_picture(WHITE, ".png")])
    assert [texts(each)[:6] for each in several] == [["First"], PAGE, []]


def test_text_is_read_whichever_way_it_runs(server: Server) -> None:
    picture = np.full((520, 700, 3), 255, np.uint8)
    picture[0:80, 20:440] = written("Upright text here")
    picture[100:180, 20:440] = written("Turned around")[::-1, ::-1]
    picture[180:510, 600:660] = np.rot90(written("Standing up", 330, 60), -1)
    turn = cv2.getRotationMatrix2D((210, 150), 15, 1)
    picture[200:500, 20:440] = cv2.warpAffine(
        np.pad(written("Slanted line"), ((110, 110), (0, 0), (0, 0)), constant_values=255), turn, (420, 300), borderValue=(255, 255, 255)
    )
    (lines,) = server.results("ocr_system", images=encoded(picture))
    assert sorted(texts(lines)) == ["Slanted line", "Standing up", "Turned around", "Upright text here"]


@pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="only OpenCV 5 brings a font with Chinese characters to write with")
def test_chinese_is_read(server: Server) -> None:
    picture = np.full((90, 500, 3), 255, np.uint8)
    cv2.putText(picture, "发票号码12345中文识别", (20, 60), (0, 0, 0), cv2.FontFace("uni"), 36)
    (lines,) = server.results("ocr_system", images=encoded(picture))
    assert texts(lines) == ["发票号码12345中文识别"]


def test_a_request_may_set_its_own_thresholds(server: Server, page_photo: Path) -> None:
    images = encoded(page_photo.read_bytes())
    (all_lines,) = server.results("ocr_system", images=images)
    sure = float(np.mean(sorted(line["confidence"] for line in all_lines)[2:4]))
    (lines,) = server.results("ocr_system", images=images, drop_score=sure)
    assert texts(lines) == [line["text"] for line in all_lines if line["confidence"] >= sure]
    (larger,) = server.results("ocr_system", images=images, det_limit_side_len=736, det_limit_type="min", use_angle_cls=False)
    assert texts(larger)[:6] == PAGE


def test_pictures_without_text_of_any_shape_have_no_lines(server: Server) -> None:
    thin, tiny = np.full((3, 6000, 3), 255, np.uint8), np.full((1, 1, 3), 90, np.uint8)
    assert server.results("ocr_system", images=encoded(WHITE, thin, tiny)) == [[], [], []]


def test_what_cannot_be_read_is_told_and_the_module_goes_on(server: Server, page_photo: Path) -> None:
    page = page_photo.read_bytes()
    assert "the image/png picture was cut short" in refused(server, images=encoded(page, page[:9000]))
    assert refused(server, images=encoded(page, b"text")).startswith("picture 2 of 2: this is not a picture: 4 bytes")
    assert refused(server, images=["%%%"]).startswith("picture 1 of 1 is not valid base64")
    assert refused(server, images=[7]).startswith("picture 1 of 1 is not valid base64")
    assert refused(server, images=[]).startswith("images must be a list of one or more base64 texts")
    assert refused(server, images=["AAAA"] * 65).startswith("a request may hold 64 pictures, and this one holds 65")
    assert refused(server, images=encoded(page)[0][:-1] + "%").startswith("picture 1 of 1 is not valid base64: character ")
    assert refused(server, images={}).startswith("images must be a list of one or more base64 texts")
    assert refused(server).startswith("the argument 'images' is missing. This module takes the JSON arguments images")
    assert "has no setting 'det_thresh' here; there are det_limit_side_len" in refused(server, images=encoded(page), det_thresh=0.1)
    assert "limit_side_len must be from 32 to 4000" in refused(server, images=encoded(page), det_limit_side_len=100000)
    assert "drop_score must be a number from 0 to 1" in refused(server, images=encoded(page), drop_score="high")
    assert "has no setting 'engine' here" in refused(server, images=encoded(page), engine="paddle")
    assert server.results("ocr_system", images=encoded(WHITE)) == [[]]


def test_a_picture_that_announces_too_many_pixels_is_refused_before_it_is_decoded(server: Server) -> None:
    answers = [
        server.predict("ocr_system", json={"images": encoded(png_of(100000, 100000))}),
        server.predict("ocr_system", data=png_of(100000, 100000), headers={"Content-Type": "image/png"}),
    ]
    for answer in answers:
        assert answer.status_code == 413
        assert "100000 x 100000 pixels" in answer.json()["msg"]


def test_a_large_photo_is_scaled_down_and_its_text_found_where_it_is(server: Server) -> None:
    picture = np.full((4000, 6000, 3), 255, np.uint8)
    cv2.putText(picture, "Far away", (3000, 3000), cv2.FONT_HERSHEY_SIMPLEX, 9, (0, 0, 0), 20, cv2.LINE_AA)
    (lines,) = server.results("ocr_system", images=encoded(picture))
    assert texts(lines) == ["Far away"]
    middle = np.mean(lines[0]["text_region"], axis=0)
    assert 3000 < middle[0] < 5000
    assert 2600 < middle[1] < 3100


def test_the_server_says_which_engines_compute_and_why(server: Server, shared_home: Path) -> None:
    engine = server.status("ocr_system")["engine"]
    assert {name: each["name"] for name, each in engine["models"].items()} == dict.fromkeys(("det", "cls", "rec"), "openvino")
    assert engine["reason"].startswith("det: openvino, asked for by name; cls: ")
    shown = hub("show", MODULE, "--json", home=shared_home)
    assert json.loads(shown.stdout)["engine"]["models"] == engine["models"], shown.stderr
    assert requests.get(server.url + "/status", timeout=10).json()["modules"][0]["faces"] == ["json", "picture"]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_reads_the_same(engine: str, server: Server, page_photo: Path, home: Path) -> None:
    module = get_kind("paddlehub").load(MODULE, f"ocr_{engine}", {"engine": engine, "cpu_num_threads": 1}, {})
    assert module.description.engine is not None
    assert module.description.engine["name"] == engine
    pictures = [decode_picture(page_photo.read_bytes()), written("12:45 & co.")]
    served = server.results("ocr_system", images=encoded(*pictures))
    here = module.call_pictures(pictures, {})
    assert [texts(each) for each in here] == [texts(each) for each in served]
    confidences = [[line["confidence"] for line in lines] for answer in (here, served) for lines in answer]
    for mine, theirs in zip(confidences[:2], confidences[2:], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3)


def test_the_installed_module_chooses_its_engines_reads_files_and_draws_what_it_read(
    ocr_dir: Path, shared_home: Path, page_photo: Path, tmp_path: Path
) -> None:
    assert hub("install", MODULE, home=shared_home).returncode == 0
    folder = tmp_path / "drawn"
    command = ["run", "--json", "ocr_system", "--input_path", page_photo, "--visualization", "--output_dir", folder]
    done = hub(*command, home=shared_home, cwd=tmp_path, environ={"PYTHONPATH": str(ROOT)}, timeout=600)  # it measures two models
    assert done.returncode == 0, done.stderr
    assert texts(json.loads(done.stdout)[0])[:6] == PAGE
    drawn = decode_picture((folder / "page.png").read_bytes())
    assert drawn.shape[0] >= 191
    assert drawn.shape[1] > 384
    missing = hub("run", "ocr_system", "--input_path", tmp_path / "none.png", home=shared_home)
    assert (missing.returncode, "cannot read" in missing.stderr) == (1, True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rec_char_dict_path": "README.md"}, "has 6625 classes"),
        ({"det_model_dir": "nowhere"}, "cannot find the folder 'nowhere'"),
        ({"rec_batch_num": 0}, "rec_batch_num must be a whole number from 1 up"),
        ({"det_db_thresh": 3}, "thresh must be a number from 0 to 1"),
        ({"dett_db_thresh": 0.3}, "there are det_model_dir"),
    ],
)
def test_settings_that_cannot_be_used_are_told_when_the_module_loads(
    ocr_dir: Path, settings: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(HubError, match=said) as caught:
        get_kind("paddlehub").load(MODULE, "ocr_settings", {"engine": "openvino", **settings}, {})
    assert isinstance(caught.value, ConfigError) or "nowhere" in said or "there are" in said
