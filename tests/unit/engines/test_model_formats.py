"""The files that are models."""

from hubserve.engines.model_formats import FORMATS, KNOWN
from tests.conftest import ROOT


def test_messages_list_every_ending_of_the_table():
    assert KNOWN.startswith("*.onnx, Paddle's *.pdmodel, *.json or __model__, OpenVINO's *.xml, PyTorch's *.pt, *.pt2, ")
    assert all(f"*{ending}" in KNOWN for each in FORMATS.values() for ending in each.endings)


def test_the_architecture_names_the_files_that_hold_the_tables():
    table = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("## ")[0]
    named = {line.split("`")[1] for line in table.splitlines() if line.startswith("|") and "`hubserve/" in line}
    assert len(named) == 3
    for each in named:
        assert ' = {\n    "' in (ROOT / each).read_text("utf-8"), each
