"""Test the check of archives of torch.export, which needs no PyTorch."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hubserve.engines.torch_archive import check_archive, write_for_cpu
from hubserve.errors import LoadFailed

CUDA = {"device": {"type": "cuda", "index": 0}}


def archive(path: Path, document: Any) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("model/models/model.json", json.dumps(document))
        made.writestr("model/data/weights/weight_0", b"1234")
    return path


@pytest.mark.parametrize(
    "document",
    [
        {"target": "torch.ops.aten.linear.default"},
        {"target": "torch.ops.aten.__and__.Tensor"},
        {"target": "torch.ops.higher_order.cond"},
        {"target": "_operator.mul"},
        {"target": "torch.sym_max"},
        {"target": "math.sqrt"},
        {"expr_str": "Symbol('s0', positive=True, integer=True)"},
        {"expr_str": "2*s0 + Max(1, s1) - FloorDiv(s0, 2)"},
        {
            "guards_code": [
                "L['batch']['the image'].size()[0] == L['extra']['a'][0].size()[0]",
                "2 <= L['x'].size()[1] and L['x'].dtype == torch.float32",
            ]
        },
    ],
)
def test_a_graph_of_operators_passes(tmp_path: Path, document: Any) -> None:
    assert check_archive(archive(tmp_path / "model.pt2", {"nodes": [document, CUDA]})) == ["cuda"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"target": "torch.os.system"}, "the name 'torch.os.system' in place of an operator"),
        ({"target": "torch.load"}, "in place of an operator"),
        ({"target": "torch.ops.load_library"}, "in place of an operator"),
        ({"target": "torch.ops.load_library.__call__"}, "in place of an operator"),
        ({"target": "_operator.methodcaller"}, "in place of an operator"),
        ({"as_operator": "torch.hub.load"}, "in place of an operator"),
        ({"expr_str": "__import__('os').system('id')"}, "in place of a size"),
        ({"expr_str": "exec('id')"}, "in place of a size"),
        ({"expr_str": "s0.__class__"}, "in place of a size"),
        ({"expr_str": "(lambda: 1)()"}, "in place of a size"),
        ({"expr_str": "[x for x in y]"}, "in place of a size"),
        ({"expr_str": "S('open(1)')"}, "in place of a size"),
        ({"expr_str": "("}, "in place of a size"),
        ({"guards_code": ["L['x'].size()[0] == 1, print(1)"]}, "in place of a size"),
        ({"guards_code": ["torch.os.system('id')"]}, "in place of a size"),
        ({"guards_code": ["1) or exit(("]}, "in place of a size"),
        ({"path_name": "opaque_obj_0"}, "a pickled object in model.json"),
        ({"in_spec": '{"context": {"__enum__": true, "fqn": "os:x"}}'}, "which import code by name"),
    ],
)
def test_anything_else_is_refused_before_pytorch_reads_it(tmp_path: Path, document: Any, reason: str) -> None:
    with pytest.raises(LoadFailed, match="was not opened: it holds") as caught:
        check_archive(archive(tmp_path / "model.pt2", {"deep": [{"er": document}]}))
    assert reason in caught.value.message


def test_a_description_of_another_ending_is_checked_too(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.pt2", {})
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("model/models/other.text", '{"target": "torch.os.system"}')
    with pytest.raises(LoadFailed, match="in place of an operator"):
        check_archive(path)


def test_every_piece_of_an_archive_is_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "model.pt2", {"target": "math.sqrt"}).read_bytes()
    for length in range(0, len(whole) - 1, 5):
        (tmp_path / "cut.pt2").write_bytes(whole[:length])
        with pytest.raises(LoadFailed, match="is damaged or cut short"):
            check_archive(tmp_path / "cut.pt2")


def test_an_archive_of_a_gpu_is_written_for_the_cpu(tmp_path: Path) -> None:
    path = archive(tmp_path / "model.pt2", {"a": [CUDA, {"as_device": CUDA["device"]}]})
    write_for_cpu(path, tmp_path / "cpu.pt2")
    assert check_archive(tmp_path / "cpu.pt2") == ["cpu"]
    with zipfile.ZipFile(tmp_path / "cpu.pt2") as made:
        assert b"cuda" not in made.read("model/models/model.json")
        assert made.read("model/data/weights/weight_0") == b"1234"
