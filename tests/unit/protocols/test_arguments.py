"""Arrays and pictures in JSON are the same in any spelling of base64, whether they are read at once, in steps, or in another process."""

import asyncio
import json
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hubserve.errors import InvalidInput
from hubserve.module import JsonArray
from hubserve.protocols.arguments import ArgumentReader, Arguments, BatchKeys
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import JsonBounds
from tests.spellings import spellings

KEYS = BatchKeys(JsonArray("images", "about"), "images")
#: read at once; decoded beside the parser; decoded in steps; beyond what is parsed on the event loop
SIZES = (7, 10_001, 1_700_003, 4_000_001)


Read = Callable[..., Arguments]


@pytest.fixture(scope="module")
def read() -> Iterator[Read]:
    """Reads documents, with the same processes for all tests."""
    decoders = Decoders()
    reader = ArgumentReader(decoders, JsonBounds(20, 1000))
    yield lambda document, keys=KEYS: asyncio.run(reader.read(json.dumps(document).encode(), "the body", {}, keys))
    decoders.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("spelling", ["on one line", "lines that end in CRLF", "alphabet for URLs without padding", "data: URL"])
def test_the_bytes_are_those_that_were_encoded(read: Read, size: int, spelling: str) -> None:
    data = os.urandom(size)
    text = spellings(data)[spelling]
    array = read({"images": text, "about": {"shape": [size], "dtype": "uint8"}}).array
    assert array is not None
    assert array.tobytes() == data
    assert [bytes(each) for each in read({"images": text}).pictures or ()] == [data]
    assert [bytes(each) for each in read({"images": [text, text]}).pictures or ()] == [data, data]


@pytest.mark.parametrize("size", SIZES)
def test_invalid_base64_is_refused_with_its_position(read: Read, size: int) -> None:
    text = spellings(bytes(size))["on one line"]
    wrong = text[:-3] + "%" + text[-2:]
    says = f"character {len(text) - 2} of {len(text)} is '%'"
    with pytest.raises(InvalidInput, match=f"^'images' is not valid base64: {says}"):
        read({"images": wrong})
    with pytest.raises(InvalidInput, match=f"^'images', picture 2 of 2, is not valid base64: {says}"):
        read({"images": [text, wrong]})
    with pytest.raises(InvalidInput, match=f"^'images' is not valid base64: {says}"):
        read({"images": wrong, "about": {"shape": [size], "dtype": "uint8"}})


def test_other_documents_are_returned_unchanged(read: Read) -> None:
    for document in ({"images": "AAAA", "more": 1}, {"texts": ["AAAA"]}, {}):
        found = read(document)
        assert (found.array, found.pictures, json.loads(found.text)) == (None, None, document)
    assert read({"images": "AAAA"}, BatchKeys()).pictures is None
    assert np.array_equal(read({"a": "AQI=", "b": {"shape": [2], "dtype": "uint8"}}, BatchKeys(JsonArray("a", "b"))).array, [1, 2])  # type: ignore[arg-type]
