"""GPUs of model files and PaddleHub modules: what ``use_gpu`` and ``gpu`` mean for the instances that are planned."""

from pathlib import Path
from typing import Any

import pytest

from hubserve.engines import engine_class, gpus
from hubserve.engines.model_formats import FORMATS
from hubserve.engines.table import AUTO
from hubserve.errors import ConfigError
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.kinds.model_settings import computes_on_gpu, read_settings
from hubserve.server.deployment import make_plans
from hubserve.settings import parse_settings
from tests.conftest import toy
from tests.triton_models import scale

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "gpu_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def instances(modules: dict[str, Any], name: str = "net", **settings: Any) -> list[InstanceSpec]:
    plans = make_plans(parse_settings({"modules_info": modules, **settings}, "test"))
    return next(plan.instances for plan in plans if plan.info.name == name)


def file(tmp_path: Path, **init_args: Any) -> dict[str, Any]:
    return {"net": {"init_args": {"directory": str(scale(tmp_path / "net.onnx")), **init_args}}}


def seen(found: list[InstanceSpec]) -> list[str]:
    return [each.environ["CUDA_VISIBLE_DEVICES"] for each in found]


def test_model_files_are_spread_over_the_gpus(tmp_path: Path) -> None:
    found = instances(file(tmp_path), use_gpu=True, gpu="0,1")
    assert seen(found) == ["0", "1"]
    assert [each.defaults for each in found] == [{"use_gpu": True}] * 2
    assert seen(instances(file(tmp_path, use_gpu=True), gpu="1", workers=2)) == ["1", "1"]
    own = {"net": {**file(tmp_path)["net"], "gpu": "1"}}
    assert seen(instances(own)) == ["1"]


@pytest.mark.parametrize("init_args", [{}, {"use_gpu": False}, {"engine": "openvino"}])
def test_a_model_file_on_the_cpu_sees_no_gpu_even_beside_a_module_on_one(tmp_path: Path, init_args: dict[str, Any]) -> None:
    shout = toy("shout")
    modules = {**file(tmp_path, **init_args), "shout": {"init_args": {**shout["init_args"], "use_gpu": True}}}
    found = instances(modules, gpu="0,1", workers=1)
    assert seen(found) == [""]
    if init_args:
        assert set(seen(instances(file(tmp_path, **init_args), use_gpu=True, gpu="0"))) == {""}


@pytest.mark.parametrize("backend", list(FORMATS))
def test_the_server_s_use_gpu_counts_for_engines_that_have_gpus(backend: str) -> None:
    engine = FORMATS[backend].engine
    able = engine == AUTO or engine_class(engine).has_gpu
    assert computes_on_gpu(backend, {}, use_gpu=True) is able
    assert computes_on_gpu(backend, {}, use_gpu=False) is False
    assert computes_on_gpu(backend, {"use_gpu": True}, use_gpu=False) is True
    assert read_settings("m", backend, {}, use_gpu=True).options.use_gpu is able
    if able:
        assert read_settings("m", backend, {"use_gpu": True}, use_gpu=False).options.use_gpu is True
    else:
        with pytest.raises(ConfigError, match=f"engine '{engine}' computes on the CPU, but use_gpu is set"):
            read_settings("m", backend, {"use_gpu": True}, use_gpu=False)


def test_options_of_gpus_are_noted_on_the_cpu_and_used_on_a_gpu() -> None:
    init_args = {"gpu_mem_limit": 1 << 30, "trt_timing_cache_enable": True}
    on_cpu = read_settings("m", "onnxruntime", init_args, use_gpu=False)
    assert on_cpu.options.tuning == []
    assert on_cpu.notes[0] == "parameter gpu_mem_limit changes nothing here: it is for GPUs, and this instance computes on the CPU"
    on_gpu = read_settings("m", "onnxruntime", init_args, use_gpu=True)
    assert (on_gpu.options.tuning, on_gpu.notes) == ([("gpu_mem_limit", "1073741824"), ("trt_timing_cache_enable", "1")], [])


def test_the_cpu_computes_instead_of_missing_gpus_where_the_settings_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpus, "gpu_count", lambda: 0)
    with pytest.raises(ConfigError, match="use_gpu is set, but nothing says which GPU"):
        instances(file(tmp_path, use_gpu=True))
    found = instances(file(tmp_path, use_gpu=True), gpu_fallback="cpu", workers=1)
    assert (seen(found), found[0].init_args["use_gpu"], found[0].defaults) == ([""], False, {})
    assert "'net' asks for a GPU and computes on the CPU, as gpu_fallback says: this machine has none" in caplog.text
    (shout,) = instances({"shout": toy("shout")}, "shout", use_gpu=True, gpu="0", gpu_fallback="cpu", workers=1)
    assert (shout.defaults, "CUDA_VISIBLE_DEVICES" in shout.environ) == ({}, False)
