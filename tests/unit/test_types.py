from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hubserve.errors import InvalidInput, shown
from hubserve.types import ANY, DTYPES, REST, TensorSpec, array_from_bytes, check_inputs, pack_bytes, packed, parse_dtype, with_packed
from hubserve.wire.frames import pack_arrays, unpack_arrays
from tests.odd_arrays import SENDABLE, TEXTS, UNSENDABLE, values
from tests.odd_arrays import arrays as odd_arrays


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0))))
def test_any_array_survives_as_bytes_dtype_and_shape(array: np.ndarray) -> None:
    again = array_from_bytes(array.tobytes(), array.dtype.name, list(array.shape))
    assert again.dtype == array.dtype
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize(
    "dtype", ["object", "O", "V8", "S4", "<U3", "datetime64[s]", "complex64", ">f4", "float", "nope", "f4,i4", "", None, 4, ["float32"]]
)
def test_unusable_dtypes_are_refused(dtype: object) -> None:
    if dtype == "float":  # numpy's name for float64
        assert parse_dtype(dtype).name == "float64"
        return
    with pytest.raises(InvalidInput, match="dtype"):
        array_from_bytes(b"\0" * 8, dtype, [1])


@pytest.mark.parametrize("shape", [[-1], [2, -1], [1.0], ["1"], [True], 4, "4", None, {"a": 1}, [[1]], [1] * 33])
def test_unusable_shapes_are_refused(shape: object) -> None:
    with pytest.raises(InvalidInput, match="shape"):
        array_from_bytes(b"\0" * 4, "float32", shape)


@pytest.mark.parametrize("shape", [[0], [0, 3, 224, 224], [1 << 16, 0], [0, 1 << 31], [3, 0, 1 << 40]])
def test_an_empty_array_may_have_any_sensible_shape(shape: list[int]) -> None:
    assert array_from_bytes(b"", "float64", shape).shape == tuple(shape)


@pytest.mark.parametrize("shape", [[1 << 31, 0], [1, 1 << 17, 0, 3], [0, 1 << 62, 4], [0, 10**30], [10**30, 0]])
def test_a_shape_cannot_claim_many_items_without_bytes(shape: list[int]) -> None:
    with pytest.raises(InvalidInput, match="empty items"):
        array_from_bytes(b"", "float32", shape)


@pytest.mark.parametrize("shape", [[2], [0], [1 << 62, 4], [1 << 64]])
def test_a_shape_that_does_not_account_for_the_bytes_is_refused_also_where_64_bits_would_overflow(shape: list[int]) -> None:
    with pytest.raises(InvalidInput, match="needs .* bytes, but 4 came"):
        array_from_bytes(b"\0" * 4, "float32", shape)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((1, 3, 224), np.float32), r"shape \[-1, 3, 224, 224\] .*got \[1, 3, 224\]"),
        (np.zeros((1, 3, 225, 224), np.float32), r"got \[1, 3, 225, 224\]"),
        (np.zeros((1, 3, 224, 224), np.float64), "must be float32, got float64"),
        (np.zeros((0, 3, 224, 224), np.float32), "batch is empty"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_with_the_expected_and_the_actual_form(array: np.ndarray, words: str) -> None:
    spec = TensorSpec("x", "float32", (ANY, 3, 224, 224))
    with pytest.raises(InvalidInput, match=words):
        check_inputs([spec], {"x": array})


def test_names_and_counts_must_agree() -> None:
    specs = [TensorSpec("a", "float32", (ANY,)), TensorSpec("b", "float32", (ANY,))]
    one, two = np.zeros(1, np.float32), np.zeros(2, np.float32)
    assert check_inputs(specs, {"a": two, "b": two}) == 2
    with pytest.raises(InvalidInput, match="same number of items"):
        check_inputs(specs, {"a": one, "b": two})
    with pytest.raises(InvalidInput, match=r"must be \['a', 'b'\]"):
        check_inputs(specs, {"a": one, "c": one})


@given(odd_arrays([*SENDABLE, *TEXTS]))
def test_arrays_of_any_byte_order_and_layout_cross_the_wire_with_their_values(given: tuple[str, np.ndarray]) -> None:
    array = np.asarray(given[1])
    buffers: list[object] = []
    described = pack_arrays({"x": array}, buffers)
    again = unpack_arrays(described, [memoryview(each).cast("B") if memoryview(each).nbytes else memoryview(b"") for each in buffers])["x"]
    assert (values(again), again.shape) == (values(array), array.shape)
    assert again.dtype.isnative


@given(odd_arrays(UNSENDABLE, ["plain", "reversed", "no dimension"]))
def test_arrays_whose_elements_cannot_be_sent_are_refused_with_their_dtype(given: tuple[str, np.ndarray]) -> None:
    with pytest.raises(InvalidInput, match=r"an array of dtype .* cannot be sent; convert it with astype\(\) to one of bool, int8"):
        packed(given[1])


def test_objects_that_are_not_byte_strings_are_refused() -> None:
    with pytest.raises(InvalidInput, match="holds a float"):
        packed(np.array([b"a", 1.5], object))


def test_a_shape_may_end_in_any_further_dimensions() -> None:
    spec = TensorSpec("x", "float32", (ANY, 3, REST))
    for shape in ((2, 3), (1, 3, 4, 5)):
        spec.check(np.zeros(shape, np.float32))
    TensorSpec("x", "float32", (REST,)).check(np.float32(1))
    for shape in ((2,), (2, 4), (2, 4, 3)):
        with pytest.raises(InvalidInput, match="-2: any further dimensions"):
            spec.check(np.zeros(shape, np.float32))
    assert TensorSpec.from_json(spec.to_json()) == spec


# a quote decides which quotes Python writes around a text, and may be behind its shown beginning
letters = st.characters(codec="utf-8", exclude_characters="'")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(letters),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(letters, max_size=5), inner, max_size=30),
    max_leaves=60,
)


@given(json_values, st.integers(1, 100))
def test_the_beginning_of_a_value_is_that_of_its_text(value: object, length: int) -> None:
    assert shown(value, length) == str(value)[:length]


def test_the_beginning_of_a_huge_value_takes_no_longer_than_that_of_a_small_one() -> None:
    class Counting(list[int]):
        taken = 0

        def __iter__(self) -> Iterator[int]:
            for each in super().__iter__():
                self.taken += 1
                yield each

    many = Counting(range(100_000))
    assert shown(many) == str(list(range(100)))[:80]
    assert many.taken < 100
    assert len(shown([[[["x" * 1_000_000] * 1000] * 1000] * 1000])) == 80


def test_byte_strings_with_their_packed_form_need_not_be_packed() -> None:
    array = np.array([b"a", b"bc"], object)
    whole = memoryview(pack_bytes(array))
    assert pack_bytes(with_packed(array, whole)) is whole
    assert pack_bytes(with_packed(array, whole)[:1]) == pack_bytes(array[:1])
