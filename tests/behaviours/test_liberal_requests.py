"""Test requests as clients of PaddleHub send them: every spelling, format and entrance, and the errors for wrong ones."""

import base64
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
import tritonclient.grpc
import tritonclient.http

from hubserve.client import Client
from hubserve.module import encode_array
from tests.conftest import Server, free_port, hub, servers, toy
from tests.spellings import spellings
from tests.unit.engines import onnx_classifier
from tests.unit.vision.rare_pictures import EXACT
from tests.v2 import texts

CLASSIFIER = """
from hubserve.models import ClassifierModule
from hubserve.module import moduleinfo, serving


@moduleinfo(name="tiny", version="1.0.0", summary="Ten classes")
class Tiny(ClassifierModule):
    @staticmethod
    def get_config():
        return {"Global": {"inference_model_dir": "model", "engine": "onnxruntime"}}
"""
PICTURE = np.random.default_rng(3).integers(0, 256, (21, 34, 3), np.uint8)
PNG = bytes(cv2.imencode(".png", PICTURE)[1])
MEAN = PICTURE.reshape(-1, 3).mean(axis=0)
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module derived from ``hubserve.models``."""
    folder = tmp_path_factory.mktemp("modules") / "tiny"
    (folder / "model").mkdir(parents=True)
    onnx_classifier.write(folder / "model" / "model.onnx")
    (folder / "module.py").write_text(CLASSIFIER)
    return folder


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[Server]:
    modules = {name: {**toy(name), "workers": 1} for name in ("doubler", "sizes", "shout", "collage")}
    modules["old-style"] = {**toy("old_style"), "workers": 1}
    modules["tiny"] = {"workers": 1, "init_args": {"directory": str(tiny)}}
    with servers(shared_home, tmp_path_factory.mktemp("liberal")) as start:
        yield start(modules, max_body_bytes=4 << 20, grpc_port=free_port())


def grpc_address(server: Server) -> str:
    return f"127.0.0.1:{json.loads((server.log.parent / f'config-{server.port}.json').read_text())['grpc_port']}"


# --- base64 ---


def results_of(answer: requests.Response) -> Any:
    document = answer.json()
    assert document["status"] == "000", document
    return document["results"]


def infer(server: Server, name: str, data: list[Any]) -> Any:
    body = {"inputs": [{"name": name, "datatype": "BYTES", "shape": [len(data)], "data": data}]}
    answer = requests.post(f"{server.url}/v2/models/doubler/infer", json=body, timeout=30)
    return answer.json()["outputs"][0]["data"]


def infer_binary(server: Server, text: str) -> Any:
    client = tritonclient.http.InferenceServerClient(server.url.removeprefix("http://"))
    tensor = tritonclient.http.InferInput("x", [1], "BYTES")
    tensor.set_data_from_numpy(texts(text.encode()), binary_data=True)
    return client.infer("doubler", [tensor]).as_numpy("y").ravel().tolist()


def infer_grpc(server: Server, text: str) -> Any:
    with tritonclient.grpc.InferenceServerClient(grpc_address(server)) as client:
        tensor = tritonclient.grpc.InferInput("x", [1], "BYTES")
        tensor.set_data_from_numpy(texts(text.encode()))
        return client.infer("doubler", [tensor]).as_numpy("y").ravel().tolist()


def generate(server: Server, value: Any) -> Any:
    return requests.post(f"{server.url}/v2/models/doubler/generate", json={"x": value}, timeout=30).json()["y"]


def classes(results: Any) -> Any:
    return [each["class_ids"] for each in results["prediction"]]


ENTRANCES: dict[str, Callable[[Server, str], Any]] = {
    "json, a text": lambda server, text: classes(server.results("tiny", images=text)),
    "json, a list": lambda server, text: classes(server.results("tiny", images=[text]))[:1],
    "json, a key of the module's own": lambda server, text: server.results("doubler", data=[text])["y"],
    "json, nested lists": lambda server, text: server.results("collage", images=[[text], [text]])["means"],
    "raw body": lambda server, text: server.predict("doubler", data=text, headers={"Content-Type": "image/png"}).json()["results"]["y"],
    "raw body, whole pictures": lambda server, text: results_of(server.predict("sizes", data=text, headers={"Content-Type": "image/png"})),
    "form, a text": lambda server, text: results_of(server.predict("doubler", files={"image": (None, text)}))["y"],
    "form, a file": lambda server, text: results_of(server.predict("sizes", files={"file": ("a.txt", text)})),
    "form for a module of JSON": lambda server, text: results_of(server.predict("collage", files={"images": (None, text)})),
    "v2 in JSON": lambda server, text: infer(server, "x", [text]),
    "v2 in binary": infer_binary,
    "gRPC": infer_grpc,
    "generate": generate,
    "generate, a list": lambda server, text: generate(server, [text]),
}


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_every_spelling_of_a_picture_has_the_same_answer(server: Server, entrance: str) -> None:
    answers = {name: ENTRANCES[entrance](server, text) for name, text in spellings(PNG).items()}
    assert all(answer == answers["on one line"] for answer in answers.values()), answers
    if "doubler" not in entrance and isinstance(answers["on one line"], list) and isinstance(answers["on one line"][0], float):
        np.testing.assert_allclose(answers["on one line"], 2 * MEAN, rtol=1e-5)


def test_every_spelling_of_an_array_has_the_same_answer(server: Server) -> None:
    array = np.random.default_rng(5).normal(size=(2, 3, 32, 32)).astype("float32")
    _, about = encode_array(array)
    expected = np.argsort(-onnx_classifier.expected(array), axis=1)[:, :5].tolist()
    for name, text in spellings(array.tobytes()).items():
        assert classes(server.results("tiny", images=text, revert_params=about)) == expected, name
        inputs = {"x": {"data": text, **about}}
        assert classes(server.results("tiny", inputs=inputs)) == expected, name


@pytest.mark.parametrize("size", [(3000, 500), (700, 500)], ids=["megabytes", "hundreds of kilobytes"])
def test_large_pictures_in_json_are_taken_in_any_spelling(server: Server, size: tuple[int, int]) -> None:
    large = np.random.default_rng(1).integers(0, 256, (*size, 1), np.uint8).repeat(3, axis=2)[:, :, ::1]
    png = bytes(cv2.imencode(".png", large[:, :, 0])[1])
    wanted = server.results("doubler", data=spellings(png)["on one line"])["y"]
    np.testing.assert_allclose(wanted[0], 2 * large.reshape(-1, 3).mean(axis=0), rtol=1e-4)
    for name in ("lines that end in CRLF", "data: URL", "alphabet for URLs without padding"):
        assert server.results("doubler", data=[spellings(png)[name]])["y"] == wanted, name
        assert server.results("doubler", data=spellings(png)[name])["y"] == wanted, name


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ("iVBO%Rw0", "'images' is not valid base64: character 5 of 8 is '%'"),
        (["iVBORw0KGgo=", "iV BORw0KGgo="], "'images', picture 2 of 2, is not valid base64: character 3 of 13 is ' '"),
        ([], "'images' must be base64 text of a picture (PNG, JPEG, ...), or a list of such texts, got an empty list"),
        ([[1, 2], [3, 4]], "'images' must be base64 text of a picture (PNG, JPEG, ...), or a list of such texts, got a list with a list"),
        (7, "or a list of such texts, got a number"),
        (base64.b64encode(b"this is not a picture").decode(), "this is not a picture: 21 bytes that are neither JPEG, PNG"),
    ],
)
def test_the_error_for_an_input_that_is_not_a_picture_shows_examples(server: Server, images: Any, says: str) -> None:
    answer = server.predict("tiny", json={"images": images}).json()
    assert answer["status"] == "101"
    assert says in answer["msg"]
    assert (
        '. This module takes {"images": ["<base64 of a picture>"]}; or {"images": "<base64 of the array>", "revert_params": {'
        in answer["msg"]
    )


def test_several_pictures_in_json_are_items_of_a_batch(server: Server) -> None:
    many = server.results("doubler", data=[base64.b64encode(PNG).decode()] * 5)
    np.testing.assert_allclose(many["y"], [2 * MEAN] * 5, rtol=1e-5)


# --- formats ---


@pytest.mark.parametrize("name", EXACT)
def test_every_format_is_taken_at_every_entrance(server: Server, name: str) -> None:
    data, text = EXACT[name], base64.b64encode(EXACT[name]).decode()
    wanted = server.results("doubler", data=base64.b64encode(EXACT["tiff"]).decode())["y"]
    assert server.predict("doubler", data=data, headers={"Content-Type": "image/x-any"}).json()["results"]["y"] == wanted
    assert server.results("doubler", data=text)["y"] == wanted
    np.testing.assert_allclose(infer(server, "x", [text]), wanted[0], rtol=1e-5)
    with Client(server.url + "/predict/doubler") as client:
        assert client.predict_pictures([data, EXACT["ppm"]])["y"] == wanted * 2


def test_hub_run_and_the_client_take_a_tiff(server: Server, tiny: Path, shared_home: Path, tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    path.write_bytes(EXACT["tiff, LZW"])
    ran = hub("run", tiny, "--image_file", path, "--json", home=shared_home)
    if ran.returncode:  # --json is the option of a later hub
        ran = hub("run", tiny, "--image_file", path, home=shared_home)
    with Client(server.url + "/predict/tiny") as client:
        assert str(classes(client.predict_pictures(path))[0]).replace(" ", "") in ran.stdout.replace(" ", "").replace("\n", "")


# --- forms ---


def test_texts_of_a_form_become_arguments_of_their_types(server: Server) -> None:
    files = [("images", ("a.png", PNG)), ("images", ("b.png", PNG))]
    results = results_of(server.predict("collage", files=files, data={"note": "2024", "scale": "2", "upside_down": "True"}))
    assert results["note"] == "2024", "a text stays a text where the default is one"
    np.testing.assert_allclose(results["means"], [[2 * MEAN.round(3)] * 2], rtol=1e-5)


def test_texts_beside_pictures_are_arguments_of_a_module_of_whole_pictures(server: Server) -> None:
    answer = server.predict("sizes", files={"images": ("a.png", PNG)}, data={"unit": "dots"})
    assert results_of(answer) == ["34 x 21 dots"]
    wrong = server.predict("sizes", files={"images": ("a.png", PNG)}, data={"units": "dots"}).json()
    assert wrong["msg"].startswith("the argument 'units' is not known (did you mean 'unit'?). The pictures come with the JSON arguments ")


def test_a_form_of_texts_alone_is_a_call_of_the_serving_method(server: Server) -> None:
    assert results_of(server.predict("shout", files={"text": (None, "grüß dich")})) == "GRÜSS DICH!"
    fields = [("texts", (None, "ab")), ("texts", (None, "cd")), ("times", (None, "2"))]
    assert [each["text"] for each in results_of(server.predict("old-style", files=fields))] == ["baba", "dcdc"]
    assert [each["text"] for each in results_of(server.predict("old-style", files=fields[:1]))] == ["ba"]
    as_json = [("texts", (None, '["ab", "cd"]'))]
    assert [each["text"] for each in results_of(server.predict("old-style", files=as_json))] == ["ba", "dc"]
    wrong = server.predict("old-style", files=[("texts", (None, "ab")), ("times", (None, "twice"))]).json()
    assert wrong["msg"].startswith("the form's field 'times' cannot be used: it must be a whole number, got 'twice'. This module takes ")


def test_an_old_clients_form_of_a_picture_is_answered(server: Server) -> None:
    # as scripts of PaddleHub 1 do, but for the address
    files = [("image", open_png()) for _ in range(2)]
    assert len(results_of(requests.post(url=f"{server.url}/predict/tiny", files=files, timeout=30))["prediction"]) == 2
    text = "data:image/jpeg;base64," + base64.b64encode(PNG).decode()
    assert len(results_of(server.predict("tiny", files={"image": (None, text)}))["prediction"]) == 1
    old = requests.post(f"{server.url}/predict/image/tiny", files=files, timeout=30)
    assert (old.status_code, old.json()["msg"]) == (
        404,
        "there is nothing at /predict/image/tiny, which is an address of PaddleHub 1; use /predict/tiny",
    )


def open_png() -> tuple[str, bytes]:
    return "a.png", PNG


def test_a_published_client_is_answered_as_it_is(server: Server) -> None:
    def cv2_to_base64(image: np.ndarray) -> str:
        data = cv2.imencode(".jpg", image)[1]
        return base64.b64encode(data.tobytes()).decode("utf8")

    data = {"images": [cv2_to_base64(PICTURE)]}
    headers = {"Content-type": "application/json"}
    for module in ("tiny", "collage"):
        r = requests.post(url=f"{server.url}/predict/{module}", headers=headers, data=json.dumps(data), timeout=30)
        assert r.json()["status"] == "000", r.text
        assert r.json()["results"]


# --- packed bodies ---

PACKED = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}


@pytest.mark.parametrize("coding", PACKED)
def test_packed_bodies_are_unpacked(server: Server, coding: str) -> None:
    headers = {**JSON, "Content-Encoding": coding}
    assert results_of(server.predict("shout", data=PACKED[coding](b'{"text": "packed"}'), headers=headers)) == "PACKED!"
    picture = server.predict("sizes", data=PACKED[coding](PNG), headers={**headers, "Content-Type": "image/png"})
    assert results_of(picture) == ["34 x 21 px"]


def test_a_packed_body_is_bounded_once_it_is_unpacked(server: Server) -> None:
    headers = {**JSON, "Content-Encoding": "gzip"}
    answer = server.predict("shout", data=gzip.compress(b" " * (5 << 20)), headers=headers)
    assert (answer.status_code, "max_body_bytes" in answer.json()["msg"]) == (413, True)
    for body in (b'{"text": "plain"}', gzip.compress(b'{"text": "cut"}')[:-4]):
        broken = server.predict("shout", data=body, headers=headers).json()
        assert broken["status"] == "101"
        assert "gzip" in broken["msg"]


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_other_codings_are_415_with_those_that_are_taken(server: Server, coding: str) -> None:
    answer = server.predict("shout", data=b"{}", headers={**JSON, "Content-Encoding": coding})
    assert answer.status_code == 415
    assert answer.json()["msg"] == f"the content coding '{coding}' is not known here; send the body plain, or as gzip or deflate"


# --- addresses and methods ---


@pytest.mark.parametrize("path", ["/predict/shout/", "//predict/shout", "/predict//shout", "//predict//shout//"])
def test_slashes_too_many_do_not_matter(server: Server, path: str) -> None:
    assert results_of(requests.post(server.url + path, json={"text": "a"}, timeout=30)) == "A!"


OPTIONS = {
    "/": {"GET", "HEAD", "POST", "OPTIONS"},
    "/predict/shout": {"POST", "OPTIONS"},
    "/predict/missing": {"POST", "OPTIONS"},
    "/health/live": {"GET", "HEAD", "OPTIONS"},
    "/health/ready": {"GET", "HEAD", "OPTIONS"},
    "/status": {"GET", "HEAD", "OPTIONS"},
    "/v2": {"GET", "HEAD", "OPTIONS"},
    "/v2/models/doubler/infer": {"POST", "OPTIONS"},
    "/v2/health/live": {"GET", "HEAD", "OPTIONS"},
}


@pytest.mark.parametrize("path", OPTIONS)
def test_options_is_200_with_what_is_allowed(server: Server, path: str) -> None:
    answer = requests.options(server.url + path, timeout=30)
    assert (answer.status_code, answer.content) == (200, b"")
    assert set(answer.headers["Allow"].split(", ")) == OPTIONS[path]
    head = requests.head(server.url + path, timeout=30)
    assert (head.status_code, head.content) == (200 if "HEAD" in OPTIONS[path] else 405, b"")


# --- errors of wrong requests ---

WRONG: dict[str, tuple[str, Any, str]] = {
    "missing": ("old-style", {}, "the argument 'texts' is missing. "),
    "unknown": ("shout", {"text": "a", "loud": 1}, "the argument 'loud' is not known. "),
    "a slip": ("shout", {"txet": "a"}, "the argument 'text' is missing, and the argument 'txet' is not known (did you mean 'text'?). "),
    "missing behind a decorator": ("collage", {}, "the argument 'images' is missing. "),
    "passed on": (
        "collage",
        {"images": [PNG.hex()], "use_gpu": 1},
        "the argument 'use_gpu' is not known; further ones are scale, upside_down. ",
    ),
    "not of a ready-made module": ("tiny", {"pictures": []}, "the argument 'pictures' is not known. "),
    "nothing for a ready-made module": ("tiny", {}, "the arguments are missing. "),
    "wrong shape": (
        "tiny",
        {"images": "AAAAAA==", "revert_params": {"shape": [1, 1], "dtype": "float32"}},
        "input 'x' must have shape [-1, 3, 32, 32] (-1: any length), got [1, 1]",
    ),
    "wrong size": ("tiny", {"images": "AAAA", "revert_params": {"shape": [2], "dtype": "float32"}}, "needs 8 bytes, but 3 came"),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_error_for_a_wrong_request_says_what_the_module_takes_and_logs_one_line(server: Server, case: str) -> None:
    module, body, says = WRONG[case]
    before = server.log.read_text()
    answer = server.predict(module, json=body)
    assert (answer.status_code, answer.json()["status"], answer.json()["results"]) == (200, "101", "")
    assert says in answer.json()["msg"]
    if says.endswith(". "):
        assert "This module takes " in answer.json()["msg"]
    new = server.log.read_text().removeprefix(before)
    assert not any(word in new for word in ("Traceback", "TypeError", "positional argument"))
    assert len(new.splitlines()) <= 1


@pytest.mark.parametrize(("body", "says"), [(b"[1]", "got a list"), (b"{", "not valid JSON"), (b"", "not valid JSON")])
def test_the_error_for_a_body_that_is_not_an_object_says_what_to_send(server: Server, body: bytes, says: str) -> None:
    answer = server.predict("old-style", data=body, headers=JSON)
    assert answer.status_code == 400
    assert says in answer.json()["msg"]
    assert answer.json()["msg"].endswith('for example {"texts": ["some text"]}')


def test_the_example_in_a_message_is_a_request_that_works(server: Server) -> None:
    message = server.predict("old-style", json={}).json()["msg"]
    example = json.loads(message.rpartition("for example ")[2])
    assert server.results("old-style", **example) == [{"text": "txet emos", "prefix": ""}]


def test_the_open_inference_protocol_tells_the_same(server: Server) -> None:
    def message_for(model: str, *inputs: dict[str, Any]) -> str:
        return str(requests.post(f"{server.url}/v2/models/{model}/infer", json={"inputs": inputs}, timeout=30).json()["error"])

    usage = "This module takes the JSON arguments texts; optionally times (1); for example {"
    arguments = {"name": "arguments", "datatype": "BYTES", "shape": [1]}
    assert usage in message_for("old-style", {"name": "texts", "datatype": "BYTES", "shape": [1], "data": ["a"]})
    assert usage in message_for("old-style", {"name": "arguments", "datatype": "FP32", "shape": [1], "data": [1]})
    assert usage in message_for("old-style", {**arguments, "data": ["[1]"]})
    missing = message_for("old-style", {**arguments, "data": ["{}"]})
    assert missing.startswith("the argument 'texts' is missing. " + usage)
