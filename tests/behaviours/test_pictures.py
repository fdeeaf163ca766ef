"""Pictures for a module that answers them one request at a time, without a batch method."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.conftest import Server, servers, toy


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("pictures")) as start:
        yield start({"sizes": {**toy("sizes"), "predict_args": {"unit": "dots"}}, "shout": toy("shout")})


def post_picture(server: Server, content: bytes, media_type: str = "image/png", module: str = "sizes") -> requests.Response:
    return server.predict(module, data=content, headers={"Content-Type": media_type})


def test_an_encoded_picture_reaches_the_pictures_method_with_the_servers_own_arguments(server: Server, cat_photo: Path) -> None:
    answer = post_picture(server, cat_photo.read_bytes()).json()
    assert answer == {"status": "000", "msg": "", "results": ["451 x 300 dots"]}


def test_several_files_are_one_request(server: Server, cat_photo: Path, page_photo: Path) -> None:
    files = [("images", (path.name, path.read_bytes())) for path in (cat_photo, page_photo)]
    assert server.predict("sizes", files=files).json()["results"] == ["451 x 300 dots", "384 x 191 dots"]


def test_a_broken_picture_is_named_and_the_module_goes_on(server: Server, cat_photo: Path) -> None:
    whole = cat_photo.read_bytes()
    alone = post_picture(server, whole[:5000]).json()
    assert (alone["status"], alone["results"]) == ("101", "")
    assert "the image/png picture was cut short" in alone["msg"]
    second = server.predict("sizes", files=[("images", ("a", whole)), ("images", ("b", b"no picture"))]).json()
    assert second["msg"].startswith("picture 2 of 2: this is not a picture")
    assert post_picture(server, whole).json()["status"] == "000"


def test_json_still_goes_to_the_serving_method(server: Server) -> None:
    assert server.results("sizes", first=1, second=2) == "3 dots"


def test_a_module_without_a_pictures_method_says_what_it_takes(server: Server, cat_photo: Path) -> None:
    answer = post_picture(server, cat_photo.read_bytes(), module="shout").json()
    assert answer["msg"].startswith("module 'shout' does not take picture requests; it takes json. This module takes the JSON arguments ")


def test_pictures_and_json_that_wait_together_each_get_their_own_answer(server: Server, cat_photo: Path, page_photo: Path) -> None:
    cat, page = cat_photo.read_bytes(), page_photo.read_bytes()

    def ask(number: int) -> object:
        if number % 3 == 2:
            return server.results("sizes", first=number, second=1)
        return post_picture(server, page if number % 3 else cat).json()["results"]

    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(ask, range(24)))
    assert results == [each for number in range(2, 24, 3) for each in (["451 x 300 dots"], ["384 x 191 dots"], f"{number + 1} dots")]
