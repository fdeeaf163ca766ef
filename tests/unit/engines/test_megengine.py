"""MegEngine's files as far as they go without MegEngine: damaged heads, Lite's words, and which lengths may vary."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from hubserve.engines.base import EngineOptions, ModelFiles, Signature
from hubserve.engines.failures import loading
from hubserve.engines.megengine import MegEngineEngine
from hubserve.engines.megengine_lengths import _Search, open_lengths, wished_axes
from hubserve.engines.megengine_network import _by_numbers, check_length, plainly
from hubserve.engines.selection import is_installed
from hubserve.errors import LoadFailed, MissingDependency
from hubserve.types import TensorSpec

Arrays = Mapping[str, np.ndarray]
BACKTRACE = "\n\nbacktrace:\n/opt/libmegengine_shared.so(_ZN3mgb13MegBrainErrorC1ERKSs+0x4a) [0x7f0238a4686a]\n, Error Code: 1"


def dumped(path: Path, size: int, says: int) -> Path:
    path.write_bytes(struct.pack("<I4x4s", says - 4, b"mgv2").ljust(size, b"\0"))
    return path


@pytest.mark.parametrize(("size", "words"), [(90, "cut short: it has 90 of 100 bytes"), (110, "damaged: it has 110 of 100 bytes")])
def test_a_file_of_another_length_than_its_head_says_is_refused(size: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=words):
        check_length(dumped(tmp_path / "model.mge", size, 100))


def test_whole_files_and_those_that_do_not_say_their_length_pass(tmp_path: Path) -> None:
    check_length(dumped(tmp_path / "model.mge", 100, 100))
    (tmp_path / "old.mge").write_bytes(b"MGB_" + bytes(40))
    check_length(tmp_path / "old.mge")


def test_empty_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.mge").touch()
    with pytest.raises(LoadFailed, match="is empty"):
        check_length(tmp_path / "empty.mge")
    with pytest.raises(LoadFailed, match="No such file"):
        check_length(tmp_path / "missing.mge")


@pytest.mark.skipif(is_installed("megengine"), reason="MegEngine is installed in this Python")
def test_without_megengine_the_error_says_how_to_have_it(tmp_path: Path) -> None:
    with pytest.raises(MissingDependency, match="hub env build megengine"):
        MegEngineEngine(ModelFiles(dumped(tmp_path / "model.mge", 100, 100), None), EngineOptions())


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("Error: invalid model format, Error Code: 1", "invalid model format"),
        ("model verification failed (invalid or corrupted model?)" + BACKTRACE, "model verification failed (invalid or corrupted model?)"),
        (
            "assertion `A1 == B0' failed at /home/code/matrix_mul.cpp:70: void f(int)\nextra message: shape mismatch in matmal" + BACKTRACE,
            "shape mismatch in matmal",
        ),
        (
            "assertion `m_refhold && size' failed at /home/code/file.cpp:138: f::f(int, bool)" + BACKTRACE,
            "assertion `m_refhold && size' failed",
        ),
    ],
)
def test_lites_words_lose_their_backtrace_and_their_place(said: str, plain: str) -> None:
    assert plainly(said) == plain


def test_a_file_for_a_gpu_is_explained() -> None:
    with pytest.raises(LoadFailed, match="dumped for a GPU"), loading("megengine", ModelFiles(Path("/m/model.mge"), None)):
        raise RuntimeError("request gpu-1024 out of valid range [0, 0)")


def test_numbered_names_are_sorted_by_number() -> None:
    assert sorted(["arg_10", "arg_2", "arg_0", "data"], key=_by_numbers) == ["arg_0", "arg_2", "arg_10", "data"]


def spec(name: str, *shape: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def opened(
    inputs: list[TensorSpec], outputs: list[TensorSpec], compute: Callable[[Arrays], list[np.ndarray]], signature: Signature | None = None
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    search = _Search(inputs, outputs, compute)
    found = open_lengths(search, search.has_batch(), wished_axes(inputs, signature))
    return [each.shape for each in found[0]], [each.shape for each in found[1]]


def test_the_batch_is_open_where_items_are_independent() -> None:
    assert opened([spec("x", 1, 3)], [spec("y", 1, 1)], lambda a: [a["x"].sum(axis=1, keepdims=True)]) == ([(-1, 3)], [(-1, 1)])


def test_the_batch_is_fixed_where_items_affect_one_another() -> None:
    assert opened([spec("x", 4, 3)], [spec("y", 4, 3)], lambda a: [a["x"] - a["x"].mean(axis=0)]) == ([(4, 3)], [(4, 3)])


def test_the_batch_is_fixed_where_an_output_has_no_items() -> None:
    assert opened([spec("x", 1, 3)], [spec("y", 1)], lambda a: [a["x"].sum(keepdims=True)[0]]) == ([(1, 3)], [(1,)])


def test_the_batch_is_fixed_where_the_network_refuses_another() -> None:
    def compute(arrays: Arrays) -> list[np.ndarray]:
        if len(arrays["x"]) != 1:
            raise RuntimeError("number of elements do not match in reshape")
        return [arrays["x"]]

    assert opened([spec("x", 1, 3)], [spec("y", 1, 3)], compute) == ([(1, 3)], [(1, 3)])


def test_pictures_have_any_size_and_outputs_follow() -> None:
    pixels = spec("pixels", 1, 8, 6, 3, dtype="uint8")
    colours = opened([pixels], [spec("colour", 1, 3)], lambda a: [a["pixels"].mean(axis=(1, 2))])
    assert colours == ([(-1, -1, -1, 3)], [(-1, 3)])
    same = opened([pixels], [spec("image", 1, 8, 6, 3)], lambda a: [a["pixels"] * 2.0])
    assert same == ([(-1, -1, -1, 3)], [(-1, -1, -1, 3)])


def test_one_picture_without_a_batch_has_any_size() -> None:
    pixels = spec("pixels", 8, 6, 3, dtype="uint8")
    assert opened([pixels], [spec("colour", 3)], lambda a: [a["pixels"].mean(axis=(0, 1))]) == ([(-1, -1, 3)], [(3,)])


def test_pictures_have_the_dumped_size_where_the_network_takes_no_other() -> None:
    weights = np.random.default_rng(0).random((8 * 6 * 3, 2))

    def compute(arrays: Arrays) -> list[np.ndarray]:
        flat = arrays["pixels"].reshape(len(arrays["pixels"]), -1)
        if flat.shape[1] != len(weights):
            raise RuntimeError("shape mismatch in matmul")
        return [flat @ weights]

    assert opened([spec("pixels", 1, 8, 6, 3, dtype="uint8")], [spec("y", 1, 2)], compute) == ([(-1, 8, 6, 3)], [(-1, 2)])


def test_other_lengths_are_open_only_where_a_configuration_asks_for_them() -> None:
    def compute(arrays: Arrays) -> list[np.ndarray]:
        return [arrays["data"].mean(axis=(2, 3))]

    inputs, outputs = [spec("data", 1, 3, 8, 8)], [spec("y", 1, 3)]
    assert opened(inputs, outputs, compute) == ([(-1, 3, 8, 8)], [(-1, 3)])
    for name, shape in (("data", (-1, 3, -1, -1)), ("INPUT_0", (3, -1, -1))):
        assert opened(inputs, outputs, compute, Signature([spec(name, *shape)], [])) == ([(-1, 3, -1, -1)], [(-1, 3)])


def test_integers_are_small_because_they_may_be_indices() -> None:
    table = np.random.default_rng(0).random((2, 4))
    assert opened([spec("ids", 1, 5, dtype="int32")], [spec("y", 1, 5, 4)], lambda a: [table[a["ids"]]]) == ([(-1, 5)], [(-1, 5, 4)])
