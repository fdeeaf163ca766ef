"""A model file whose input is a decoded picture takes encoded ones, whatever its engine."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
import tritonclient.http as httpclient
from onnx import TensorProto, helper

from tests.conftest import Server, servers
from tests.onnx_models import save_graph

HEIGHT, WIDTH = 20, 30


def averages(path: Path, shape: list[Any]) -> Path:
    """The average of each channel: uint8, channels last -> float32 (N, 3)."""
    nodes = [
        helper.make_node("Cast", ["pixels"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["numbers"], ["colour"], axes=[len(shape) - 3, len(shape) - 2], keepdims=0),
    ]
    return save_graph(path, nodes, [("pixels", TensorProto.UINT8, shape)], [("colour", TensorProto.FLOAT, [*shape[:-3], shape[-1]])])


def inverse(path: Path) -> Path:
    """Each number's complement: uint8 (N, H, W, 3) -> the same."""
    shape = ["n", "h", "w", 3]
    nodes = [helper.make_node("BitwiseNot", ["pixels"], ["inverted"])]
    return save_graph(path, nodes, [("pixels", TensorProto.UINT8, shape)], [("inverted", TensorProto.UINT8, shape)], 18)


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    files = {
        "any_size": averages(folder / "any_size.onnx", ["n", "h", "w", 3]),
        "fixed": averages(folder / "fixed.onnx", ["n", HEIGHT, WIDTH, 3]),
        "fixed_width": averages(folder / "fixed_width.onnx", ["n", "h", WIDTH, 3]),
        "one_picture": averages(folder / "one_picture.onnx", ["h", "w", 3]),
        "inverse": inverse(folder / "inverse.onnx"),
        "four_channels": averages(folder / "four_channels.onnx", ["n", "h", "w", 4]),
    }
    modules = {name: {"init_args": {"directory": str(path)}, "workers": 1} for name, path in files.items()}
    modules["one_picture"]["init_args"]["max_batch_size"] = 0
    with servers(shared_home, folder) as start:
        yield start(modules)


def picture(height: int = 40, width: int = 45) -> np.ndarray:
    """Different averages of the channels, and of the upper and lower half."""
    image = np.zeros((height, width, 3), np.uint8)
    image[...] = (200, 100, 10)
    image[: height // 2, :, 2] = 90
    return image


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def colour(image: np.ndarray) -> np.ndarray:
    return image.reshape(-1, 3).mean(axis=0)


def post(server: Server, name: str, image: np.ndarray) -> np.ndarray:
    answer = server.predict(name, data=png(image), headers={"Content-Type": "image/png"}).json()
    assert answer["status"] == "000", answer
    return np.array(answer["results"]["outputs"]["colour"])


@pytest.mark.parametrize("size", [(40, 45), (7, 100)])
def test_a_picture_of_any_size_is_decoded_to_bgr(size: tuple[int, int], server: Server) -> None:
    image = picture(*size)
    np.testing.assert_allclose(post(server, "any_size", image), [colour(image)], atol=1e-3)


def test_a_picture_is_resized_to_a_fixed_size(server: Server) -> None:
    image = picture()
    np.testing.assert_allclose(post(server, "fixed", image), [colour(cv2.resize(image, (WIDTH, HEIGHT)))], atol=1e-3)


def test_a_picture_keeps_its_proportions_where_one_side_is_fixed(server: Server) -> None:
    image = picture(40, 60)
    np.testing.assert_allclose(post(server, "fixed_width", image), [colour(cv2.resize(image, (WIDTH, 20)))], atol=1e-3)


def test_a_model_without_a_batch_takes_one_picture(server: Server) -> None:
    image = picture()
    np.testing.assert_allclose(post(server, "one_picture", image), colour(image), atol=1e-3)


def test_v2_takes_pictures_in_place_of_the_tensor(server: Server) -> None:
    images = [picture(), picture()[::-1]]
    client = httpclient.InferenceServerClient(f"127.0.0.1:{server.port}")
    sent = httpclient.InferInput("pixels", [2], "BYTES")
    sent.set_data_from_numpy(np.array([png(each) for each in images], object))
    given = client.infer("any_size", [sent]).as_numpy("colour")
    np.testing.assert_allclose(given, [colour(each) for each in images], atol=1e-3)
    described = requests.get(f"{server.url}/v2/models/any_size", timeout=10).json()
    assert described["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]


def test_json_and_forms_carry_pictures(server: Server) -> None:
    image = picture()
    texts = [base64.b64encode(png(image)).decode()] * 2
    np.testing.assert_allclose(server.results("any_size", images=texts)["outputs"]["colour"], [colour(image)] * 2, atol=1e-3)
    files = [("images", ("a.png", png(image), "image/png"))]
    answer = server.predict("any_size", files=files).json()["results"]
    np.testing.assert_allclose(answer["outputs"]["colour"], [colour(image)], atol=1e-3)
    arrays = {"pixels": image[None].tolist()}
    np.testing.assert_allclose(server.results("any_size", inputs=arrays)["outputs"]["colour"], [colour(image)], atol=1e-3)


def test_pictures_of_several_sizes_in_one_request_are_answered_in_order(server: Server) -> None:
    images = [picture(*size) for size in ((40, 45), (41, 45), (40, 45), (8, 9))]
    images[2] = images[2][:, ::-1] // 2
    texts = [base64.b64encode(png(each)).decode() for each in images]
    wanted = [colour(each) for each in images]
    np.testing.assert_allclose(server.results("any_size", images=texts)["outputs"]["colour"], wanted, atol=1e-3)
    client = httpclient.InferenceServerClient(f"127.0.0.1:{server.port}")
    sent = httpclient.InferInput("pixels", [4], "BYTES")
    sent.set_data_from_numpy(np.array([png(each) for each in images], object))
    np.testing.assert_allclose(client.infer("any_size", [sent]).as_numpy("colour"), wanted, atol=1e-3)
    assert np.shape(server.results("fixed", images=texts)["outputs"]["colour"]) == (4, 3)


def test_outputs_that_follow_the_sizes_of_pictures_are_refused_in_one_request(server: Server) -> None:
    texts = [base64.b64encode(png(picture(*size))).decode() for size in ((4, 5), (5, 5))]
    answer = server.predict("inverse", json={"images": texts}).json()
    assert answer["status"] == "101"
    assert "have 2 sizes, and the output 'inverted' has another shape for each" in answer["msg"]
    assert np.shape(server.results("inverse", images=texts[:1])["outputs"]["inverted"]) == (1, 4, 5, 3)


def test_a_model_without_a_batch_takes_one_picture_at_a_time(server: Server) -> None:
    image = picture()
    client = httpclient.InferenceServerClient(f"127.0.0.1:{server.port}")
    sent = httpclient.InferInput("pixels", [1], "BYTES")
    sent.set_data_from_numpy(np.array([png(image)], object))
    np.testing.assert_allclose(client.infer("one_picture", [sent]).as_numpy("colour"), colour(image), atol=1e-3)
    answer = server.predict("one_picture", json={"images": [base64.b64encode(png(image)).decode()] * 2}).json()
    assert "takes one picture in a request" in answer["msg"]


def test_other_arrays_of_bytes_are_not_pictures(server: Server) -> None:
    answer = server.predict("four_channels", data=png(picture()), headers={"Content-Type": "image/png"}).json()
    assert "does not take picture requests" in answer["msg"]


def test_a_wrong_request_says_that_pictures_are_taken(server: Server) -> None:
    answer = server.predict("any_size", json={"picture": "x"}).json()
    assert "or {'images': [base64 of a picture]}" in answer["msg"]
