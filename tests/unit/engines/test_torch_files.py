"""Test the recognition of PyTorch's files without PyTorch: zips and pickles stand in for torch.save and torch.jit.save."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from hubserve.engines import EngineOptions, ModelFiles, load_engine
from hubserve.engines.torch_files import look_at
from hubserve.errors import LoadFailed

_LEGACY_HEAD = b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))


class Tensor:
    """Is pickled as a tensor is."""

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (0, (3, 3), (3, 1))


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names that such pickles refer to."""
    for name, member in (("torch._utils", "_rebuild_tensor_v2"), ("torch.nn.modules.linear", "Linear"), ("my.net", "Net")):
        module = types.ModuleType(name)
        made: Any = type(member, (), {"__module__": name, "__qualname__": member})
        if member.startswith("_"):

            def made(*_: Any) -> None: ...

            made.__module__, made.__qualname__, made.__name__ = name, member, member
        setattr(module, member, made)
        for part in (name.split(".")[0], ".".join(name.split(".")[:-1])):
            monkeypatch.setitem(sys.modules, part, sys.modules.get(part) or types.ModuleType(part))
        monkeypatch.setitem(sys.modules, name, module)


def saved(path: Path, held: Any, protocol: int = 2, legacy: bool = False) -> Path:
    data = pickle.dumps(held, protocol)
    if legacy:
        path.write_bytes(_LEGACY_HEAD + data)
        return path
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3")
    return path


def state_dict() -> Any:
    return OrderedDict([("conv1.weight", Tensor()), ("conv1.bias", Tensor())])


def module(name: str = "torch.nn.modules.linear", member: str = "Linear") -> Any:
    return getattr(sys.modules[name], member)()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_state_dict_is_recognized_by_the_names_of_its_weights(tmp_path: Path, legacy: bool, protocol: int) -> None:
    path = saved(tmp_path / "model.pt", state_dict(), protocol, legacy)
    assert look_at(path).form == "weights"
    with pytest.raises(LoadFailed, match=r"it is weights only \(conv1\.weight, conv1\.bias\).*as model\.py"):
        load_engine(ModelFiles(path, None), "pytorch")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_module_is_recognized_by_its_class(tmp_path: Path, legacy: bool) -> None:
    path = saved(tmp_path / "model.pt", module("my.net", "Net"), legacy=legacy)
    with pytest.raises(LoadFailed, match=r"it is a whole module that torch.save pickled \(class my\.net\.Net\)"):
        load_engine(ModelFiles(path, None), "pytorch")


def test_a_checkpoint_of_more_than_weights_is_recognized_as_weights(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pt", {"epoch": 3, "state": state_dict()})
    assert look_at(path).form == "weights"


def test_an_archive_of_torch_export_is_recognized(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    for entry, form in (
        ("models/model.json", "export"),
        ("data/aotinductor/model/x.so", "compiled"),
        ("data/aotinductor/model/x.cpp", "sources"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/archive_format", "pt2")
            archive.writestr(f"model/{entry}", "{}")
        assert look_at(path).form == form
    with pytest.raises(LoadFailed, match="a package of AOTInductor with sources in place of compiled code"):
        load_engine(ModelFiles(path, None), "pytorch")
    saved(path, state_dict())
    assert look_at(path).form == "unknown", "the zip that is within one that is cut short"


def test_safetensors_are_recognized_by_their_header(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    header = b'{"__metadata__":{},"fc.weight":{},"fc.bias":{}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert look_at(path) == ("weights", "fc.weight, fc.bias")
    for data in (b"", b"x", path.read_bytes()[:30], b"\xff" * 40):
        path.write_bytes(data)
        assert look_at(path).form == "unknown"
        with pytest.raises(LoadFailed, match="not a whole safetensors file"):
            load_engine(ModelFiles(path, None), "pytorch")


def test_torchscript_is_recognized(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"model/{name}", pickle.dumps(0, 2))
    assert look_at(path).form == "script"


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_of_a_pickle_is_run(tmp_path: Path, legacy: bool) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "run").touch, ())

    path = saved(tmp_path / "model.pt", [Harmful()], legacy=legacy)
    pickle.loads(pickle.dumps([Harmful()]))
    assert (tmp_path / "run").exists(), "it does something where it is opened"
    (tmp_path / "run").unlink()
    assert look_at(path).form in ("module", "object")
    with pytest.raises(LoadFailed):
        load_engine(ModelFiles(path, None), "pytorch", EngineOptions())
    assert not (tmp_path / "run").exists()


def test_every_piece_of_a_file_is_recognized_as_something(tmp_path: Path) -> None:
    for legacy in (False, True):
        whole = saved(tmp_path / "whole.pt", state_dict(), legacy=legacy).read_bytes()
        for length in range(0, len(whole), 7):
            (tmp_path / "cut.pt").write_bytes(whole[:length])
            assert look_at(tmp_path / "cut.pt").form in ("unknown", "weights", "object")
    stream = io.BytesIO(b"no model at all")
    (tmp_path / "cut.pt").write_bytes(stream.read())
    assert look_at(tmp_path / "cut.pt").form == "unknown"
