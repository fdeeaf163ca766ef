"""What is to be run for a Triton model."""

from pathlib import Path
from typing import Any

import pytest

from hubserve.engines import gpus
from hubserve.errors import ConfigError, HubError
from hubserve.gateway.dataplane import ModulePlan
from hubserve.gateway.scheduling.queue_policy import DELAY
from hubserve.gateway.scheduling.sequence_plan import CORRELATION_ID, DIRECT, OLDEST, START, Control, State
from hubserve.gateway.triton_deployment import plan_model, plan_stores
from hubserve.settings import parse_settings
from tests.triton_models import SCALE, tensor, write_scale

pytestmark = pytest.mark.usefixtures("home")


def plans(store: Path, config: str, **settings: Any) -> list[ModulePlan]:
    folder = write_scale(store, "m", f"{SCALE} {config}")
    return plan_model(folder, parse_settings({"model_store": [str(store)], **settings}, "test"), "m")


def plan(store: Path, config: str, **settings: Any) -> ModulePlan:
    (only,) = plans(store, config, **settings)
    return only


@pytest.mark.parametrize(
    ("group", "settings", "count"),
    [
        ("", {"workers": 3}, 3),
        ("instance_group [ { count: 2 } ]", {"workers": 3}, 2),
        ("instance_group [ { count: 2 kind: KIND_CPU }, { count: 1 } ]", {}, 3),
        ("instance_group [ { count: 2 } ]", {"modules_info": {"m": {"workers": 5}}}, 5),
    ],
)
def test_instance_groups_decide_the_number_of_instances(tmp_path: Path, group: str, settings: dict[str, Any], count: int) -> None:
    specs = plan(tmp_path, group, **settings).instances
    assert [spec.init_args["instance"] for spec in specs] == [{"index": index, "kind": "CPU", "device_id": 0} for index in range(count)]


def python_model(store: Path, config: str, **settings: Any) -> ModulePlan:
    (store / "p" / "1").mkdir(parents=True)
    (store / "p" / "1" / "model.py").write_text("")
    (store / "p" / "config.pbtxt").write_text(config)
    (only,) = plan_model(store / "p", parse_settings({"model_store": [str(store)], **settings}, "test"))
    return only


def test_a_python_model_has_one_instance_and_unmerged_requests_by_default(tmp_path: Path) -> None:
    alone = python_model(tmp_path / "a", "")
    assert (len(alone.instances), alone.batching.merge) == (1, False)
    together = python_model(tmp_path / "b", "max_batch_size: 4 dynamic_batching { } instance_group [ { count: 3 } ]")
    assert (len(together.instances), together.batching.merge) == (3, True)


def test_each_request_of_an_iterative_model_is_a_sequence_without_a_state_beside_it(tmp_path: Path) -> None:
    plain = python_model(tmp_path / "a", "sequence_batching { iterative_sequence: true max_sequence_idle_microseconds: 7 }").sequences
    assert plain is not None
    assert (plain.iterative, plain.strategy, plain.max_idle_s) == (True, "direct", 7e-6)
    control = "control_input { name: 'id' control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } }"
    sequences = python_model(tmp_path / "b", f"sequence_batching {{ iterative_sequence: true oldest {{ }} {control} }}").sequences
    assert sequences is not None
    assert (sequences.iterative, sequences.strategy, [each.name for each in sequences.inputs]) == (True, "oldest", ["id"])
    state = "state { input_name: 'S' output_name: 'T' data_type: TYPE_FP32 dims: 1 }"
    with pytest.raises(ConfigError, match="sequence_batching.state cannot be combined with iterative_sequence"):
        python_model(tmp_path / "c", f"sequence_batching {{ iterative_sequence: true {state} }}")


def test_instances_on_gpus_see_only_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "model.pdmodel").write_bytes(b"")
    config = tmp_path / "m" / "config.pbtxt"
    settings = parse_settings({"model_store": [str(tmp_path)]}, "test")
    config.write_text("instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 2 ] } ]")
    (one,) = plan_model(tmp_path / "m", settings)
    assert [spec.environ["CUDA_VISIBLE_DEVICES"] for spec in one.instances] == ["4", "6", "4", "6"]
    assert {spec.init_args["instance"]["kind"] for spec in one.instances} == {"GPU"}
    config.write_text("instance_group [ { kind: KIND_GPU } ]")
    (one,) = plan_model(tmp_path / "m", settings)
    assert [spec.environ["CUDA_VISIBLE_DEVICES"] for spec in one.instances] == ["4", "5", "6"]
    config.write_text("instance_group [ { kind: KIND_GPU gpus: [ 3 ] } ]")
    with pytest.raises(ConfigError, match="GPU 3 is configured, and CUDA_VISIBLE_DEVICES shows 3: 4, 5, 6"):
        plan_model(tmp_path / "m", settings)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    config.write_text("instance_group [ { kind: KIND_GPU } ]")
    monkeypatch.setattr(gpus, "gpu_count", lambda: 2)
    assert [spec.environ["CUDA_VISIBLE_DEVICES"] for spec in plan_model(tmp_path / "m", settings)[0].instances] == ["0", "1"]
    monkeypatch.setattr(gpus, "gpu_count", lambda: 0)
    with pytest.raises(ConfigError, match="'m' asks for a GPU, and this machine has none"):
        plan_model(tmp_path / "m", settings)
    assert [spec.environ["CUDA_VISIBLE_DEVICES"] for spec in plan_model(tmp_path / "m", settings.__class__(gpu="2,7"))[0].instances] == [
        "2",
        "7",
    ]


def test_queues_follow_dynamic_batching(tmp_path: Path) -> None:
    batching = plan(
        tmp_path,
        """dynamic_batching {
             preferred_batch_size: [ 8, 4 ] max_queue_delay_microseconds: 500 preserve_ordering: true
             priority_levels: 2 default_priority_level: 2
             default_queue_policy {
               timeout_action: DELAY default_timeout_microseconds: 2000 allow_timeout_override: true max_queue_size: 7
             }
             priority_queue_policy { key: 1 value { default_timeout_microseconds: 1000 } }
           }""",
    ).batching
    assert (batching.merge, batching.preferred_sizes, batching.max_delay_s, batching.preserve_ordering) == (True, [4, 8], 0.0005, True)
    policies = batching.policies
    assert (policies.levels, policies.default_level) == (2, 2)
    assert (policies.default.timeout_action, policies.default.timeout_s, policies.default.max_queue_size) == (DELAY, 0.002, 7)
    assert policies.default.allow_timeout_override
    assert policies.by_level[1].timeout_s == 0.001


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("dynamic_batching { priority_levels: 2 }", "default_priority_level must be from 1 to priority_levels, 2, got 0"),
        ("dynamic_batching { default_priority_level: 1 }", "default_priority_level must be from 1 to priority_levels, 0, got 1"),
        ("dynamic_batching { priority_queue_policy { key: 3 value { } } }", "is given for level 3; priority_levels is 0"),
        ("sequence_batching { iterative_sequence: true }", "onnxruntime models cannot have it, only python"),
        (
            "sequence_batching { control_input [ { name: 'S' control [ { kind: CONTROL_SEQUENCE_START } ] } ] }",
            "'S' needs int32_false_true",
        ),
        (
            "sequence_batching { control_input [ { name: 'C' control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 } ] } ] }",
            "TYPE_UINT64",
        ),
        ("sequence_batching { state [ { input_name: 'i' } ] }", "state 'i' needs input_name, output_name and data_type"),
        (
            "sequence_batching { state [ { input_name: 'i' output_name: 'o' data_type: TYPE_FP32 initial_state { data_file: 'f' } } ] }",
            "cannot be read: No such file",
        ),
        ("model_warmup [ { name: 'w' inputs { key: 'x' value { data_type: TYPE_FP32 dims: [ 4 ] } } } ]", "needs data_type, and zero_data"),
        ("instance_group [ { count: 1 }, { count: 1 } ]", "has several instance groups"),
    ],
)
def test_incomplete_configurations_are_reported(tmp_path: Path, config: str, reason: str) -> None:
    with pytest.raises(HubError) as raised:
        plans(tmp_path, config, modules_info={"m": {"workers": 2}})
    assert reason in raised.value.message


def test_sequences_follow_sequence_batching(tmp_path: Path) -> None:
    (tmp_path / "m" / "initial_state").mkdir(parents=True)
    (tmp_path / "m" / "initial_state" / "first").write_bytes(b"\0\0\x80?")
    sequences = plan(
        tmp_path,
        """sequence_batching {
             max_sequence_idle_microseconds: 3000000
             direct { max_queue_delay_microseconds: 200 minimum_slot_utilization: 0.5 }
             control_input [ { name: "S" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 7 ] } ] },
                             { name: "C" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_STRING } ] } ]
             state [ { input_name: "i" output_name: "o" data_type: TYPE_FP32 dims: [ 1 ] initial_state { data_file: "first" } } ]
           }""",
    ).sequences
    assert sequences is not None
    assert (sequences.strategy, sequences.max_idle_s, sequences.max_delay_s, sequences.min_utilization) == (DIRECT, 3.0, 0.0002, 0.5)
    assert list(sequences.controls) == [Control("S", START, "int32", 0, 7), Control("C", CORRELATION_ID, "bytes")]
    assert list(sequences.states) == [State("i", "o", "float32", (1,), b"\0\0\x80?")]
    oldest = plan(tmp_path, "sequence_batching { oldest { max_candidate_sequences: 9 preferred_batch_size: [ 2 ] } }").sequences
    assert oldest is not None
    assert (oldest.strategy, oldest.slots, list(oldest.preferred_sizes), oldest.max_idle_s) == (OLDEST, 9, [2], 1.0)


def test_warm_up_and_response_cache_are_planned(tmp_path: Path) -> None:
    sample = "inputs { key: 'x' value { data_type: TYPE_FP32 dims: [ 4 ] random_data: true } }"
    one = plan(tmp_path, f"model_warmup [ {{ name: 'w' batch_size: 3 {sample} }} ] response_cache {{ enable: true }}")
    wanted = {"name": "w", "batch_size": 3, "count": 1, "inputs": {"x": {"dtype": "float32", "shape": [4], "data": "random", "file": ""}}}
    assert one.instances[0].warm_up == [wanted]
    assert one.response_cache_bytes == 64 << 20
    assert plan(tmp_path, "").response_cache_bytes == 0


def test_a_bad_model_is_planned_with_its_error_and_the_others_as_they_are(tmp_path: Path) -> None:
    write_scale(tmp_path / "one", "good")
    write_scale(tmp_path / "one", "bad", "nonsense")
    write_scale(tmp_path / "one", "double")
    write_scale(tmp_path / "two", "double")
    settings = parse_settings({"model_store": [str(tmp_path / "one"), str(tmp_path / "two")]}, "test")
    errors = {each.info.name: each.error for each in plan_stores(settings)}
    assert list(errors) == ["bad", "double", "good"]
    assert errors["good"] == ""
    assert "nonsense" in errors["bad"]
    assert "two stores hold a model of this name" in errors["double"]


def test_explicit_control_plans_only_named_models(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scale(tmp_path, name)
    raw = {"model_store": [str(tmp_path)], "model_control": "explicit"}
    assert plan_stores(parse_settings(raw, "test")) == []
    assert [each.info.name for each in plan_stores(parse_settings({**raw, "load_model": ["b"]}, "test"))] == ["b"]
    assert [each.info.name for each in plan_stores(parse_settings({**raw, "load_model": ["*"]}, "test"))] == ["a", "b"]
    assert [each.info.name for each in plan_stores(parse_settings(raw, "test"), only="a")] == ["a"]
    with pytest.raises(ConfigError, match="load_model names 'c', which is in no model store; there are a, b"):
        plan_stores(parse_settings({**raw, "load_model": ["c"]}, "test"))


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ("{ model_name: 'a' input_map { key: 'x' value: 'in' } }", "step 1 (model 'a') needs model_name and output_map"),
        (
            "{ model_name: 'a' input_map { key: 'x' value: 'q' } output_map { key: 'y' value: 'out' } }",
            "takes tensor 'q', which is neither an input",
        ),
        ("{ model_name: 'a' input_map { key: 'x' value: 'in' } output_map { key: 'y' value: 'q' } }", "no step has its output 'out'"),
        (
            "{ model_name: 'a' input_map { key: 'x' value: 'in' } output_map { key: 'y' value: 'out' } },"
            "{ model_name: 'b' model_version: 2 input_map { key: 'x' value: 'in' } output_map { key: 'y' value: 'out' } }",
            "tensor 'out' has two sources: step 1 (model 'a') and step 2 (model 'b' version 2)",
        ),
        (
            "{ model_name: 'a' input_map { key: 'x' value: 'out' } input_map { key: 'w' value: 'in' } output_map { key: 'y' value: 'q' } },"
            "{ model_name: 'b' input_map { key: 'x' value: 'q' } output_map { key: 'y' value: 'out' } }",
            "these steps wait for one another in a circle: step 1 (model 'a'), step 2 (model 'b')",
        ),
    ],
)
def test_a_dataflow_that_cannot_be_computed_is_refused(tmp_path: Path, steps: str, reason: str) -> None:
    (tmp_path / "e").mkdir()
    head = f"platform: 'ensemble' input [ {tensor('in', [4])} ] output [ {tensor('out', [4])} ]"
    (tmp_path / "e" / "config.pbtxt").write_text(f"{head} ensemble_scheduling {{ step [ {steps} ] }}")
    with pytest.raises(ConfigError) as raised:
        plan_model(tmp_path / "e", parse_settings({"model_store": [str(tmp_path)]}, "test"))
    assert reason in raised.value.message


@pytest.mark.parametrize("own", [{"response_cache": True}, {"workers": 2}, {"max_queue_size": 4}])
def test_settings_that_only_the_models_of_an_ensemble_could_use_are_refused(tmp_path: Path, own: dict[str, Any]) -> None:
    maps = "input_map { key: 'x' value: 'in' } output_map { key: 'y' value: 'out' }"
    steps = f"ensemble_scheduling {{ step [ {{ model_name: 'm' model_version: -1 {maps} }} ] }}"
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "config.pbtxt").write_text(
        f"platform: 'ensemble' input [ {tensor('in', [4])} ] output [ {tensor('out', [4])} ] {steps}"
    )

    def planned(entry: dict[str, Any]) -> list[ModulePlan]:
        return plan_model(tmp_path / "e", parse_settings({"modules_info": {"e": entry}}, "test"))

    assert planned({})[0].ensemble is not None
    with pytest.raises(ConfigError, match=rf"modules_info\.e\.{next(iter(own))}: an ensemble has no instances"):
        planned(own)
