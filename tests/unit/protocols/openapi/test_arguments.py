"""Schemas and examples of JSON requests."""

from pathlib import Path
from typing import Any

import pytest

from hubserve.gateway.dataplane import DataPlane, ModulePlan, ServedModule
from hubserve.kinds.base import ModuleInfo
from hubserve.kinds.description import Argument, Description, Interface
from hubserve.protocols.openapi.arguments import JsonRequest, request_of
from hubserve.protocols.openapi.examples import PICTURE, nested, zeros
from hubserve.vision.codecs import decode_picture


def request(
    *arguments: Argument, predict_args: "dict[str, Any] | None" = None, serving: str = "serve", **described: Any
) -> "JsonRequest | None":
    plan = ModulePlan(ModuleInfo("m", "1.0.0", "paddlehub", serving_method=serving), [], predict_args=predict_args or {})
    dataplane = DataPlane([plan])
    (module,) = dataplane
    assert isinstance(module, ServedModule)
    module.description = Description(interfaces=[Interface.JSON], arguments=arguments, **described)
    return request_of(module)


def of(*arguments: Argument, **described: Any) -> JsonRequest:
    found = request(*arguments, **described)
    assert found is not None
    return found


def test_examples_have_what_is_needed_and_the_defaults() -> None:
    made = of(Argument("images"), Argument("top_k", "int", False, "5"), Argument("path", "str", False, "null"), Argument("x", "int"))
    assert made.example == {"images": [PICTURE], "top_k": 5, "x": 1}
    assert made.schema["required"] == ["images", "x"]
    assert made.schema["properties"]["top_k"] == {"type": "integer", "default": 5}
    assert made.schema["properties"]["path"] == {"type": "string", "nullable": True}
    assert made.schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        (Argument("text"), "some text"),
        (Argument("text", "List[str]"), ["some text"]),
        (Argument("images", "str"), "some text"),
        (Argument("image", "List[str]"), [PICTURE]),
        (Argument("text_length", "int"), 1),
        (Argument("flag", "bool"), True),
        (Argument("options", "Dict[str, int]"), {}),
        (Argument("mode", "Literal['fast']"), "fast"),
        (Argument("rows", "List[List[float]]"), [[0.5]]),
    ],
)
def test_a_value_follows_from_name_and_annotation(argument: Argument, value: object) -> None:
    assert of(argument).example == {argument.name: value}


@pytest.mark.parametrize(
    "argument", [Argument("thing"), Argument("things", "list"), Argument("thing", "Any"), Argument("words", "List[Any]")]
)
def test_what_is_not_known_has_no_example(argument: Argument) -> None:
    assert of(argument).example is None


def test_a_default_that_does_not_agree_with_its_annotation_is_left_out() -> None:
    wrong = {
        "int": '"one"',
        "bool": "1",
        "float": "true",
        "Literal['x']": '"y"',
        "List[int]": "[true]",
        "Dict[str, int]": '{"a": "b"}',
        "str": "{",
        "List[str]": "[" * 50 + "]" * 50,
    }
    made = of(*(Argument(f"a{place}", each[0], False, each[1]) for place, each in enumerate(wrong.items())))
    assert made.example == {}
    assert not any("default" in each for each in made.schema["properties"].values())


def test_an_authors_example_comes_first_and_broken_json_counts_as_none() -> None:
    assert of(Argument("thing"), example='{"thing": [1]}').example == {"thing": [1]}
    for broken in ("{", "[" * 100 + "]" * 100, "NaN"):
        assert of(Argument("thing"), example=broken).example is None


def test_arguments_of_the_configuration_need_not_be_sent() -> None:
    made = of(Argument("text"), Argument("thing"), predict_args={"thing": 1})
    assert (made.schema["required"], made.example) == (["text"], {"text": "some text"})


def test_descriptions_of_arguments_come_from_the_docstring() -> None:
    doc = "Do.\n\nArgs:\n    a (int, optional): one <b>.\n    *rest: more\n    b: two\n:param str c: three\n:param d: four\n"
    made = of(*(Argument(name, "", False) for name in "abcde"), doc=doc)
    found = {name: each.get("description") for name, each in made.schema["properties"].items()}
    assert found == {"a": "one &lt;b&gt;.", "b": "two", "c": "three", "d": "four", "e": None}


def test_a_method_of_unknown_arguments_takes_any_and_one_without_a_method_takes_none() -> None:
    assert of(takes_any=True) == JsonRequest({"type": "object", "additionalProperties": True}, None)
    assert of(any_json=True, example="[1]").example == [1]
    assert request(serving="") is None


def test_the_picture_is_one_and_zeros_have_their_shape(tmp_path: Path) -> None:
    import base64

    assert decode_picture(base64.b64decode(PICTURE)).shape == (64, 64, 3)
    assert nested([1, 2, 3, 4, 5, 6], [1, 2, 3]) == [[[1, 2, 3], [4, 5, 6]]]
    assert nested([7], [1, 1]) == 7
    assert zeros("bool", [2]) == [False, False]
    assert zeros("bytes", [1]) == ["some text"]
    assert zeros("float32", [64, 65]) is None
