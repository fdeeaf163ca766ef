import collections
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import types
import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ModuleFailed
from hubserve.instance.json_results import ResultEncoder


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Box:
    left: int
    label: str


def refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def encoded(value: Any, nan: str = "null") -> Any:
    return json.loads(ResultEncoder(nan).encode(value), parse_constant=refuse if nan != "token" else None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.arange(3), [0, 1, 2]),
        (np.bool_(True), True),
        ({2, 1}, [1, 2]),
        (frozenset({1}), [1]),
        (b"text", "text"),
        (bytearray(b"text"), "text"),
        (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        (datetime.timedelta(milliseconds=1500), 1.5),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Box(1, "cat"), {"left": 1, "label": "cat"}),
        (collections.deque([1, 2]), [1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (range(2), [0, 1]),
        ({"a": 1}.values(), [1]),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        (np.array(["2026-01-02", "NaT"], "M8[ns]"), ["2026-01-02T00:00:00.000000000", None]),
        (np.timedelta64(1500, "ms"), 1.5),
        ({np.int64(3): 1, np.int32(4): 2, 5: 3, True: 4}, {"3": 1, "4": 2, "5": 3, "true": 4}),
        ({Colour.RED: 1, datetime.date(2026, 1, 2): 2, np.float32(0.5): 3}, {"red": 1, "2026-01-02": 2, "0.5": 3}),
    ],
)
def test_values_that_have_one_meaning_in_json_are_json(value: Any, expected: Any) -> None:
    assert encoded(value) == expected
    assert encoded({"inside": [value]}) == {"inside": [expected]}
    assert encoded({"inside": [value], "beside": math.nan}) == {"inside": [expected], "beside": None}, "the same when values are walked"


NOT_FINITE = {"mean": np.float32("nan"), "list": [1.0, math.inf, -math.inf], "array": np.array([1, np.nan]), "deep": [{"x": (math.nan,)}]}


def test_numbers_that_are_not_finite_are_null() -> None:
    assert encoded(NOT_FINITE) == {"mean": None, "list": [1.0, None, None], "array": [1.0, None], "deep": [{"x": [None]}]}


def test_numbers_that_are_not_finite_fail_where_that_is_set_and_the_message_says_where() -> None:
    with pytest.raises(ModuleFailed, match=r"at \['deep'\]\[0\]\['x'\]\[0\]: it is nan"):
        encoded({**dict.fromkeys("ab", 1), "deep": NOT_FINITE["deep"]}, "error")


def test_numbers_that_are_not_finite_are_words_where_that_is_set() -> None:
    assert math.isnan(encoded({np.int64(1): math.nan}, "token")["1"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "object is not a JSON type"),
        ((each for each in [1]), "generator is not a JSON type.*collect"),
        (iter([1]), "collect"),
        ({(1, 2): 3}, "a key is a tuple"),
        (np.array([1j]), "real and imaginary"),
        (b"\xff", "base64"),
    ],
)
def test_values_that_are_not_json_are_refused_with_their_position_and_what_to_return(value: Any, message: str) -> None:
    with pytest.raises(ModuleFailed, match=message):
        encoded(value)
    with pytest.raises(ModuleFailed, match=r"\['boxes'\]\[1\]"):
        encoded({"boxes": [1, value]})


def test_values_as_deep_as_clients_may_send_are_walked() -> None:
    value: Any = math.nan
    for _ in range(400):
        value = {"a": [value]}
    assert ResultEncoder().encode(value) == b'{"a":[' * 400 + b"null" + b"]}" * 400


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(plain_json)
def test_json_values_are_written_as_the_standard_library_does(value: Any) -> None:
    assert ResultEncoder().encode(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


@given(plain_json)
def test_walking_a_value_changes_nothing_but_numbers_that_are_not_finite(value: Any) -> None:
    assert encoded([value, math.nan]) == [json.loads(json.dumps(value)), None]
