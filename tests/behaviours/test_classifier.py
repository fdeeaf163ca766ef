"""The default classifier through the server: right on every engine, from every kind of body, whatever is sent."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from hubserve.engines import ENGINES
from hubserve.module import encode_array
from hubserve.vision.codecs import decode_picture
from hubserve.vision.preprocess import ClassificationPreprocess
from tests.conftest import ROOT, Server, Start, hub, servers
from tests.engines_here import READ_PADDLE, readers

CLAS = ROOT / "hubmodules" / "clas"
CAT_CLASSES = [285, 281, 282, 287, 284]


def clas(**init_args: Any) -> dict[str, Any]:
    return {"clas_system": {"init_args": {"directory": str(CLAS), **init_args}}}


@pytest.fixture(scope="module")
def server(model_dir: Path, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("classifier")) as start:
        yield start(clas())


@pytest.fixture(scope="module")
def batch(cat_photo: Path) -> np.ndarray:
    """Three prepared pictures: the cat, its mirror image, its upper half."""
    cat = decode_picture(cat_photo.read_bytes())
    prepare = ClassificationPreprocess()
    return np.stack([prepare(cat), prepare(np.ascontiguousarray(cat[:, ::-1])), prepare(np.ascontiguousarray(cat[:150]))])


@pytest.fixture(scope="module")
def paddles_own(model_dir: Path, batch: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> list[dict[int, float]]:
    """Class to score for each picture, by Paddle's predictor with nothing of hubserve around it."""
    folder = tmp_path_factory.mktemp("paddle")
    np.save(folder / "x.npy", batch)
    script = f"""
import json, numpy as np
from paddle.inference import Config, create_predictor
config = Config({str(model_dir / "inference.pdmodel")!r}, {str(model_dir / "inference.pdiparams")!r})
config.disable_glog_info()
predictor = create_predictor(config)
handle = predictor.get_input_handle(predictor.get_input_names()[0])
handle.copy_from_cpu(np.load({str(folder / "x.npy")!r}))
predictor.run()
np.save({str(folder / "y.npy")!r}, predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu())
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return [dict(enumerate(row.tolist())) for row in np.load(folder / "y.npy")]


def post_array(server: Server, array: np.ndarray) -> dict[str, Any]:
    images, about = encode_array(array)
    return server.predict("clas_system", json={"images": images, "revert_params": about}).json()


def check_like_paddle(answer: dict[str, Any], reference: list[dict[int, float]]) -> None:
    assert answer["status"] == "000", answer
    results = answer["results"]
    assert results.keys() == {"prediction", "elapse"}
    assert len(results["prediction"]) == len(reference)
    for prediction, scores in zip(results["prediction"], reference, strict=True):
        best = sorted(scores, key=lambda number: -scores[number])[:5]
        assert prediction["class_ids"] == best
        # both are rounded to five digits, so equal scores may fall one apart
        assert prediction["scores"] == pytest.approx([scores[number] for number in best], abs=1.1e-5)


def test_the_cat_is_an_egyptian_cat(server: Server, batch: np.ndarray) -> None:
    (prediction,) = post_array(server, batch[:1])["results"]["prediction"]
    assert prediction["class_ids"] == CAT_CLASSES
    assert prediction["label_names"][0] == "Egyptian cat"
    assert all(round(score, 5) == score for score in prediction["scores"])


def test_base64_in_lines_is_answered_as_base64_on_one_line(server: Server, batch: np.ndarray) -> None:
    expected = post_array(server, batch[:1])["results"]["prediction"]
    text, about = encode_array(batch[:1])
    for newline in ("\n", "\r\n"):
        lines = newline.join(text[start : start + 76] for start in range(0, len(text), 76)) + newline
        answer = server.predict("clas_system", json={"images": lines, "revert_params": about}).json()
        assert answer["status"] == "000", answer
        assert answer["results"]["prediction"] == expected


@pytest.mark.parametrize("engine", [*READ_PADDLE, "auto"])
def test_every_engine_gives_paddles_classes_and_scores_through_the_server(
    start: Start, engine: str, batch: np.ndarray, paddles_own: list[dict[int, float]]
) -> None:
    server = start(clas(engine=engine))
    check_like_paddle(post_array(server, batch), paddles_own)
    chosen = server.status("clas_system")["engine"]
    assert chosen["name"] in ENGINES
    assert engine in ("auto", chosen["name"])
    assert chosen["reason"]
    assert ("measured" in chosen) == (engine == "auto")
    if engine == "auto":
        assert chosen["measured"]["engines"][chosen["name"]]["ms_per_item"].keys() == {"1", "8"}
        assert f": auto: {chosen['name']}, " in server.log.read_text()


def test_without_onednn_the_scores_are_the_same(start: Start, batch: np.ndarray, paddles_own: list[dict[int, float]]) -> None:
    server = start(clas(engine="paddle", enable_mkldnn=False))
    check_like_paddle(post_array(server, batch), paddles_own)


def test_a_picture_body_is_decoded_and_prepared_in_the_server_with_the_same_answer(
    server: Server, cat_photo: Path, batch: np.ndarray
) -> None:
    expected = post_array(server, batch[:1])["results"]["prediction"]
    answer = server.predict("clas_system", data=cat_photo.read_bytes(), headers={"Content-Type": "image/png"}).json()
    assert answer["status"] == "000"
    assert answer["results"]["prediction"] == expected


def test_several_pictures_in_one_multipart_body_are_answered_in_order(server: Server, cat_photo: Path, batch: np.ndarray) -> None:
    from skimage import data

    others = Path(data.__file__).parent
    files = [("images", path.open("rb")) for path in (cat_photo, others / "coffee.png", cat_photo)]
    try:
        answer = server.predict("clas_system", files=files).json()
    finally:
        for _, file in files:
            file.close()
    first, coffee, last = answer["results"]["prediction"]
    assert first == last == post_array(server, batch[:1])["results"]["prediction"][0]
    assert coffee["class_ids"][0] != 285


def test_a_raw_array_described_by_headers_gets_the_same_answer(server: Server, batch: np.ndarray) -> None:
    headers = {"Content-Type": "application/octet-stream", "X-Hub-Shape": "3,3,224,224", "X-Hub-Dtype": "float32"}
    answer = server.predict("clas_system", data=batch.tobytes(), headers=headers).json()
    assert answer["results"]["prediction"] == post_array(server, batch)["results"]["prediction"]


def test_requests_of_every_form_share_batches_and_each_gets_its_own_answer(start: Start, cat_photo: Path, batch: np.ndarray) -> None:
    server = start(clas(engine="openvino"))
    expected = [each["class_ids"] for each in post_array(server, batch)["results"]["prediction"]]

    def send(number: int) -> list[int]:
        if number % 4 == 3:
            answer = server.predict("clas_system", data=cat_photo.read_bytes(), headers={"Content-Type": "image/png"}).json()
        else:
            answer = post_array(server, batch[number % 4][None])
        return answer["results"]["prediction"][0]["class_ids"]

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(send, range(48)))
    assert answers == [expected[number % 4 % 3] for number in range(48)]


GOOD = {"shape": [1, 3, 224, 224], "dtype": "float32"}


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"shape": [2, 3, 224, 224], "dtype": "float32"}, "needs 1204224 bytes, but 602112 came"),
        ({"shape": [-1, 3, 224, 224], "dtype": "float32"}, "whole numbers from 0 up"),
        ({"shape": [1, 1000000000000], "dtype": "float32"}, "but 602112 came"),
        ({"shape": [1 << 62, 1 << 62, 0], "dtype": "float32"}, "claims too many empty items"),
        ({"shape": GOOD["shape"], "dtype": "object"}, "dtype 'object' cannot be used"),
        ({"shape": GOOD["shape"], "dtype": "float16"}, "needs 301056 bytes"),
        ({"shape": [1, 3, 112, 224], "dtype": "float64"}, "must be float32, got float64"),
        ({"shape": "1,3,224,224", "dtype": "float32"}, "must be a list"),
        ([1, 3, 224, 224], "described by"),
        ({"shape": GOOD["shape"]}, "described by"),
        (None, "described by"),
        ({"shape": [3, 224, 224], "dtype": "float32"}, "must have shape [-1, 3, 224, 224] (-1: any length), got [3, 224, 224]"),
        ({"shape": [1, 3, 112, 448], "dtype": "float32"}, "got [1, 3, 112, 448]"),
    ],
)
def test_wrong_revert_params_are_told_what_is_wrong(server: Server, batch: np.ndarray, about: Any, words: str) -> None:
    images, _ = encode_array(batch[:1])
    answer = server.predict("clas_system", json={"images": images, "revert_params": about})
    assert (answer.status_code, answer.json()["status"]) == (200, "101")
    assert words in answer.json()["msg"]


@pytest.mark.parametrize(
    ("images", "words"),
    [("!!!!", "not valid base64"), ("abcde", "not valid base64"), ("abc", "but 2 came"), (7, "must be base64 text"), ("", "but 0 came")],
)
def test_bad_base64_is_told(server: Server, images: Any, words: str) -> None:
    answer = server.predict("clas_system", json={"images": images, "revert_params": GOOD}).json()
    assert answer["status"] == "101"
    assert words in answer["msg"]


def test_an_empty_batch_is_told(server: Server) -> None:
    answer = server.predict("clas_system", json={"images": "", "revert_params": {"shape": [0, 3, 224, 224], "dtype": "float32"}}).json()
    assert "the batch is empty" in answer["msg"]


def test_the_error_for_missing_arguments_shows_examples_of_all_forms(server: Server) -> None:
    answer = server.predict("clas_system", json={"images": ""}).json()
    assert answer["status"] == "101"
    assert answer["msg"].startswith("the picture is empty (0 bytes): send the bytes of the file. This module takes ")
    assert '{"images": ["<base64 of a picture>"]}; or {"images": "<base64 of the array>", "revert_params": {"shape"' in answer["msg"]


@pytest.mark.parametrize("body", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_an_unreadable_picture_is_told(server: Server, body: bytes) -> None:
    answer = server.predict("clas_system", data=body, headers={"Content-Type": "image/png"})
    assert (answer.status_code, answer.json()["status"]) == (200, "101")
    assert "picture" in answer.json()["msg"]


def test_a_truncated_picture_among_good_ones_is_told_and_others_requests_are_not_hurt(server: Server, cat_photo: Path) -> None:
    good = cat_photo.read_bytes()

    def send(number: int) -> str:
        body = good[:200] if number == 3 else good
        return server.predict("clas_system", data=body, headers={"Content-Type": "image/png"}).json()["status"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(send, range(8))) == ["000"] * 3 + ["101"] + ["000"] * 4


def test_multipart_without_files_is_told(server: Server) -> None:
    boundary = {"Content-Type": "multipart/form-data; boundary=x"}
    field = b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\ntext\r\n--x--\r\n'
    assert "this is not a picture: 4 bytes" in server.predict("clas_system", data=field, headers=boundary).json()["msg"]
    assert "1 to 1024 pictures, got 0" in server.predict("clas_system", data=b"--x--\r\n", headers=boundary).json()["msg"]


@pytest.mark.parametrize("shape", ["1,3,224", "a,b", "", "[1, 3, 224, 224]"])
def test_a_wrong_shape_header_is_told(server: Server, batch: np.ndarray, shape: str) -> None:
    headers = {"Content-Type": "application/octet-stream", "X-Hub-Shape": shape, "X-Hub-Dtype": "float32"}
    status = server.predict("clas_system", data=batch[:1].tobytes(), headers=headers).json()["status"]
    assert status == {"": "112", "[1, 3, 224, 224]": "000"}.get(shape, "101")


def test_topk_and_label_file_are_settings(start: Start, batch: np.ndarray, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("285 die Katze\n281 eine andere\n", "utf-8")
    server = start(clas(engine="openvino", topk=2, class_id_map_file=str(labels)))
    (prediction,) = post_array(server, batch[:1])["results"]["prediction"]
    assert prediction["class_ids"] == [285, 281]
    assert prediction["label_names"] == ["die Katze", "eine andere"]


@pytest.mark.parametrize(
    ("init_args", "words"),
    [
        ({"topk_": 3}, "clas_system has no setting 'topk_'"),
        ({"inference_model_dir": "/no/such/folder"}, "cannot find the folder '/no/such/folder'"),
        ({"engine": "paddel"}, "paddel"),
        ({"engine": "openvino", "class_id_map_file": "none.txt"}, "cannot find the file 'none.txt'"),
    ],
)
def test_a_wrong_setting_is_told_at_the_start(start: Start, model_dir: Path, init_args: dict[str, Any], words: str) -> None:
    server = start(clas(**init_args), wait=False)
    assert server.process.wait(60) == 1
    assert words in server.log.read_text()


def test_use_gpu_without_a_gpu_is_told_what_to_do(start: Start, model_dir: Path) -> None:
    server = start(clas(use_gpu=True), wait=False, environ={"CUDA_VISIBLE_DEVICES": "0"})
    assert server.process.wait(60) == 1
    log = server.log.read_text()
    assert "use_gpu" in log
    assert "paddlepaddle-gpu" in log


@pytest.mark.parametrize("engine", readers("pdmodel"))
@pytest.mark.parametrize("damage", ["truncated", "garbage", "missing"])
def test_a_damaged_model_is_told_at_the_start(start: Start, model_dir: Path, tmp_path: Path, engine: str, damage: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(model_dir / "inference.pdmodel", folder)
    weights = (model_dir / "inference.pdiparams").read_bytes()
    if damage != "missing":
        (folder / "inference.pdiparams").write_bytes(weights[: len(weights) // 2] if damage == "truncated" else b"\x07" * len(weights))
    server = start(clas(engine=engine, inference_model_dir=str(folder)), wait=False)
    assert server.process.wait(90) == 1
    assert "inference.pdiparams" in server.log.read_text().rpartition("hub: ")[2]


def test_everything_in_the_guide_works_in_its_order(measured_home: Path, model_dir: Path, cat_photo: Path, tmp_path: Path) -> None:
    install = hub("install", "hubmodules/clas/", home=measured_home)
    assert install.returncode == 0, install.stderr
    assert "clas_system" in hub("list", home=measured_home).stdout
    assert "Classifies images" in hub("show", "clas_system", home=measured_home).stdout
    port_free_config = json.loads((ROOT / "deploy" / "config.json").read_text())
    assert port_free_config["port"] == 8866
    from tests.conftest import free_port

    port = free_port()
    server = Server(["-m", "clas_system", "-p", str(port)], port, measured_home, tmp_path / "log")
    try:
        server.wait_until_ready()
        command = [sys.executable, "tools/test_client.py", "--server_url", f"{server.url}/predict/clas_system"]
        client = subprocess.run(
            [*command, "--image_file", str(cat_photo), "--batch_size", "8"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert "File:chelsea.png, The result(s): class_ids: [285, 281, 282, 287, 284]" in client.stdout
        assert "Egyptian cat" in client.stdout
        assert "The average top-1 score: 0.37" in client.stdout
        (engine,) = [line for line in hub("show", "clas_system", home=measured_home).stdout.splitlines() if line.startswith("Engine")]
        assert "(chosen by measuring on 20" in engine
        assert f" {server.status('clas_system')['engine']['name']} (" in engine
        assert hub("serving", "stop", "-p", port, home=measured_home).returncode == 0
    finally:
        server.process.kill()
        server.process.wait()
    assert hub("uninstall", "clas_system", home=measured_home).returncode == 0
    assert "clas_system" not in hub("list", home=measured_home).stdout


@pytest.mark.parametrize("folder", [ROOT, ROOT / "deploy"])
def test_the_shipped_config_starts_from_the_top_and_from_its_own_folder(
    measured_home: Path, model_dir: Path, tmp_path: Path, folder: Path
) -> None:
    assert hub("install", "hubmodules/clas/", home=measured_home).returncode == 0
    from tests.conftest import free_port

    port = free_port()
    config = json.loads((ROOT / "deploy" / "config.json").read_text()) | {"port": port}
    # the same file but for its port, beside the shipped one's neighbours
    (tmp_path / "deploy").mkdir()
    (tmp_path / "inference").symlink_to(model_dir)
    (tmp_path / "deploy" / "config.json").write_text(json.dumps(config))
    server = Server(["-c", str(tmp_path / "deploy" / "config.json")], port, measured_home, tmp_path / "log")
    try:
        server.wait_until_ready()
        assert server.stop() == 0
    finally:
        server.process.kill()
        server.process.wait()


def test_the_module_alone_is_checked_by_running_its_file(model_dir: Path, cat_photo: Path, measured_home: Path) -> None:
    environ = {**os.environ, "HUB_HOME": str(measured_home)}
    alone = subprocess.run(
        [sys.executable, "hubmodules/clas/module.py", str(cat_photo)], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert "'class_ids': [285, 281, 282, 287, 284]" in alone.stdout
    assert subprocess.run([sys.executable, "hubmodules/clas/module.py"], cwd=ROOT, env=environ, capture_output=True, check=True).stdout


def test_hub_run_classifies_a_photo(measured_home: Path, model_dir: Path, cat_photo: Path) -> None:
    done = hub("run", "--json", "hubmodules/clas", "--image_file", cat_photo, home=measured_home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prediction"][0]["class_ids"] == CAT_CLASSES


@pytest.mark.slow
def test_a_384_model_works_by_the_clients_flags(start: Start, cat_photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model384"
    export = [sys.executable, "tools/export_model.py", "--image-size", "384", "--output", str(folder)]
    subprocess.run(export, cwd=ROOT, check=True, capture_output=True)
    server = start(clas(engine="openvino", inference_model_dir=str(folder), class_id_map_file=str(folder / "imagenet1k_label_list.txt")))
    url = f"{server.url}/predict/clas_system"
    command = [sys.executable, "tools/test_client.py", "--server_url", url, "--image_file", str(cat_photo)]
    flags = ["--resize_short", "384", "--crop_size", "384"]
    client = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "class_ids: [28" in client.stdout, "some cat"
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "must have shape [-1, 3, 384, 384]" in refused.stdout + refused.stderr


def test_base64_by_hand_is_what_the_client_sends(server: Server, batch: np.ndarray) -> None:
    body = {
        "images": base64.b64encode(batch.astype("<f4").tobytes()).decode(),
        "revert_params": {"shape": list(batch.shape), "dtype": "float32"},
    }
    answer = requests.post(f"{server.url}/predict/clas_system", json=body, timeout=60).json()
    assert answer["results"]["prediction"][0]["class_ids"][0] == 285
