"""Devices of instances, the same for every backend of model files whose engine computes on GPUs: a new engine is covered by its row."""

from pathlib import Path
from typing import Any

import pytest

from hubserve.engines import engine_class, gpus
from hubserve.engines.model_formats import FORMATS
from hubserve.engines.table import AUTO
from hubserve.errors import ConfigError
from hubserve.gateway.triton_deployment import plan_model
from hubserve.gateway.triton_devices import device_environ, device_number, devices_of
from hubserve.kinds.triton.model_folder import open_model
from hubserve.settings import ServerSettings, parse_settings
from tests.triton_models import SCALE, write_scale

pytestmark = pytest.mark.usefixtures("home")

MIG = "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/2"
UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
ON_GPU = [backend for backend, each in FORMATS.items() if each.engine == AUTO or engine_class(each.engine).has_gpu]
ON_CPU = [backend for backend in FORMATS if backend not in ON_GPU]


def model(store: Path, backend: str, config: str) -> Any:
    folder = store / "m"
    stored = folder / "1" / ("model.py" if backend == "python" else FORMATS[backend].stored[0])
    stored.parent.mkdir(parents=True)
    if backend != "python" and FORMATS[backend].marker:
        stored.mkdir()
        stored = stored / FORMATS[backend].marker
    stored.write_bytes(b"")
    (folder / "config.pbtxt").write_text(f'backend: "{backend}" {config}')
    return open_model(folder)


def serving(**settings: Any) -> ServerSettings:
    return parse_settings({"model_store": ["store"], **settings}, "test")


def planned(store: Path, backend: str, config: str, **settings: Any) -> list[tuple[str, str | None]]:
    """Return each instance's kind, and what it sees of the GPUs; None for all that the server sees."""
    devices = devices_of(model(store, backend, config), serving(**settings))
    return [(each.kind, device_environ(each, backend).get("CUDA_VISIBLE_DEVICES")) for each in devices]


def machine(monkeypatch: pytest.MonkeyPatch, count: int, visible: str | None = None) -> None:
    monkeypatch.setattr(gpus, "gpu_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)


@pytest.mark.parametrize("backend", ON_GPU)
@pytest.mark.parametrize(
    ("group", "count", "visible", "settings", "expected"),
    [
        ("{ kind: KIND_GPU }", 2, None, {}, ["0", "1"]),
        ("{ kind: KIND_GPU count: 2 }", 2, None, {}, ["0", "1", "0", "1"]),
        ("{ kind: KIND_GPU }", 8, "4,6", {}, ["4", "6"]),
        ("{ kind: KIND_GPU }", 8, "4,-1,6", {}, ["4"]),
        ("{ kind: KIND_GPU }", 1, UUID, {}, [UUID]),
        ("{ kind: KIND_GPU gpus: [ 1 ] count: 2 }", 8, f"{UUID},{MIG}", {}, [MIG, MIG]),
        ("{ gpus: [ 0, 2 ] }", 8, "4,5,6", {}, ["4", "6"]),
        ("{ gpus: [ 1 ] }", 2, None, {}, ["1"]),
        ("{ kind: KIND_GPU }", 8, "4", {"gpu": "2,7"}, ["2", "7"]),
        ("{ kind: KIND_GPU }", 8, None, {"gpu": "2", "modules_info": {"m": {"gpu": "3"}}}, ["3"]),
        ("{ kind: KIND_AUTO }", 2, None, {"use_gpu": True}, ["0", "1"]),
        ("{ count: 1 }", 2, None, {"modules_info": {"m": {"gpu": "1"}}}, ["1"]),
        ("{ kind: KIND_AUTO count: 2 }", 2, None, {}, [None, None]),
        ("{ kind: KIND_CPU count: 1 }", 2, "0,1", {"use_gpu": True}, [None]),
        ("{ kind: KIND_CPU count: 1 }, { kind: KIND_GPU }", 1, "0", {}, [None, "0"]),
    ],
)
def test_instances_see_their_own_gpu_or_none(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    backend: str,
    group: str,
    count: int,
    visible: str | None,
    settings: dict[str, Any],
    expected: list[str | None],
) -> None:
    machine(monkeypatch, count, visible)
    wanted = [("CPU", "") if each is None else ("GPU", each) for each in expected]
    assert planned(tmp_path, backend, f"instance_group [ {group} ]", **settings) == wanted


@pytest.mark.parametrize("backend", ON_CPU)
@pytest.mark.parametrize("group", ["kind: KIND_GPU count: 2", "gpus: [ 0 ] count: 2", "count: 2"])
def test_engines_without_gpus_compute_on_the_cpu_and_see_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, group: str
) -> None:
    machine(monkeypatch, 2)
    assert planned(tmp_path, backend, f"instance_group [ {{ {group} }} ]", use_gpu=True) == [("CPU", "")] * 2


def test_every_backend_is_among_those_with_or_without_gpus() -> None:
    assert sorted(ON_GPU + ON_CPU) == sorted(FORMATS)
    assert {"paddle", "onnxruntime", "pytorch"} <= set(ON_GPU)
    assert "openvino" in ON_CPU  # its "GPU" is Intel's


@pytest.mark.parametrize("backend", [each for each in (*ON_GPU, "python") if each != "onnxruntime"])
@pytest.mark.parametrize(
    ("group", "count", "visible", "reason"),
    [
        ("{ kind: KIND_GPU }", 0, None, "asks for a GPU, and this machine has none .*--gpu-fallback cpu"),
        ("{ gpus: [ 0 ] }", 0, None, "asks for a GPU, and this machine has none"),
        ("{ kind: KIND_GPU }", 2, "-1", "CUDA_VISIBLE_DEVICES='-1' hides all of them"),
        ("{ kind: KIND_GPU }", 2, "", "CUDA_VISIBLE_DEVICES='' hides all of them"),
        ("{ gpus: [ 2 ] }", 2, None, "GPU 2 is configured, and this machine has 2"),
        ("{ gpus: [ 1 ] }", 2, "1", "GPU 1 is configured, and CUDA_VISIBLE_DEVICES shows 1: 1"),
    ],
)
def test_a_gpu_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, group: str, count: int, visible: str | None, reason: str
) -> None:
    machine(monkeypatch, count, visible)
    with pytest.raises(ConfigError, match=reason):
        planned(tmp_path, backend, f"instance_group [ {group} ]")


@pytest.mark.parametrize("backend", [*ON_GPU, "python"])
@pytest.mark.parametrize(("count", "visible"), [(0, None), (0, "0"), (2, "-1")])
def test_the_cpu_computes_instead_where_the_settings_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, backend: str, count: int, visible: str | None
) -> None:
    machine(monkeypatch, count, visible)
    hidden = None if backend == "python" else ""
    group = "instance_group [ { kind: KIND_GPU gpus: [ 0 ] count: 2 } ]"
    assert planned(tmp_path, backend, group, gpu_fallback="cpu") == [("CPU", hidden)] * 2
    assert backend == "onnxruntime" or "computes on the CPU, as gpu_fallback says" in caplog.text


def test_the_cpu_does_not_compute_instead_of_a_gpu_that_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 1)
    assert planned(tmp_path, "pytorch", "instance_group [ { kind: KIND_GPU } ]", gpu_fallback="cpu") == [("GPU", "0")]


def test_onnx_models_ignore_gpus_only_where_nothing_suggests_that_one_was_counted_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine(monkeypatch, 0)
    folder = write_scale(tmp_path, "m", f"{SCALE} instance_group [ {{ kind: KIND_GPU count: 2 }} ]")
    settings = serving()
    (plan,) = plan_model(folder, settings)
    assert [each.init_args["instance"]["kind"] for each in plan.instances] == ["CPU", "CPU"]
    assert "instance_group[0] asks for a GPU (this machine has no GPU, and onnxruntime-gpu is not installed)" in caplog.text
    machine(monkeypatch, 1)
    assert [each.kind for each in devices_of(open_model(folder), settings)] == ["GPU", "GPU"]


def test_an_engine_that_is_named_decides_and_openvino_is_for_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine(monkeypatch, 1)
    gpu = "instance_group [ { kind: KIND_GPU } ]"
    named = "parameters { key: 'engine' value: { string_value: 'openvino' } }"
    (plan,) = plan_model(write_scale(tmp_path, "a", f"{SCALE} {gpu} {named}"), serving())
    assert {each.environ["CUDA_VISIBLE_DEVICES"] for each in plan.instances} == {""}
    assert "asks for a GPU (the engine openvino computes on the CPU)" in caplog.text
    accelerator = "optimization { execution_accelerators { cpu_execution_accelerator [ { name: 'openvino' } ] } }"
    onnx = open_model(write_scale(tmp_path, "b", f"{SCALE} {gpu} {accelerator}"))
    assert [each.kind for each in devices_of(onnx, serving())] == ["GPU"]
    assert (onnx.engine_on(use_gpu=True), onnx.engine_on()) == ("onnxruntime", "openvino")


def test_python_models_get_the_number_of_their_gpu_among_those_that_they_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 8, "4,5")
    python = model(tmp_path / "a", "python", "instance_group [ { kind: KIND_GPU } ]")
    found = [(device_number(each, "python"), device_environ(each, "python")) for each in devices_of(python, serving())]
    assert found == [(0, {}), (1, {})]
    found = [(device_number(each, "python"), device_environ(each, "python")) for each in devices_of(python, serving(gpu="2,7"))]
    assert found == [(0, {"CUDA_VISIBLE_DEVICES": "2,7"}), (1, {"CUDA_VISIBLE_DEVICES": "2,7"})]


def test_use_gpu_for_a_store_does_not_stop_models_that_compute_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine(monkeypatch, 0)
    assert {kind for kind, _ in planned(tmp_path, "openvino", "", use_gpu=True)} == {"CPU"}
    assert "use_gpu has no effect, because the engine openvino computes on the CPU" in caplog.text


def test_a_client_s_configuration_may_not_name_folders_to_write_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 0)
    folder = write_scale(tmp_path, "m", SCALE)
    accelerator = {"name": "tensorrt", "parameters": {"trt_engine_cache_enable": "1", "trt_engine_cache_path": "/tmp/elsewhere"}}
    config = {"backend": "onnxruntime", "optimization": {"execution_accelerators": {"gpu_execution_accelerator": [accelerator]}}}
    with pytest.raises(ConfigError, match=r"may set trt_engine_cache_path only to the model's own value, got '/tmp/elsewhere'"):
        plan_model(folder, serving(), "m", config)
    assert plan_model(folder, serving(model_uploads=True), "m", config)
    text = "optimization { execution_accelerators { gpu_execution_accelerator [ { name: 'tensorrt' parameters "
    (folder / "config.pbtxt").write_text(f'{text} {{ key: "trt_engine_cache_path" value: "/tmp/elsewhere" }} }} ] }} }}')
    assert plan_model(folder, serving(), "m", config)
