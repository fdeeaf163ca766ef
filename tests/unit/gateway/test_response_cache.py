"""What is kept of answers, and which questions are the same."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hubserve.gateway.response_cache import ResponseCache, key_of
from hubserve.types import InferRequest, InferResponse


def answer_of(size: int) -> InferResponse:
    return InferResponse(tensors={"y": np.arange(size, dtype=np.uint8)})


@given(st.lists(st.tuples(st.sampled_from(["put", "get"]), st.integers(0, 8), st.integers(0, 4000))), st.integers(0, 8000))
def test_it_keeps_the_most_recently_used_responses_within_its_size(steps: list[tuple[str, int, int]], max_bytes: int) -> None:
    cache = ResponseCache(max_bytes)
    model: dict[bytes, int] = {}  # the one asked for last is the last
    for what, name, size in steps:
        key = bytes([name])
        if what == "put":
            cache.put(key, answer_of(size))
            if size + 512 <= max_bytes:
                model.pop(key, None)
                model[key] = size
                while sum(each + 512 for each in model.values()) > max_bytes:
                    del model[next(iter(model))]
        else:
            found = cache.get(key)
            assert (found is not None) == (key in model)
            if found is not None:
                assert found.tensors is not None
                assert np.array_equal(found.tensors["y"], np.arange(model[key], dtype=np.uint8))
                model[key] = model.pop(key)
        assert len(cache) == len(model)
        assert cache.nbytes == sum(each + 512 for each in model.values()) <= max_bytes


def test_cached_responses_have_their_own_memory_and_are_read_only() -> None:
    cache, answer = ResponseCache(1 << 20), answer_of(10)
    text = bytearray(b'{"a": 1}')
    cache.put(b"arrays", answer)
    cache.put(b"json", InferResponse(json=memoryview(text)))
    assert answer.tensors is not None
    answer.tensors["y"][:] = 0
    text[:] = b"overwrit"
    arrays, json = cache.get(b"arrays"), cache.get(b"json")
    assert arrays is not None
    assert arrays.tensors is not None
    assert arrays.tensors["y"].tolist() == list(range(10))
    assert not arrays.tensors["y"].flags.writeable
    assert json is not None
    assert json.json == b'{"a": 1}'


def request(tensors: dict[str, Any] | None = None, **more: Any) -> InferRequest:
    return InferRequest("m", tensors=tensors, **more)


def test_only_equal_requests_have_the_same_key() -> None:
    x = np.arange(6, dtype=np.int32)
    texts = np.array([b"ab", b"c"], object)
    different = [
        request({"x": x}),
        request({"y": x}),
        request({"x": x.astype(np.uint32)}),
        request({"x": x.reshape(2, 3)}),
        request({"x": x + 1}),
        request({"x": x[:0]}),
        request({"x": texts}),
        request({"x": np.array([b"a", b"bc"], object)}),
        request({"x": x, "z": x}),
        request({"x": x}, wants_json=False),
        request({"x": x}, outputs=["y"]),
        request({"x": x}, parameters={"a": 1}),
        request(arguments=b"{}"),
        request(arguments=b"{ }"),
        request(pictures=[b"ab", b"c"]),
        request(pictures=[b"a", b"bc"]),
        request(pictures=[b"abc"]),
    ]
    assert len({key_of(each) for each in different}) == len(different)
    strided = np.repeat(x, 2)[::2]
    same = request({"x": strided}, id="other", priority=3, deadline=1.0)
    assert key_of(same) == key_of(different[0])
    assert key_of(request({"a": x, "b": x + 1})) == key_of(request({"b": x + 1, "a": x}))
