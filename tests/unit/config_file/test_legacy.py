"""PaddleHub's older keys, and lenient values."""

from pathlib import Path
from typing import Any

import pytest

from hubserve.errors import ConfigError
from hubserve.settings import ServerSettings, parse_settings, read_config


def parse(raw: dict[str, Any]) -> tuple[ServerSettings, list[str]]:
    notes: list[str] = []
    settings = parse_settings({"modules_info": {"m": {}}, **raw}, "config.json", notes.append)
    return settings, notes


def test_the_demo_configuration_of_paddlehub_is_read_with_a_note() -> None:
    lac = {"init_args": {"version": "2.1.0"}, "predict_args": {"batch_size": 1, "use_gpu": False}}
    settings, notes = parse({"modules_info": {"lac": lac}, "port": 8866, "use_multiprocess": True, "workers": 2, "timeout": 30})
    assert (settings.use_multiprocess, settings.workers, settings.request_timeout_s) == (True, 2, 300)
    assert len(notes) == 1
    assert "'timeout' has no effect" in notes[0]
    assert "request_timeout_s" in notes[0]


@pytest.mark.parametrize(
    ("raw", "processes", "says"),
    [
        ({"use_singleprocess": True}, False, '"use_multiprocess": false'),
        ({"use_singleprocess": "true", "workers": 2}, False, '"use_multiprocess": false'),
        ({"use_singleprocess": False, "workers": 2}, None, "'workers' says how many"),
        ({"use_singleprocess": True, "use_multiprocess": True}, True, "'use_multiprocess', which takes precedence"),
        ({"use_singleprocess": None}, None, "has no effect"),
    ],
)
def test_use_singleprocess_is_read_as_use_multiprocess(raw: dict[str, Any], processes: bool | None, says: str) -> None:
    settings, notes = parse(raw)
    assert settings.use_multiprocess is processes
    assert [says in each for each in notes] == [True]


def test_lists_of_paddlehub_1_5_are_read() -> None:
    listed: list[Any] = [
        {"module": "lac", "version": "1.0.0", "batch_size": 200},
        {"module": "senta", "predict_args": {"top": 3}, "workers": 2},
        "yolo==1.2.0",
    ]
    settings, notes = parse({"modules_info": listed, "use_gpu": False, "port": 8866, "gpu": "0"})
    assert {name: each.init_args for name, each in settings.modules_info.items()} == {
        "lac": {"version": "1.0.0"},
        "senta": {},
        "yolo": {"version": "1.2.0"},
    }
    assert settings.module("senta").workers == 2
    assert settings.module("senta").predict_args == {"top": 3}
    assert [("modules_info.0.batch_size" in each, "max_batch_size" in each) for each in notes] == [(True, True)]


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        ([{"version": "1.0.0"}], "modules_info.0 does not name a module; write"),
        (["lac", {"module": "lac"}], "modules_info.1 names 'lac' a second time"),
        ([{"module": "lac", "wrkers": 1}], "did you mean 'workers'?"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_by_its_entry(listed: list[Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({"modules_info": listed})
    assert says in caught.value.message


def test_numbers_and_switches_may_be_texts_and_null_means_not_set() -> None:
    module = {"workers": "3", "max_queue_delay_ms": "1.5", "init_args": None, "predict_args": None, "environ": {"OMP_NUM_THREADS": 4}}
    module |= {"preferred_batch_sizes": ["4", 8], "gpu": "0", "response_cache": "True"}
    raw = {"modules_info": {"m": module, "n": None}, "port": "8866", "use_gpu": "true", "grpc_port": "0", "client_timeout_s": "5"}
    settings, notes = parse(
        {**raw, "use_multiprocess": "False", "gpu": "0,1", "workers": None, "allowed_hosts": "ml.example", "host": None}
    )
    read = settings.module("m")
    assert (settings.port, settings.use_gpu, settings.grpc_port, settings.client_timeout_s) == (8866, True, 0, 5.0)
    assert (settings.use_multiprocess, settings.gpu, settings.workers, settings.host) == (False, "0,1", None, "127.0.0.1")
    assert settings.allowed_hosts == ["ml.example"]
    assert (read.workers, read.max_queue_delay_ms, read.gpu, read.response_cache) == (3, 1.5, "0", True)
    assert (read.init_args, read.predict_args, read.environ) == ({}, {}, {"OMP_NUM_THREADS": "4"})
    assert read.preferred_batch_sizes == [4, 8]
    assert notes == []


def test_a_modules_switch_that_is_a_text_is_read_with_a_note() -> None:
    settings, notes = parse(
        {"modules_info": {"m": {"init_args": {"use_gpu": "false", "label": "true"}, "predict_args": {"use_gpu": "True"}}}}
    )
    assert settings.module("m").init_args == {"use_gpu": False, "label": "true"}
    assert settings.module("m").predict_args == {"use_gpu": True}
    assert [each.partition(" is the string ")[0] for each in notes] == [
        "config.json: modules_info.m.init_args.use_gpu",
        "config.json: modules_info.m.predict_args.use_gpu",
    ]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"workrs": 1}, "unknown key 'workrs'; did you mean 'workers'?"),
        ({"timeuot": 1}, "unknown key 'timeuot'"),
        ({"use_singelprocess": True}, "unknown key 'use_singelprocess'"),
        ({"use_singleprocess": "yes"}, "'use_singleprocess' must be true or false"),
        ({"port": "http"}, "got `str` - at `port`"),
        ({"port": True}, "got `bool` - at `port`"),
        ({"use_gpu": "yes"}, "true or false - at `use_gpu`"),
        ({"modules_info": {"lac": "2.1.0"}}, "such as {} - at `modules_info.lac`"),
        ({"modules_info": {"lac": {"workers": "two"}}}, "at `modules_info.lac.workers`"),
        ({"modules_info": {"lac": {"version": "2.1.0"}}}, 'belongs into init_args; write "init_args": {"version": "2.1.0"}'),
        ({"modules_info": {"lac": {"batch_size": 4}}}, 'belongs into predict_args; write "predict_args": {"batch_size": 4}'),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_to_write(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(raw)
    assert says in caught.value.message


def test_flags_count_over_the_file_and_token_files_are_found_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("k")
    path = tmp_path / "config.json"
    path.write_text('{"modules_info": {"m": {"addresses": ["h:1"], "token_file": "key"}}, "host": "::1", "port": 1}')
    monkeypatch.chdir("/")
    settings = read_config(path, {"host": "127.0.0.2", "grpc_port": 2})
    assert (settings.host, settings.port, settings.grpc_port) == ("127.0.0.2", 1, 2)
    assert settings.module("m").token_file == str(tmp_path / "key")
