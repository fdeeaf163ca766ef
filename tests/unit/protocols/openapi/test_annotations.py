"""Schemas from annotations."""

import orjson
import pytest

from hubserve.protocols.openapi.annotations import schema_of

STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        ("str", STRING),
        ("typing.List[str]", {"type": "array", "items": STRING}),
        ("list[int]", {"type": "array", "items": INTEGER}),
        ("List", {"type": "array", "items": {}}),
        ("Sequence[List[float]]", {"type": "array", "items": {"type": "array", "items": NUMBER}}),
        ("Tuple[int, ...]", {"type": "array", "items": INTEGER}),
        ("Tuple[int, str]", {"type": "array", "items": {}}),
        ("Dict[str, float]", {"type": "object", "additionalProperties": NUMBER}),
        ("typing.Optional[int]", {**INTEGER, "nullable": True}),
        ("str | None", {**STRING, "nullable": True}),
        ("Union[int, float]", NUMBER),
        ("int | float | None", {**NUMBER, "nullable": True}),
        ("Union[int, str]", {}),
        ("Union[str, None]", {**STRING, "nullable": True}),
        ("Literal['a', 'b', 'a']", {"type": "string", "enum": ["a", "b"]}),
        ("Literal[1, 2]", {}),
        ("Annotated[int, 'from 1 up']", INTEGER),
        ("'List[int]'", {"type": "array", "items": INTEGER}),
        ("List['int']", {"type": "array", "items": INTEGER}),
        ("None", {"nullable": True}),
        ("Any", {}),
        ("numpy.ndarray", {}),
        ("bytes", {}),
        ("", {}),
    ],
)
def test_an_annotation_says_which_values_there_are(annotation: str, schema: object) -> None:
    assert schema_of(annotation) == schema


@pytest.mark.parametrize(
    "annotation",
    [
        "List[",
        "lambda: 1",
        "__import__('os').system('false')",
        "[" * 299,
        "-" * 299 + "1",
        "List[" * 59 + "int" + "]" * 5,
        "int" + "|int" * 60,
        "x" * 301,
        "\x00",
        "\ud800",
        "List[*a]",
        "f'{1}'",
        "Optional[()]",
        "Union[()]",
        "Dict[()]",
        "List[()]",
        "Literal[()]",
        r"Literal['\ud800']",
        "Annotated[()]",
        "'" + "\\'" * 100 + "'",
        "{" * 50 + "}" * 50,
    ],
)
def test_whatever_an_instance_sends_gives_a_schema(annotation: str) -> None:
    assert orjson.dumps(schema_of(annotation)).startswith(b"{")


def test_nested_annotations_end_at_some_depth() -> None:
    schema, depth = schema_of("List[" * 40 + "int" + "]" * 40), 0
    while schema:
        schema, depth = schema.get("items", {}), depth + 1
    assert depth < 20
