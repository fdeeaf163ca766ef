from pathlib import Path

import pytest

from hubserve.errors import ConfigError
from hubserve.settings import ServerSettings, parse_settings, read_config


def parse(**settings: object) -> ServerSettings:
    return parse_settings({"modules_info": {"m": {}}, **settings}, "test")


def test_the_guides_config_is_taken_as_it_is() -> None:
    guide = {
        "modules_info": {"clas_system": {"init_args": {"version": "1.0.0", "use_gpu": True, "enable_mkldnn": False}, "predict_args": {}}},
        "port": 8866,
        "use_multiprocess": False,
        "workers": 2,
    }
    settings = parse_settings(guide, "test")
    assert settings.uses_gpu("clas_system")
    assert settings.instance_count("clas_system", batches=True) == 1, "workers count under use_multiprocess only"


def test_instances_come_from_the_module_then_the_server_then_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(use_multiprocess=True, workers=3).instance_count("m", batches=True) == 3
    assert parse(use_multiprocess=True, workers=3, modules_info={"m": {"workers": 5}}).instance_count("m", batches=True) == 5
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_AVPHYS_PAGES": 64 << 18, "SC_PAGE_SIZE": 4096}[name])
    assert parse(use_multiprocess=True).instance_count("m", batches=True) == 4
    assert parse(use_multiprocess=True, use_gpu=True, gpu="0,1").instance_count("m", batches=True) == 2, "one for each GPU"


def test_without_a_word_about_processes_modules_that_batch_get_several_and_others_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert [parse().instance_count("m", batches=each) for each in (True, False)] == [2, 1]
    assert parse(use_multiprocess=False).instance_count("m", batches=True) == 1
    assert parse(workers=3).instance_count("m", batches=False) == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_AVPHYS_PAGES": 5 << 18, "SC_PAGE_SIZE": 4096}[name])
    assert parse().instance_count("m", batches=True) == 5, "one for each GiB that is free"


def test_gpu_and_several_instances_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 2")
    assert parse(use_gpu=True, use_multiprocess=True, workers=4).gpus("m") == ["1", "2"]
    assert parse(use_gpu=True, gpu=0).gpus("m") == ["0"]
    assert parse().gpus("m") == []


@pytest.mark.parametrize("unset", [None, "", " , "])
def test_use_gpu_without_saying_which_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch, unset: str | None) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if unset is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", unset)
    with pytest.raises(ConfigError, match="export CUDA_VISIBLE_DEVICES=0"):
        parse(modules_info={"m": {"init_args": {"use_gpu": True}}}).gpus("m")


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"port": -1}, {"max_body_bytes": 0}, {"request_timeout_s": 0}, {"host": 1}, {"use_gpu": "yes"}]
)
def test_a_wrong_value_is_refused_by_its_key(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        parse(**wrong)


@pytest.mark.parametrize("text", [b"{", b"\xff", b"[" * 100_000])
def test_a_configuration_that_is_not_json_is_refused_by_its_path(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="config.json' is not JSON"):
        read_config(path)
