"""``engine: auto`` for models of TensorFlow and PyTorch: another engine is taken only if it answers as the framework does."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ROOT, Server, hub, servers
from tests.frameworks.calls import over_grpc, over_http
from tests.frameworks.home import ANSWERS, FrameworkHome
from tests.frameworks.servers import wait_until_loaded
from tests.ports import free_port

TOLERANCE = 1e-4  # of the comparison: hubserve.engines.parity
CHOOSE = f"""import json, sys
sys.path.append({str(ROOT)!r})
from hubserve.engines import EngineOptions, load_engine
from hubserve.errors import HubError
for model, tuning in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        engine = load_engine(model, "auto", EngineOptions(max_batch_size=4, tuning=tuple(json.loads(tuning).items())))
        said = {{"engine": engine.name, "reason": engine.reason, "measured": dict(engine.measured)}}
        said["tensors"] = [[list(spec) for spec in side] for side in (engine.inputs, engine.outputs)]
    except HubError as error:
        said = {{"error": str(error)}}
    print("SAID " + json.dumps(said))
"""


@pytest.fixture(scope="module")
def models(frameworks: FrameworkHome) -> Path:
    return frameworks.made("tensorflow", "tensorflow_models")


@pytest.fixture(scope="module")
def choose(frameworks: FrameworkHome, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Any:
    """``choose(profile, (model, settings), ...)``: what auto chose for each, in the profile's environment."""
    script = tmp_path_factory.mktemp("choose") / "choose.py"
    script.write_text(f"import os\nos.environ['HUB_HOME'] = {str(cache)!r}\n{CHOOSE}")

    def run(profile: str, *asked: tuple[Path, dict[str, str]]) -> list[dict[str, Any]]:
        arguments = [each for model, tuning in asked for each in (model, json.dumps(tuning))]
        said = frameworks.run(profile, script, *arguments)
        return [json.loads(line.removeprefix("SAID ")) for line in said.splitlines() if line.startswith("SAID ")]

    return run


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def fastest(measured: dict[str, Any]) -> set[str]:
    """Return the engines that may be taken: within 5% of the fastest."""
    best = {name: min(each["ms_per_item"].values()) for name, each in measured["engines"].items() if "left_out" not in each}
    return {name for name, ms in best.items() if ms <= 1.05 * min(best.values())}


@pytest.fixture(scope="module")
def of_tensorflow(choose: Any, models: Path) -> dict[str, dict[str, Any]]:
    names = ["pictures", "pictures.keras", "dictionary.keras", "noisy", "counter", "words", "first"]
    asked = {name: (models / name, {}) for name in names}
    asked["named"] = (models / "words", {"TF_SIGNATURE_DEF": "product"})
    asked["text.keras"] = (models / "text.keras", {})
    return dict(zip(asked, choose("tensorflow", *asked.values()), strict=True))


@pytest.mark.parametrize("name", ["pictures", "pictures.keras", "dictionary.keras", "first"])
def test_of_engines_that_agree_the_fastest_is_taken(name: str, of_tensorflow: dict[str, dict[str, Any]]) -> None:
    found = of_tensorflow[name]
    measured = found["measured"]
    assert measured["reference"] == "tensorflow"
    assert set(measured["engines"]) == {"tensorflow", "openvino"}
    assert measured["engines"]["openvino"]["difference"] < 1e-5
    assert found["engine"] in fastest(measured)
    assert "compared with tensorflow" in found["reason"]


def test_another_engine_calls_the_tensors_as_the_framework_does(of_tensorflow: dict[str, dict[str, Any]]) -> None:
    assert of_tensorflow["dictionary.keras"]["tensors"] == [
        [["a", "float32", [-1, 4]], ["b", "int32", [-1, 2]]],
        [["one", "float32", [-1, 2]], ["two", "float32", [-1, 3]]],
    ]
    assert of_tensorflow["first"]["tensors"] == [[["in", "float32", [-1, 2]]], [["y", "float32", [-1, 2]]]]


def test_an_engine_that_answers_otherwise_is_left_out(of_tensorflow: dict[str, dict[str, Any]]) -> None:
    found = of_tensorflow["noisy"]
    assert found["engine"] == "tensorflow"
    assert "not openvino: output 0 differs by up to" in found["reason"]


def test_an_engine_that_cannot_convert_a_model_is_left_out_with_the_operator(of_tensorflow: dict[str, dict[str, Any]]) -> None:
    found = of_tensorflow["counter"]
    assert found["engine"] == "tensorflow"
    assert "not openvino: " in found["reason"]
    assert "No conversion rule found for operations: " in found["reason"]
    assert "SelfAdjointEigV2" in found["reason"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("words", "because 'text' has texts, which other engines do not compute"),
        ("text.keras", "because it takes texts, which other engines do not compute"),
        ("named", "because other engines read the signature 'serving_default' only, and 'product' is computed"),
    ],
)
def test_what_cannot_be_compared_is_left_to_the_framework(name: str, why: str, of_tensorflow: dict[str, dict[str, Any]]) -> None:
    found = of_tensorflow[name]
    assert (found["engine"], found["reason"], found["measured"]) == ("tensorflow", f"auto: tensorflow, {why}", {})


def test_files_of_pytorch_are_compared_with_pytorch(choose: Any, frameworks: FrameworkHome, cache: Path) -> None:
    folder = frameworks.made("pytorch", "pytorch_model", "tiny")
    found = choose("pytorch", (folder / "model.pt2", {}), (folder / "model.pt", {}))
    for each in found:
        assert each["measured"]["reference"] == "pytorch", each["reason"]
        assert set(each["measured"]["engines"]) == {"pytorch", "openvino"}
        assert each["engine"] in fastest(each["measured"])
    assert len(list((cache / "cache" / "openvino").glob("*.xml"))) >= 2


def test_without_its_framework_a_model_is_not_given_to_another_engine(models: Path, cache: Path) -> None:
    from hubserve.engines import EngineOptions, find_model_files
    from hubserve.engines.selection import choose as verdict

    chosen = verdict(find_model_files(models, "pictures"), EngineOptions())
    assert chosen.engine == "tensorflow"
    assert "other engines must answer as tensorflow does, which is not installed here" in chosen.reason


@pytest.fixture(scope="module")
def server(frameworks: FrameworkHome, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = tmp_path_factory.mktemp("store")
    shutil.copytree(models / "pictures", store / "stored" / "1" / "model.savedmodel")
    parameter = 'parameters { key: "engine" value { string_value: "%s" } }\n'
    (store / "stored" / "config.pbtxt").write_text('platform: "tensorflow_savedmodel"\n' + parameter % "auto")
    tiny = frameworks.made("pytorch", "pytorch_model", "tiny") / "model.pt2"
    files = {"alone": models / "pictures", "keras": models / "pictures.keras", "exported": tiny}
    modules = {name: {"init_args": {"directory": str(path), "engine": "auto"}, "workers": 1} for name, path in files.items()}
    with servers(frameworks.folder, tmp_path_factory.mktemp("log")) as start:
        port = free_port()
        started = start(modules, wait=False, port=port, grpc_port=port, model_store=[str(store)], workers=1)
        yield wait_until_loaded(started, timeout_s=500)


@pytest.mark.parametrize("name", ["stored", "alone", "keras"])
def test_what_was_chosen_answers_as_tensorflow(name: str, server: Server, models: Path, frameworks: FrameworkHome) -> None:
    picture = np.random.default_rng(3).random((3, 64, 64, 3), "float32")
    wanted = frameworks.in_process("tensorflow", ANSWERS / "signature_answers.py", models / "pictures.keras", arrays={"picture": picture})
    spec = server.status(name)
    assert spec["engine"]["reason"].startswith("auto: ")
    for call in (over_http, over_grpc):
        (answer,) = call(server, name, {"picture": picture}).values()
        np.testing.assert_allclose(answer, wanted["classes"], rtol=0, atol=TOLERANCE * float(wanted["classes"].max()))


def test_what_was_chosen_answers_as_pytorch(server: Server, frameworks: FrameworkHome) -> None:
    data = {"data": np.random.default_rng(3).random((2, 3, 32, 32), "float32")}
    wanted = frameworks.answers("pytorch", frameworks.made("pytorch", "pytorch_model", "tiny") / "model.pt2", data)
    for call in (over_http, over_grpc):
        for answer, array in zip(call(server, "exported", data).values(), wanted.values(), strict=True):
            np.testing.assert_allclose(answer, array, rtol=0, atol=TOLERANCE * float(np.abs(array).max()))


def test_an_engine_that_does_not_read_a_form_is_answered_with_those_that_do(models: Path, frameworks: FrameworkHome) -> None:
    from hubserve.engines import load_engine
    from hubserve.errors import LoadFailed

    with pytest.raises(LoadFailed, match="engine 'onnxruntime' does not read 'pictures'. Use engine 'openvino' or 'tensorflow', or 'auto'"):
        load_engine(models / "pictures", "onnxruntime")
    assert hub("engines", home=frameworks.folder).returncode == 0
