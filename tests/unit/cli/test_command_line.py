"""The command line: output, streams and exit statuses."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hubserve import __version__, cli
from hubserve.cli import COMMANDS, main, make_parser
from hubserve.cli.output import size_text
from hubserve.cli.serving_flags import settings_from_flags
from hubserve.cli.tables import print_facts, print_table
from tests.conftest import MODULES, ROOT, hub
from tests.unit.registry.toys import write_module


@pytest.mark.parametrize("words", [[], ["help"], ["-h"], ["--help"]])
def test_without_a_command_the_help_lists_them_all(words: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    by_itself = capsys.readouterr().out
    assert by_itself.startswith(f"usage: hub {name}")
    assert main(["help", name]) == 0
    assert capsys.readouterr().out == by_itself


@pytest.mark.parametrize(("word", "meant"), [("instal", "install"), ("lst", "list"), ("--versoin", ""), ("xyzzy", ""), ("", "")])
def test_an_unknown_command_exits_2_and_names_the_nearest(word: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hub: there is no ")
    assert (f"Did you mean 'hub {meant}'?" in captured.err) == bool(meant)


@pytest.mark.parametrize(
    "words", [["list", "--jsn"], ["install"], ["show", "a", "b"], ["version", "--json=1"], ["help", "nothing"], ["run"]]
)
def test_a_wrong_option_exits_2_with_one_line(words: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert f"Run 'hub {words[0]} -h'" in captured.err


@pytest.mark.parametrize("words", [["version"], ["--version"], ["-v"]])
def test_the_version_is_printed(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == f"hubserve {__version__}\n"


def test_the_version_needs_neither_numpy_nor_the_registry() -> None:
    script = "import sys; from hubserve.cli import main; main(['version']); print([each for each in sys.modules if each in "
    script += "('numpy', 'rich', 'hubserve.registry', 'hubserve.kinds', 'filelock', 'asyncio')])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_error_is_one_line_without_a_traceback_and_json_where_asked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "toy"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("hub: no module 'toy' is installed")
    assert captured.err.count("\n") == 1
    assert main(["show", "toy", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "module_not_found"
    assert "toy" in error["message"]


def test_details_are_shown_only_on_debug(home: Path, tmp_path: Path) -> None:
    source = write_module(tmp_path / "src", extra="def fail():\n    raise RuntimeError('deep inside')\nfail()")
    brief = hub("install", source, home=home)
    assert brief.returncode == 1
    assert "deep inside" in brief.stderr
    assert "--debug" in brief.stderr
    assert "Traceback" not in brief.stderr
    full = hub("install", "--debug", source, home=home)
    assert full.returncode == 1
    assert "in fail" in full.stderr
    assert str(source / "module.py") in full.stderr


def test_an_unexpected_error_is_logged_with_its_traceback_and_printed_in_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    (home / "modules").write_text("a file where a folder belongs")
    assert main(["uninstall", "toy"]) == 1  # an expected one: the system's reason is printed
    assert "cannot uninstall 'toy'" in capsys.readouterr().err
    monkeypatch.setattr("hubserve.registry.installed.InstalledModules.scan", lambda _self: 1 / 0)
    assert main(["list"]) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith("hub: unexpected ZeroDivisionError")
    assert str(home / "log" / "hub.log") in error
    assert "Traceback" not in error
    log = (home / "log" / "hub.log").read_text()
    assert "hub list" in log
    assert "Traceback" in log
    assert main(["list", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error(home: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "hubserve", "help"]
    done = subprocess.run(command, cwd=ROOT, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert done.stderr == b""


def test_settings_are_shown_set_and_reset(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["home"] == str(home)
    assert shown["install.max_files"] == 50_000
    assert main(["config", "install.max_files==7"]) == 0
    assert main(["config", "install.max_files", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2]) == {"install.max_files": 7}
    assert main(["config", "install.max_fils==7"]) == 1
    assert "did you mean 'install.max_files'?" in capsys.readouterr().err
    assert main(["config", "home==/elsewhere"]) == 1
    assert "HUB_HOME" in capsys.readouterr().err
    assert main(["config", "reset"]) == 0
    assert "50000  (default)" in capsys.readouterr().out


def test_settings_of_paddlehub_are_accepted_with_the_reason_why_they_have_no_effect(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "config.json").write_bytes(b'\xef\xbb\xbf{"server_url": ["http://x"], "install": {"max_files": 7,}, }')
    assert main(["config", "server==http://example.com", "log.level==DEBUG", "log.enable==False", "install.max_bytes==9", "--json"]) == 0
    captured = capsys.readouterr()
    assert [each.split("'")[2].strip()[:6] for each in captured.err.replace("PaddleHub's", "").splitlines()] == ["has no"] * 3
    assert json.loads(captured.out) == {"install.max_bytes": 9}
    assert main(["config", "install.max_files"]) == 0
    assert capsys.readouterr().out == "7\n"
    assert main(["config", "log.levl==DEBUG"]) == 1


def test_a_table_fits_80_columns_and_takes_no_orders_from_modules(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    rows = [("clas_system", "1.0.0", "[red]long[/red] \x1b[31m\x07" + "图像分类" * 40), ("b" * 30, "2", "")]
    print_table(("NAME", "VERSION", "SUMMARY"), rows, cut="SUMMARY")
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) == 3
    assert all(len(line) + sum(each > "\u2fff" for each in line) <= 80 for line in lines)
    assert "clas_system " in lines[1]
    assert "[red]long[/red]" in lines[1]
    assert lines[1].endswith("…")
    assert "b" * 30 + "  2" in lines[2]
    assert "\x1b" not in out
    assert "\x07" not in out
    print_table(("A", "B"), [("word " * 40, "x")])
    out = capsys.readouterr().out
    assert out.split().count("word") == 40, "without a column to cut, nothing is lost"
    print_facts({"Name": "x" * 200, "Empty": ""})
    out = capsys.readouterr().out
    assert out.count("x") == 200
    assert "Empty" not in out


def test_each_row_is_one_line_where_a_table_goes_to_a_program(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    titles = ["module", "version", "state", "engine", "queue", "requests", "failed", "instances", "ms by batch"]
    row = ["classifier_of_flowers", "1.0.0", "starting", "onnxruntime", "12", "1234567", "0", "2 of 2", "1: 7.31, 2: 12.4, 4: 22.8"]
    print_table(titles, [row])
    first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert (first, second) == (" ".join(titles).split(), " ".join(row).split())
    path = "/srv/" + "long/" * 30
    print_facts({"Folder": path, "Summary": "word " * 40})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [["Folder", path], ["Summary", *["word"] * 40]]


def test_a_terminal_gets_whole_words_as_long_as_they_fit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(("module", "version", "reason", "text"), [("classifier", "1.0.0", "out of memory " * 4, "some words " * 20)])
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert max(map(len, out.splitlines())) <= 80
    assert set(out.split()) == {"module", "version", "reason", "text", "classifier", "1.0.0", "out", "of", "memory", "some", "words"}


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (17_234_567, "17.2 MB"), (10**16, "10000.0 TB")]
)
def test_sizes_are_printed_in_the_unit_that_fits(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


def test_every_command_has_the_three_parts() -> None:
    for name in COMMANDS:
        assert cli.make_parser(name).prog == f"hub {name}"


def test_the_flags_of_a_server_say_who_may_use_it(home: Path) -> None:
    words = ["start", "-m", str(MODULES / "shout"), "--allowed-hosts", "a.example", "*.b.example", "--cors-origins", "https://c.example"]
    parser = make_parser("serving")
    settings = settings_from_flags(parser.parse_args([*words, "--cors_origins", "null", "--admin", "any", "--shared-memory"]))
    assert (settings.allowed_hosts, settings.cors_origins) == (["a.example", "*.b.example"], ["https://c.example", "null"])
    assert (settings.admin, settings.shared_memory) == ("any", True)
    usual = settings_from_flags(parser.parse_args(words[:3]))
    assert (usual.allowed_hosts, usual.cors_origins, usual.admin, usual.shared_memory) == ([], [], "local", False)
