"""Test the messages about a method's arguments, and which failures are the client's."""

import functools
import inspect
import json
from typing import Any, Dict, List, Optional  # noqa: UP035 - as old modules write them

import pytest

from hubserve.errors import WrongArguments
from hubserve.gateway.instances.frame_checks import check_answer
from hubserve.kinds.called_methods import CalledMethod
from hubserve.kinds.description import Argument, Description
from hubserve.wire.frames import WireError


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


def test_the_description_of_the_server_gets_arguments_and_docstring():
    def serve(images, texts: list[str] = ("a",), top: int | None = None, *, odd=object(), nan=float("nan"), long="x" * 3000, **rest):  # noqa: B008
        """Do it.

        At once.
        """

    called = CalledMethod(serve)
    assert called.arguments == [
        Argument("images"),
        Argument("texts", "list[str]", False, '["a"]'),
        Argument("top", "int | None", False, "null"),
        Argument("odd", "", False),
        Argument("nan", "", False),
        Argument("long", "", False),
    ]
    assert called.takes_any
    assert called.doc == "Do it.\n\nAt once."


def test_what_the_gateway_would_refuse_is_cut():
    def serve(**rest):
        pass

    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation="x" * 301)
        for name in ("n" * 201, *map("a{}".format, range(300)))
    ]
    serve.__signature__ = inspect.Signature(parameters)
    serve.__doc__ = "\ud800" * 9000
    called = CalledMethod(serve)
    assert len(called.arguments) == 256
    assert {each.annotation for each in called.arguments} == {""}
    assert called.doc == "?" * 8000
    described = Description(interfaces=["json"], arguments=called.arguments, doc=called.doc, takes_any=True, example='{"a": 1}')
    check_answer({"op": "load"}, {"op": "loaded", "description": described.to_json(), "times": []})
    assert Description.from_json(json.loads(json.dumps(described.to_json()))).arguments == called.arguments


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("arguments", [["a", "", True]]),
        ("arguments", [["a", "x" * 301, True, ""]]),
        ("arguments", [["a", "", True, ""]] * 257),
        ("doc", "x" * (17 << 10)),
        ("example", "x" * (65 << 10)),
        ("example", {}),
        ("takes_any", 1),
    ],
)
def test_a_description_beyond_the_bounds_ends_its_instance(field, value):
    described = {**Description(interfaces=["json"]).to_json(), field: value}
    with pytest.raises(WireError, match="malformed"):
        check_answer({"op": "load"}, {"op": "loaded", "description": described, "times": []})


def test_a_default_whose_text_cannot_be_made_is_named_by_its_class() -> None:
    class Mute:
        def __repr__(self):
            raise RuntimeError("not now")

    def method(text, extra=Mute()):  # noqa: B008 - as modules have it
        return text

    assert "optionally extra (Mute, whose text cannot be read)" in CalledMethod(method).usage
