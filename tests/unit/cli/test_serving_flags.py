"""Flags of ``hub serving start``: PaddleHub's older ones, and precedence beside a configuration file."""

import argparse
from pathlib import Path

import pytest

from hubserve.cli import main, make_parser
from hubserve.cli.serving_flags import beside_config, disregarded, settings_from_flags
from hubserve.errors import ConfigError
from tests.conftest import MODULES

SHOUT = str(MODULES / "shout")


def flags(*words: str) -> argparse.Namespace:
    return make_parser("serving").parse_args(["start", *words])


def test_modules_info_may_be_given_as_a_flag(home: Path) -> None:
    text = "{'a': {'init_args': {'use_gpu': False}}}"
    with pytest.raises(ConfigError, match='--modules_info is not JSON: .* Write line 1 as: {"a": {"init_args": {"use_gpu": false}}}'):
        settings_from_flags(flags("--modules_info", text))
    settings = settings_from_flags(flags("-mi", '{"a": {"init_args": {"version": "1.0.0"}, "workers": "2"}}', "-w", "3"))
    assert (settings.module("a").init_args, settings.module("a").workers, settings.workers) == ({"version": "1.0.0"}, 2, 3)
    assert list(settings_from_flags(flags("-mi", '["a", "b==2"]')).modules_info) == ["a", "b"]
    merged = settings_from_flags(flags("-m", SHOUT, "-mi", '{"shout": {"init_args": {"x": 1}, "workers": 4}, "b": null}'))
    assert merged.module("shout").init_args == {"directory": SHOUT, "x": 1}
    assert merged.module("shout").workers == 4
    assert list(merged.modules_info) == ["shout", "b"]
    for wrong in ('"lac"', "7"):
        with pytest.raises(ConfigError, match="must be an object"):
            settings_from_flags(flags("-mi", wrong))


def test_older_flags_are_accepted_with_a_note(home: Path) -> None:
    notes: list[str] = []
    settings = settings_from_flags(flags("-m", SHOUT, "--use_singleprocess", "--timeout", "30"), note=notes.append)
    assert settings.use_multiprocess is False
    assert ["'timeout'" in notes[0], "'use_singleprocess'" in notes[1], len(notes)] == [True, True, 2]


def test_flags_that_paddlehub_does_not_have_count_beside_a_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--host", "0.0.0.0", "--grpc-port", "1", "--shared-memory", "--admin", "off", "--allowed-hosts", "a", "b"]
    words += ["--cors-origins", "*", "--model-store", "s", "--model-control", "explicit", "--load-model", "m"]
    assert beside_config(flags("-c", "x.json", *words)) == {
        "host": "0.0.0.0",
        "grpc_port": 1,
        "shared_memory": True,
        "admin": "off",
        "allowed_hosts": ["a", "b"],
        "cors_origins": ["*"],
        "model_store": [str(tmp_path / "s")],
        "model_control": "explicit",
        "load_model": ["m"],
    }
    assert beside_config(flags("-c", "x.json")) == {}


def test_flags_that_paddlehub_disregards_beside_a_config_are_reported_in_one_line() -> None:
    assert disregarded(flags("-c", "x.json", "--host", "::")) == ""
    assert disregarded(flags("-c", "x.json", "-p", "0")) == "-p has no effect beside -c, as in PaddleHub; set 'port' in 'x.json'"
    words = [
        "-m",
        "a",
        "-mi",
        "{}",
        "-p",
        "1",
        "-w",
        "2",
        "--use_gpu",
        "-i",
        "0",
        "--use_multiprocess",
        "--use_singleprocess",
        "--timeout",
        "3",
    ]
    warning = disregarded(flags("-c", "x.json", *words))
    for flag in ("-m", "--modules_info", "-p", "-w", "--use_gpu", "-i", "--use_multiprocess", "--use_singleprocess", "--timeout"):
        assert f"{flag}," in warning.replace(" have", ",")
    assert "\n" not in warning


def test_every_flag_counts_or_is_reported_beside_a_config() -> None:
    """Every flag is in one of the two lists."""
    parser = make_parser("serving")
    (actions,) = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    lists = {**flags("-c", "x.json").__dict__}
    for action in actions.choices["start"]._actions:
        if action.dest not in ("help", "config", "stray"):
            lists[action.dest] = "1" if action.nargs is None else ["1"]
    given = argparse.Namespace(**{**lists, "model_store": ["/s"]})
    warning, counted = disregarded(given), beside_config(given)
    assert len(warning.partition(" have ")[0].split(", ")) + len(counted) == len(actions.choices["start"]._actions) - 3


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["bert_service", "-m", "x"], "Serve the module itself, as in 'hub serving start -m NAME'"),
        (["lac", "senta"], "Give modules after -m: hub serving start -m lac senta"),
        (["-m", "x", "--use_gpu", "True"], "flags such as --use_gpu take no value, got 'True'"),
    ],
)
def test_words_that_belong_to_no_flag_are_refused_with_what_to_write(
    words: list[str], says: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serving", "start", *words]) in (1, 2)
    assert says in capsys.readouterr().err
