"""Test the messages about a method's arguments, and which failures are the client's."""

import functools
from typing import Any, Dict, List, Optional  # noqa: UP035 - as old modules write them

import pytest

from hubserve.errors import WrongArguments
from hubserve.kinds.called_methods import CalledMethod


def logged(method):
    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        return method(*args, **kwargs)

    return wrapper


class Module:
    def plain(self, images, top_k=1, note=None):
        return images, top_k, note

    def typed(self, texts: List[str], limit: Optional[int] = None, *, about: "Dict[str, int]", fast: bool, path: str = ""):  # noqa: UP006, UP045
        return texts

    def passes_on(self, images, **kwargs):
        return self.plain(images=images, **kwargs)

    def passes_all_on(self, **kwargs):
        return self.plain(**kwargs)

    @logged
    def wrapped(self, text, times=2):
        return text * times

    def nothing(self):
        return "nothing"

    def anything(self, *args, **kwargs):
        return kwargs

    def faulty(self, text, **kwargs):
        return self.helper()

    def helper(self):
        return self.plain()

    def adds(self, a, b):
        return a + b

    def with_pictures(self, images, unit="px"):
        return len(images), unit


def method(name: str, **options: Any) -> CalledMethod:
    return CalledMethod(getattr(Module(), name), **options)


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("plain", 'the JSON arguments images; optionally top_k (1), note (null); for example {"images": ["<base64 of a picture>"]}'),
        ("wrapped", 'the JSON arguments text; optionally times (2); for example {"text": "some text"}'),
        ("nothing", "no arguments: send {}"),
        ("anything", ""),
        ("passes_all_on", ""),
    ],
)
def test_a_method_says_what_it_takes(name, usage):
    assert method(name).usage == usage


def test_an_example_follows_annotations_and_names():
    typed = method("typed")
    assert typed.usage.endswith('for example {"texts": ["some text"], "about": {}, "fast": true}')
    assert typed.types == {"texts": "list", "limit": "int", "about": "dict", "fast": "bool", "path": "str"}


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("plain", {}, "the argument 'images' is missing"),
        ("plain", {"images": [], "topk": 3}, r"the argument 'topk' is not known \(did you mean 'top_k'\?\)"),
        ("plain", {"x": 1, "yy": 2}, "the argument 'images' is missing, and the arguments 'x', 'yy' are not known"),
        ("typed", {"fast": True}, "the arguments 'texts', 'about' are missing"),
        ("passes_on", {"images": [], "gpu": 1}, "the argument 'gpu' is not known; further ones are top_k, note"),
        ("passes_all_on", {}, "the argument 'images' is missing"),
        ("wrapped", {}, "the argument 'text' is missing"),
        ("wrapped", {"text": "a", "loud": 1}, "the argument 'loud' is not known"),
        ("nothing", {"x": 1}, "the argument 'x' is not known"),
    ],
)
def test_a_clients_wrong_arguments_are_reported(name, arguments, says):
    with pytest.raises(WrongArguments, match=f"^{says}$"):
        method(name)(arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [("adds", {"a": 1, "b": "x"}, "unsupported operand"), ("faulty", {"text": "a"}, "missing 1 required positional argument: 'images'")],
)
def test_a_fault_of_the_module_stays_its_own(name, arguments, says):
    with pytest.raises(TypeError, match=says):
        method(name)(arguments)


def test_right_arguments_reach_the_method():
    assert method("plain")({"images": [1], "note": "x"}) == ([1], 1, "x")
    assert method("passes_on")({"images": [1], "top_k": 5}) == ([1], 5, None)
    assert method("wrapped")({"text": "ab"}) == "abab"
    assert method("anything")({"a": 1}) == {"a": 1}
    pictures = method("with_pictures", given=1)
    assert pictures({"unit": "mm"}, [1, 2]) == (2, "mm")
    assert pictures.types == {"unit": "str"}
    assert CalledMethod(max).usage == ""
