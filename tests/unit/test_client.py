"""The client against a real HTTP server in this process, which records the bytes that come."""

import base64
import email
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

import numpy as np
import pytest
import skimage.data

from hubserve.client import Client, ServerError
from hubserve.errors import ConfigError, HubError, InvalidInput
from hubserve.vision import encode_picture

MODULE = "clas_system"
PHOTO = encode_picture(np.ascontiguousarray(skimage.data.chelsea()[:, :, ::-1]))


class Received(NamedTuple):
    method: str
    path: str
    headers: dict
    body: bytes
    peer: tuple

    @property
    def media_type(self):
        return self.headers["content-type"].partition(";")[0]

    def array(self):
        """The array that was sent, whichever way."""
        if self.media_type == "application/octet-stream":
            shape = [int(length) for length in self.headers["x-hub-shape"].split(",")]
            return np.frombuffer(self.body, self.headers["x-hub-dtype"]).reshape(shape)
        sent = json.loads(self.body)
        return np.frombuffer(base64.b64decode(sent["images"], validate=True), sent["revert_params"]["dtype"]).reshape(
            sent["revert_params"]["shape"]
        )

    def files(self):
        """Of a multipart body: (field, file name, media type, bytes) of each part."""
        parts = email.message_from_bytes(b"Content-Type: " + self.headers["content-type"].encode() + b"\r\n\r\n" + self.body).get_payload()
        return [
            (
                part.get_param("name", header="content-disposition"),
                part.get_filename(),
                part.get_content_type(),
                part.get_payload(decode=True),
            )
            for part in parts
        ]

    def count(self):
        """Return the number of images in the request."""
        if self.media_type == "multipart/form-data":
            return len(self.files())
        return 1 if self.media_type.startswith("image/") else len(self.array())


def ok(results):
    return 200, json.dumps({"status": "000", "msg": "", "results": results}, ensure_ascii=False).encode()


def classify(received):
    """Answer as clas_system does: image number i of the request has the class i and the score 0.9 - i / 10."""
    made = [
        {"class_ids": [i, 7], "scores": [round(0.9 - i / 10, 5), 0.05], "label_names": [f"label {i}", "猫"]}
        for i in range(received.count())
    ]
    return ok({"prediction": made, "elapse": 0.5 * len(made)})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.command, self.path, headers, body, self.client_address)
        self.server.received.append(received)
        answer = self.server.answer(received)
        if answer is None:  # hang up
            self.close_connection = True
            return
        code, content = answer
        self.send_response(code)
        self.send_header("Content-Length", str(len(content)))
        if code in (301, 302):
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.server.received.append(Received("GET", self.path, {}, b"", self.client_address))
        self.send_error(405)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = []
        self.answer = classify
        self.url = f"http://127.0.0.1:{self.server_port}/predict/{MODULE}"


@contextmanager
def running_server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.shutdown()
            thread.join()


@pytest.fixture
def server():
    with running_server() as running:
        yield running


@pytest.fixture
def client(server):
    with Client(server.url) as connected:
        yield connected


def images(count, dtype="float32", shape=(3, 8, 6)):
    return (np.random.default_rng(count).random((count, *shape)) * 200).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float16", "int64"])
def test_a_batch_is_sent_as_paddleclas_sends_it(server, client, dtype):
    batch = images(3, dtype)
    results = client.predict(batch)
    assert [each["class_ids"] for each in results["prediction"]] == [[0, 7], [1, 7], [2, 7]]
    assert results["prediction"][0]["label_names"] == ["label 0", "猫"]
    (received,) = server.received
    assert (received.method, received.path, received.media_type) == ("POST", "/predict/clas_system", "application/json")
    sent = json.loads(received.body)
    assert set(sent) == {"images", "revert_params"}
    assert sent["revert_params"] == {"shape": [3, 3, 8, 6], "dtype": dtype}
    assert base64.b64decode(sent["images"], validate=True) == batch.tobytes()


def test_one_image_or_a_list_of_images_becomes_a_batch(server, client):
    batch = images(2)
    client.predict(batch[0])
    client.predict(list(batch))
    np.testing.assert_array_equal(server.received[0].array(), batch[:1])
    np.testing.assert_array_equal(server.received[1].array(), batch)


@pytest.mark.parametrize("send", ["predict", "predict_array"])
def test_views_and_big_endian_arrays_arrive_with_their_values(server, client, send):
    batch = images(2).astype(">f4").transpose(0, 2, 3, 1)[:, ::-1]
    getattr(client, send)(batch)
    np.testing.assert_array_equal(server.received[0].array(), batch.astype("<f4"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([], "no images"),
        ([np.zeros((3, 4, 4)), np.zeros((3, 5, 4))], r"must be alike.*\[3, 4, 4\].*\[3, 5, 4\]"),
        ([np.zeros((3, 4, 4)), np.zeros((3, 4, 4), np.uint8)], "must be alike.*float64.*uint8"),
        (np.zeros((4, 4)), r"got \[4, 4\]"),
        (["cat.jpg"], "got str"),
        (np.zeros((1, 3, 4, 4), object), "cannot send object"),
        (np.zeros((1, 3, 4, 4), "complex64"), "cannot send complex64"),
    ],
)
def test_images_that_cannot_be_sent_are_refused_before_they_are_sent(server, client, wrong, says):
    with pytest.raises(InvalidInput, match=says):
        client.predict(wrong)
    assert server.received == []


def test_an_array_is_sent_as_its_bytes_with_shape_and_dtype_in_headers(server, client):
    batch = images(2)
    assert len(client.predict_array(batch)["prediction"]) == 2
    (received,) = server.received
    assert received.headers["content-type"] == "application/octet-stream"
    assert (received.headers["x-hub-shape"], received.headers["x-hub-dtype"]) == ("2,3,8,6", "float32")
    assert received.body == batch.tobytes()
    with pytest.raises(InvalidInput, match="cannot send list"):
        client.predict_array([1, 2])


@pytest.mark.parametrize(
    ("extension", "media_type"), [(".jpg", "image/jpeg"), (".png", "image/png"), (".webp", "image/webp"), (".bmp", "image/bmp")]
)
def test_one_picture_is_the_body_under_its_real_type(server, client, tmp_path, extension, media_type):
    encoded = encode_picture(images(1, "uint8", (40, 30, 3))[0], extension)
    path = tmp_path / "named_wrongly.txt"
    path.write_bytes(encoded)
    for picture in (encoded, path, str(path), [path]):
        assert len(client.predict_pictures(picture)["prediction"]) == 1
    assert [(each.headers["content-type"], each.body) for each in server.received] == [(media_type, encoded)] * 4


def test_several_pictures_are_file_parts_in_their_order(server, client, tmp_path):
    png = encode_picture(images(1, "uint8", (40, 30, 3))[0], ".png")
    path = tmp_path / "猫 'and' \"quotes\".jpg"
    path.write_bytes(PHOTO)
    assert len(client.predict_pictures([path, png, PHOTO])["prediction"]) == 3
    files = server.received[0].files()
    assert [(field, media_type, data) for field, _, media_type, data in files] == [
        ("images", "image/jpeg", PHOTO),
        ("images", "image/png", png),
        ("images", "image/jpeg", PHOTO),
    ]
    assert [name for _, name, _, _ in files[1:]] == ["picture_2", "picture_3"]


@pytest.mark.parametrize(
    ("pictures", "says"),
    [
        ([], "no pictures"),
        ("missing.jpg", "cannot read the picture 'missing.jpg': No such file"),
        (b"text", "cannot send 'picture_1': this is not a picture"),
        ([PHOTO, PHOTO[:-100]], "cannot send 'picture_2': .* cut short"),
        ([PHOTO, 5], "path of a file or its bytes, got int"),
    ],
)
def test_pictures_that_cannot_be_sent_are_refused_before_they_are_sent(server, client, pictures, says):
    with pytest.raises(InvalidInput, match=says):
        client.predict_pictures(pictures)
    assert server.received == []


def test_any_json_module_is_called_with_keyword_arguments(server, client):
    server.answer = lambda received: ok({"echo": json.loads(received.body)})
    arguments = {"text": "你好 \u2028", "count": 3, "nested": {"a": [1.5, None, True]}}
    assert client.call(**arguments) == {"echo": arguments}
    assert server.received[0].headers["content-type"] == "application/json"
    with pytest.raises(InvalidInput, match="cannot be written as JSON"):
        client.call(images=np.zeros(3))


@pytest.mark.parametrize("results", [None, "", [], 0, False])
def test_empty_results_are_results(server, client, results):
    server.answer = lambda _: ok(results)
    assert client.call() == results


@pytest.mark.parametrize(
    ("code", "status", "msg"),
    [(200, "101", "shape [2] needs 8 bytes"), (200, "111", "Module x is not available."), (503, "503", "the queue is full")],
)
def test_an_error_in_the_answer_is_raised_with_its_status_and_text(server, client, code, status, msg):
    server.answer = lambda _: (code, json.dumps({"status": status, "msg": msg, "results": ""}).encode())
    with pytest.raises(ServerError, match=f"status {status} \\(HTTP {code}\\)") as raised:
        client.predict(images(1))
    assert (raised.value.status, raised.value.msg, raised.value.http_status) == (status, msg, code)
    assert msg in str(raised.value)
    assert isinstance(raised.value, HubError)


@pytest.mark.parametrize(
    ("code", "body", "says"),
    [
        (500, b"<h1>Oops</h1>", "HTTP 500 without a result: <h1>Oops</h1>"),
        (413, b"", "HTTP 413 without a result: nothing"),
        (404, b"Not Found", "HTTP 404 .*is /predict/clas_system right?"),
        (302, b"", "HTTP 302 without a result"),
        (200, b"<html>Welcome</html>", "HTTP 200 without a result: <html>Welcome</html>. Is this the address of a hubserve server?"),
        (200, b"\xff\xfe\x00", "HTTP 200 without a result"),
        (200, b"[" * 100_000, "HTTP 200 without a result"),
        (200, b"[1, 2]", r"without a result: \[1, 2\]"),
        (200, b'{"error": "no"}', "without a result"),
        (200, b'{"status": "000", "msg": ""}', "answered without 'results'"),
        (400, b'{"detail": "bad JSON"}', 'HTTP 400 without a result: {"detail": "bad JSON"}'),
        (200, b"x" * 100000, "x{300}\\. Is"),
    ],
)
def test_a_response_that_is_not_an_answer_is_an_error_that_shows_it(server, client, code, body, says):
    server.answer = lambda _: (code, body)
    with pytest.raises(ServerError, match=says) as raised:
        client.predict(images(1))
    assert raised.value.http_status == code
    assert len(str(raised.value)) < 600
    assert [each.method for each in server.received] == ["POST"]  # a redirect is not followed


def test_a_server_that_is_not_running_is_reported():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}/predict/{MODULE}") as client, pytest.raises(ServerError) as raised:
        client.predict(images(1))
    assert "Connection refused" in str(raised.value)
    assert "Is the server running? Start it with `hub serving start -m clas_system`" in str(raised.value)
    assert (raised.value.http_status, raised.value.status) == (None, "")


def test_no_answer_in_time_is_an_error_that_says_how_long_it_waited(server):
    release = threading.Event()
    server.answer = lambda received: release.wait(20) and classify(received)
    try:
        with Client(server.url, timeout_s=0.2) as client, pytest.raises(ServerError, match=r"no answer from .* within 0.2 s"):
            client.predict(images(1))
    finally:
        release.set()
    assert len(server.received) == 1


def test_a_connection_that_breaks_before_the_answer_is_an_error_and_the_next_request_works(server, client):
    server.answer = lambda _: None
    with pytest.raises(ServerError, match="broke before the answer came"):
        client.predict(images(1))
    server.answer = classify
    assert len(client.predict(images(1))["prediction"]) == 1


def test_connections_are_kept_open_between_requests_and_threads_may_share_a_client(server, client):
    for _ in range(5):
        client.predict(images(1))
    assert len({each.peer for each in server.received}) == 1
    server.answer = lambda received: ok(json.loads(received.body)["number"])
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda number: client.call(number=number), range(100))) == list(range(100))


def test_a_proxy_of_the_environment_is_not_asked_for_this_machines_own_addresses(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(server.url) as client:
        assert len(client.predict(images(1))["prediction"]) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8866/predict/x",
        "localhost",
        "ftp://host/predict/x",
        "http://",
        "http://host:8866",
        "http://host:99999/predict/x",
        "http://[::1/x",
    ],
)
def test_a_wrong_address_is_refused_with_an_example(url):
    with pytest.raises(ConfigError, match="such as http://127.0.0.1:8866/predict/clas_system"):
        Client(url)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_time_limit_must_be_above_zero(timeout_s):
    with pytest.raises(ConfigError, match="timeout_s must be above 0"):
        Client("http://host/predict/x", timeout_s=timeout_s)
