"""Legacy .pth files: what is in a good one, and that a bad one can do nothing."""

import importlib
import io
import pickle
import struct
import sys
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import LoadFailed
from tests.conftest import ROOT

sys.path.append(str(ROOT / "tools"))
torch_file = importlib.import_module("torch_file")
default_classifier = importlib.import_module("default_classifier")


class Storage:
    """A storage to be written: its key, its type and its elements."""

    def __init__(self, key: str, type_name: str, elements: np.ndarray, claimed: Any = None) -> None:
        self.key, self.type_name, self.elements = key, type_name, elements
        self.claimed = len(elements) if claimed is None else claimed


class Tensor:
    """A tensor to be written."""

    def __init__(self, storage: Storage, offset: int, size: Any, stride: Any) -> None:
        self.arguments = (storage, offset, size, stride, False, OrderedDict())

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Writer(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Storage):
            return "storage", getattr(sys.modules["torch"], obj.type_name), obj.key, "cpu", obj.claimed, None
        return None


def dumped(obj: Any) -> bytes:
    stream = io.BytesIO()
    Writer(stream, protocol=2).dump(obj)
    return stream.getvalue()


def begin(little_endian: bool = True) -> bytes:
    machine = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    return b"".join(map(dumped, (0x1950A86A20F9469CFC6C, 1001, machine)))


def elements_of(storage: Storage) -> bytes:
    return struct.pack("<q", len(storage.elements)) + storage.elements.tobytes()


def legacy_file(tensors: Any, *storages: Storage) -> bytes:
    keys = [storage.key for storage in storages]
    return begin() + dumped(tensors) + dumped(keys) + b"".join(map(elements_of, storages))


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names for the pickler to write: it refers to things by module and name, and sees that they are there."""
    root, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "ComplexFloatStorage"):
        setattr(root, name, type(name, (), {"__module__": "torch"}))

    def rebuild(*_: Any) -> None: ...

    rebuild.__module__, rebuild.__qualname__, rebuild.__name__ = "torch._utils", "_rebuild_tensor_v2", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]  # a module made here has no attributes yet
    monkeypatch.setitem(sys.modules, "torch", root)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], dict[str, np.ndarray]]:
    def written_and_read(data: bytes) -> dict[str, np.ndarray]:
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        result: dict[str, np.ndarray] = torch_file.read_state_dict(path)
        return result

    return written_and_read


Read = Callable[[bytes], dict[str, np.ndarray]]
FLOATS = np.arange(12, dtype="<f4")


def small() -> bytes:
    floats, count = Storage("111", "FloatStorage", FLOATS), Storage("222", "LongStorage", np.array([7], "<i8"))
    return legacy_file(OrderedDict(w=Tensor(floats, 0, (3, 4), (4, 1)), n=Tensor(count, 0, (), ())), floats, count)


def test_the_published_weights_have_the_names_shapes_and_values_of_efficientnet_lite0() -> None:
    arrays = torch_file.read_state_dict(default_classifier.weights_file())
    assert len(arrays) == 296
    shapes = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    assert shapes["_conv_stem.weight"] == ((32, 3, 3, 3), "float32")
    assert shapes["_blocks.1._depthwise_conv.weight"] == ((96, 1, 3, 3), "float32")
    assert shapes["_blocks.15._bn2.running_var"] == ((320,), "float32")
    assert shapes["_bn0.num_batches_tracked"] == ((), "int64")
    assert shapes["_fc.weight"] == ((1000, 1280), "float32")
    assert all(np.isfinite(array).all() and array.flags.c_contiguous for array in arrays.values())
    assert all((array >= 0).all() for name, array in arrays.items() if name.endswith("running_var"))


def test_tensors_are_read_through_offsets_strides_and_shared_storages(read: Read) -> None:
    storage = Storage("1", "FloatStorage", FLOATS)
    tensors = OrderedDict(
        whole=Tensor(storage, 0, (3, 4), (4, 1)),
        transposed=Tensor(storage, 0, (4, 3), (1, 4)),
        middle=Tensor(storage, 5, (2,), (1,)),
        scalar=Tensor(storage, 11, (), ()),
        empty=Tensor(storage, 0, (0, 4), (4, 1)),
    )
    arrays = read(legacy_file(tensors, storage))
    expected = FLOATS.reshape(3, 4)
    assert list(arrays) == ["whole", "transposed", "middle", "scalar", "empty"]
    assert np.array_equal(arrays["whole"], expected)
    assert np.array_equal(arrays["transposed"], expected.T)
    assert arrays["middle"].tolist() == [5, 6]
    assert arrays["scalar"] == 11
    assert arrays["empty"].shape == (0, 4)
    arrays["whole"][:] = 0
    assert arrays["middle"].tolist() == [5, 6], "the arrays are copies of their own"


def calling(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls ``module.name(argument)``."""
    text = argument.encode()
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"X" + struct.pack("<I", len(text)) + text + b"\x85R."


@pytest.mark.parametrize(
    ("module", "name", "argument"),
    [
        ("os", "system", "touch '{}'"),
        ("posix", "system", "touch '{}'"),
        ("builtins", "eval", "open('{}', 'w')"),
        ("__builtin__", "eval", "open('{}', 'w')"),
        ("subprocess", "getoutput", "touch '{}'"),
        ("pathlib", "Path.touch", "{}"),
        ("collections", "OrderedDict.fromkeys", "{}"),
        ("torch", "load", "{}"),
        ("torch.nn.modules", "Linear", "{}"),
        ("torch._utils", "_rebuild_parameter", "{}"),
        ("numpy", "fromfile", "{}"),
    ],
)
@pytest.mark.parametrize("place", ["magic", "object", "keys"])
def test_a_pickle_that_calls_anything_else_is_refused_and_nothing_is_run(
    read: Read, tmp_path: Path, module: str, name: str, argument: str, place: str
) -> None:
    marker = tmp_path / "it was run"
    hostile = calling(module, name, argument.format(marker))
    data = {"magic": hostile + small(), "object": begin() + hostile + dumped([]), "keys": begin() + dumped({}) + hostile}[place]
    if place == "keys":  # a good object before it, so that the keys are reached
        storage = Storage("1", "FloatStorage", FLOATS)
        data = begin() + dumped({"w": Tensor(storage, 0, (12,), (1,))}) + hostile
    with pytest.raises(LoadFailed, match=r"which no file of tensors needs; nothing was run"):
        read(data)
    assert not marker.exists()


def test_the_same_pickle_does_run_where_pickles_are_trusted(tmp_path: Path) -> None:
    marker = tmp_path / "it was run"
    pickle.loads(calling("os", "system", f"touch '{marker}'"))
    assert marker.exists(), "the test above would see it"


@pytest.mark.parametrize(
    ("code", "instruction"),
    [
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "SHORT_BINUNICODE"),
        (b"\x80\x02(ios\nsystem\n.", "INST"),
        (b"\x80\x02(cos\nsystem\no.", "OBJ"),
        (b"\x80\x02cos\nsystem\n)\x81.", "NEWOBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x02Psystem\n.", "PERSID"),
    ],
)
def test_instructions_that_no_tensor_file_has_are_refused_before_any_of_them_runs(read: Read, code: bytes, instruction: str) -> None:
    with pytest.raises(LoadFailed, match=f"uses the instruction {instruction}"):
        read(begin() + code)


def test_a_memo_number_that_would_take_gigabytes_is_refused(read: Read) -> None:
    with pytest.raises(LoadFailed, match="numbers more objects than it can hold"):
        read(begin() + b"\x80\x02}r\xff\xff\xff\x7f.")


def test_attributes_cannot_be_put_on_the_stand_ins(read: Read) -> None:
    rebuild, change = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n", b"(N}X\x01\x00\x00\x00a"
    with pytest.raises(LoadFailed, match="does not describe a dict of tensors"):
        read(begin() + rebuild + change + b"K\x01stb.")
    assert not hasattr(torch_file._ALLOWED["torch._utils", "_rebuild_tensor_v2"], "a")


def test_every_shorter_piece_of_a_good_file_is_refused(read: Read) -> None:
    whole = small()
    assert set(read(whole)) == {"w", "n"}
    for length in range(len(whole)):
        with pytest.raises(LoadFailed):
            read(whole[:length])


def test_a_file_with_any_byte_changed_is_read_or_refused_but_breaks_nothing(read: Read) -> None:
    whole, refused = small(), 0
    for place in range(len(whole)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(whole)
            damaged[place] ^= change
            try:
                read(bytes(damaged))
            except LoadFailed:
                refused += 1
    assert refused > len(whole), "most of the file is structure"


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((13,), (1,), 0),
        ((12,), (1,), 1),
        ((2, 4), (12, 1), 0),
        ((1 << 40,), (0,), 0),
        ((1 << 31, 1 << 31), (0, 0), 0),
        ((2,), (-1,), 1),
        ((-1,), (1,), 0),
        ((2,), (1,), -1),
        ((2,), (1, 1), 0),
        ((True,), (1,), 0),
        ([2], (1,), 0),
        ((None,), (1,), 0),
        ((1,) * 33, (1,) * 33, 0),
    ],
)
def test_tensors_that_reach_beyond_their_storage_are_refused(read: Read, size: Any, stride: Any, offset: int) -> None:
    storage = Storage("1", "FloatStorage", FLOATS)
    with pytest.raises(LoadFailed, match="reaches beyond its storage|impossible offset, size or stride"):
        read(legacy_file({"w": Tensor(storage, offset, size, stride)}, storage))


@pytest.mark.parametrize("claimed", [13, 1 << 40, 1 << 61])
def test_a_storage_that_claims_more_than_the_file_holds_is_refused(read: Read, claimed: int) -> None:
    storage = Storage("1", "FloatStorage", FLOATS, claimed)
    with pytest.raises(LoadFailed, match="ends within storage '1'"):
        read(legacy_file({"w": Tensor(storage, 0, (2,), (1,))}, storage))


def test_a_storage_whose_two_lengths_differ_is_refused(read: Read) -> None:
    storage = Storage("1", "FloatStorage", FLOATS, 11)
    with pytest.raises(LoadFailed, match="does not have the 11 elements"):
        read(legacy_file({"w": Tensor(storage, 0, (2,), (1,))}, storage))


def test_bytes_after_the_last_storage_are_refused(read: Read) -> None:
    with pytest.raises(LoadFailed, match="3 bytes follow its last storage"):
        read(small() + b"abc")


def test_a_storage_that_is_described_in_two_ways_is_refused(read: Read) -> None:
    one, two = Storage("1", "FloatStorage", FLOATS), Storage("1", "FloatStorage", FLOATS, 3)
    with pytest.raises(LoadFailed, match="in two ways"):
        read(legacy_file({"a": Tensor(one, 0, (2,), (1,)), "b": Tensor(two, 0, (2,), (1,))}, one))


def test_storages_that_are_missing_from_the_list_or_only_there_are_refused(read: Read) -> None:
    one, two = Storage("1", "FloatStorage", FLOATS), Storage("2", "FloatStorage", FLOATS)
    tensors = {"a": Tensor(one, 0, (2,), (1,))}
    for listed in ([], [one, two], [two], [one, one]):
        with pytest.raises(LoadFailed, match="list of storages"):
            read(legacy_file(tensors, *listed))


@pytest.mark.parametrize("held", [{}, [1, 2], 5, {"a": 5}, {5: None}, {"nested": {"a": 1}}])
def test_a_file_that_holds_no_named_tensors_is_refused(read: Read, held: Any) -> None:
    with pytest.raises(LoadFailed, match="does not hold a dict of named tensors"):
        read(legacy_file(held))


def test_other_formats_are_refused_by_name(read: Read, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="_use_new_zipfile_serialization=False"):
        read(b"PK\x03\x04 and so on")
    with pytest.raises(LoadFailed, match="as a legacy PyTorch file"):
        read(b"")
    with pytest.raises(LoadFailed, match="magic and protocol numbers"):
        read(dumped(1) + dumped(1001))
    with pytest.raises(LoadFailed, match="little-endian"):
        read(begin(little_endian=False))
    storage = Storage("1", "ComplexFloatStorage", FLOATS)
    with pytest.raises(LoadFailed, match="ComplexFloatStorage"):
        read(legacy_file({"w": Tensor(storage, 0, (2,), (1,))}, storage))
    with pytest.raises(LoadFailed, match="cannot read .*No such file"):
        torch_file.read_state_dict(tmp_path / "none.pth")
