"""Files of pages: read once, compressed once, not sent again."""

import asyncio
import gzip
import threading

import cv2
import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import Response

from hubserve.pages.assets import Asset, assets
from hubserve.pages.example_picture import HEIGHT_PX, WIDTH_PX, example_png

TEXT = b"text " * 500


def ask(asset: Asset, **headers: str) -> Response:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return asyncio.run(asset.respond(Request({"type": "http", "headers": sent})))


def test_a_file_is_read_and_compressed_once_however_many_ask_at_the_same_time() -> None:
    started = threading.Event()
    reads = []

    def read() -> bytes:
        reads.append(1)
        started.wait(0.05)
        return TEXT

    async def many() -> list[Response]:
        asset = Asset(read, "text/plain")
        request = Request({"type": "http", "headers": [(b"accept-encoding", b"gzip")]})
        return await asyncio.gather(*(asset.respond(request) for _ in range(20)))

    bodies = [bytes(each.body) for each in asyncio.run(many())]
    assert len(reads) == 1
    assert {gzip.decompress(each) for each in bodies} == {TEXT}


def test_a_file_that_cannot_be_read_is_tried_again() -> None:
    answers = iter([OSError("no more descriptors"), TEXT])

    def read() -> bytes:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    asset = Asset(read, "text/plain")
    with pytest.raises(OSError, match="descriptors"):
        ask(asset)
    assert bytes(ask(asset).body) == TEXT


@pytest.mark.parametrize(
    ("accepted", "coding"), [("", None), ("gzip", "gzip"), ("br, GZIP;q=0.5", "gzip"), ("gzip;q=0", None), ("br", None), ("*", None)]
)
def test_it_is_compressed_for_clients_that_say_so(accepted: str, coding: str | None) -> None:
    answer = ask(Asset(lambda: TEXT, "text/css"), accept_encoding=accepted)
    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    body = bytes(answer.body)
    assert (gzip.decompress(body) if coding else body) == TEXT


def test_a_client_that_has_it_gets_304_without_a_body() -> None:
    asset = Asset(lambda: TEXT, "text/css")
    plain, packed = ask(asset).headers["etag"], ask(asset, accept_encoding="gzip").headers["etag"]
    assert plain != packed
    for sent in (plain, f"W/{plain}", f'"other", {plain}', "*"):
        answer = ask(asset, if_none_match=sent)
        assert (answer.status_code, bytes(answer.body), answer.headers["etag"]) == (304, b"", plain)
    for sent in (packed, '"other"', plain.strip('"')):
        assert ask(asset, if_none_match=sent).status_code == 200


def test_every_listed_file_is_there() -> None:
    for name, asset in assets().items():
        assert ask(asset).status_code == 200, name


def test_the_example_picture_is_a_picture() -> None:
    decoded = cv2.imdecode(np.frombuffer(example_png(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert len(example_png()) < 20_000
