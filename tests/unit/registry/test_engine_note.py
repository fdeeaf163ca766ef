"""``hub show`` prints the engine that a module was served with last."""

import json
from pathlib import Path
from typing import Any

import pytest

from hubserve.cli import main
from hubserve.registry.engine_note import note_engine, read_engine_note
from hubserve.registry.installer import Installer
from hubserve.registry.resolve import resolve
from tests.unit.registry.toys import write_module

MEASURED = {
    "date": "2026-11-21",
    "threads": 1,
    "reference": "paddle",
    "tolerance": 1e-4,
    "engines": {
        "onnxruntime": {"ms_per_item": {"1": 9.44, "8": 10.1}, "difference": 1e-6},
        "openvino": {"ms_per_item": {}, "left_out": "its process was ended by signal 11."},
        "paddle": {"ms_per_item": {"1": 31.25, "8": 25.46}, "difference": 0.0},
    },
}
ENGINE: dict[str, Any] = {"name": "onnxruntime", "reason": "auto: onnxruntime, because", "threads": 1, "measured": MEASURED}


def installed(tmp_path: Path) -> Any:
    Installer().install(write_module(tmp_path / "src"), check=False)
    return resolve("toy")


def show(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["show", *words]) == 0
    return capsys.readouterr().out


def engine_line(shown: str) -> str:
    """The engine's fact, unfolded."""
    return " ".join(shown.partition("\nEngine ")[2].split())


def test_a_module_that_was_never_served_has_no_engine_note(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    installed(tmp_path)
    assert "Engine" not in show(capsys, "toy")
    assert json.loads(show(capsys, "toy", "--json"))["engine"] is None


def test_the_choice_is_shown_with_its_figures(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = installed(tmp_path)
    note_engine(found.info, found.folder, ENGINE)
    assert engine_line(show(capsys, "toy")) == (
        "onnxruntime (chosen by measuring on 2026-11-21: onnxruntime 9.44, paddle 25.5 ms per item at best with 1 thread; "
        "not openvino: its process was ended by signal 11)"
    )
    shown = json.loads(show(capsys, "toy", "--json"))["engine"]
    assert shown.pop("noted_at").startswith("20")
    assert shown == ENGINE


@pytest.mark.parametrize(
    "engine",
    [
        {"name": "own", "reason": "asked for by name"},
        {"name": "own", "reason": "asked for by name", "measured": None},
        {"name": "own", "reason": "asked for by name", "measured": {"date": "2026-11-21"}},
        {"name": "own", "reason": "asked for by name", "measured": {"date": "2026-11-21", "threads": 1, "engines": {"x": {}}}},
        {"name": "own", "reason": "asked for by name", "measured": "yes"},
    ],
)
def test_an_engine_that_was_not_measured_is_shown_with_its_reason(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: dict[str, Any]
) -> None:
    found = installed(tmp_path)
    note_engine(found.info, found.folder, engine)
    assert engine_line(show(capsys, "toy")) == "own (asked for by name)"


def test_a_note_counts_for_these_files_in_this_place_only(home: Path, tmp_path: Path) -> None:
    found = installed(tmp_path)
    note_engine(found.info, found.folder, ENGINE)
    assert read_engine_note(found.info, tmp_path / "src") is None
    Installer().install(write_module(tmp_path / "src", extra="CHANGED = True"), check=False)
    again = resolve("toy")
    assert again.folder == found.folder
    assert read_engine_note(again.info, again.folder) is None


def test_a_folder_that_is_not_installed_has_its_own_note(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_module(tmp_path / "src")
    note_engine(resolve(str(folder)).info, folder, ENGINE)
    assert engine_line(show(capsys, str(folder))).startswith("onnxruntime (chosen by measuring")


def test_a_module_that_no_longer_reports_an_engine_loses_its_note(home: Path, tmp_path: Path) -> None:
    found = installed(tmp_path)
    note_engine(found.info, found.folder, None)
    note_engine(found.info, found.folder, ENGINE)
    note_engine(found.info, found.folder, None)
    assert read_engine_note(found.info, found.folder) is None


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "noted_at": "", "engine": 7}', '{"schema": 9, "noted_at": "", "engine": {}}']
)
def test_a_damaged_note_is_none(home: Path, tmp_path: Path, damage: str) -> None:
    found = installed(tmp_path)
    note_engine(found.info, found.folder, ENGINE)
    (path,) = (home / "cache" / "choices").iterdir()
    path.write_text(damage)
    assert read_engine_note(found.info, found.folder) is None


def test_a_home_that_cannot_be_written_stays_without_the_note(home: Path, tmp_path: Path) -> None:
    found = installed(tmp_path)
    (home / "cache").write_text("a file where a folder belongs")
    note_engine(found.info, found.folder, ENGINE)
    assert read_engine_note(found.info, found.folder) is None
