"""TensorFlow: SavedModels and Keras's files, served as TensorFlow and Keras compute them in a process of their own."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import requests
import tritonclient.grpc as grpc

from tests.conftest import ROOT, Server, hub, servers
from tests.frameworks.calls import PROTOCOLS, over_grpc, over_http
from tests.frameworks.home import ANSWERS, FrameworkHome
from tests.frameworks.servers import command_lines, wait_until_loaded
from tests.ports import free_port

TOLERANCE = 1e-5  # relative to the largest value: a batch is summed in another order than an item
SCRIPT = ANSWERS / "signature_answers.py"
X = {"x": np.random.default_rng(5).standard_normal((3, 4)).astype("float32")}
FIRST = {"in": np.array([[1, 2], [3, 5]], "float32")}
SIGNATURE = 'backend: "tensorflow"\nparameters {{ key: "TF_SIGNATURE_DEF" value {{ string_value: "{}" }} }}\n'
PLATFORM = """platform: "tensorflow_savedmodel"
max_batch_size: 4
input { name: "x" data_type: TYPE_FP32 dims: 4 }
output { name: "scores" data_type: TYPE_FP32 dims: 3 }
parameters { key: "TF_NUM_INTRA_THREADS" value { string_value: "2" } }
parameters { key: "TF_NUM_INTER_THREADS" value { string_value: "2" } }
parameters { key: "TF_GRAPH_TAG" value { string_value: "serve" } }
"""
CPU = 'backend: "tensorflow"\nplatform: "tensorflow_savedmodel"\ninstance_group { kind: KIND_CPU count: 2 }\n'
#: served name -> model of the maker, config.pbtxt
STORED = {
    "scores": ("scores", ""),
    "platform": ("scores", PLATFORM),
    "both": ("scores", CPU),
    "first": ("first", ""),
    "upper": ("words", ""),
    **{each: ("words", SIGNATURE.format(each)) for each in ("raw", "types", "scaled", "product")},
}
KERAS = ("dictionary", "list", "plain", "text", "pictures")


@pytest.fixture(scope="module")
def models(frameworks: FrameworkHome) -> Path:
    return frameworks.made("tensorflow", "tensorflow_models")


@pytest.fixture(scope="module")
def server(frameworks: FrameworkHome, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = tmp_path_factory.mktemp("store")
    for name, (model, config) in STORED.items():
        shutil.copytree(models / model, store / name / "1" / "model.savedmodel")
        if config:
            (store / name / "config.pbtxt").write_text(config)
    files = {**{name: models / f"{name}.keras" for name in KERAS}, "old": models / "plain.h5", "counter": models / "counter"}
    modules = {name: {"init_args": {"directory": str(path)}, "workers": 1} for name, path in files.items()}
    with servers(frameworks.folder, tmp_path_factory.mktemp("log")) as start:
        port = free_port()
        started = start(modules, wait=False, port=port, grpc_port=port, model_store=[str(store)], workers=1)
        yield wait_until_loaded(started, timeout_s=500)


def check_close(answer: np.ndarray, wanted: np.ndarray) -> None:
    assert answer.shape == wanted.shape
    np.testing.assert_allclose(answer, wanted, rtol=0, atol=TOLERANCE * float(np.abs(wanted).max()))


def check_all(answers: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Compare all outputs; one number for each item is [1] in a configuration."""
    assert set(answers) == set(wanted)
    for name, array in wanted.items():
        check_close(answers[name], array[:, None] if array.ndim == 1 else array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["scores", "both", "first"])
def test_a_saved_model_answers_as_tensorflow_over_every_protocol(
    name: str, protocol: str, server: Server, models: Path, frameworks: FrameworkHome
) -> None:
    arrays = FIRST if name == "first" else X
    if name == "first":  # tf.saved_model.load refuses its input's name, which Python keeps for itself
        wanted = {"y": arrays["in"] @ np.array([[1, 2], [3, 4]], "float32")}
    else:
        wanted = frameworks.in_process("tensorflow", SCRIPT, models / STORED[name][0], arrays=arrays)
    check_all(PROTOCOLS[protocol](server, name, arrays), wanted)
    for item in range(2):
        one = {key: array[item : item + 1] for key, array in arrays.items()}
        check_all(PROTOCOLS[protocol](server, name, one), {key: array[item : item + 1] for key, array in wanted.items()})


def test_a_configuration_may_leave_outputs_out_and_sets_threads(server: Server, models: Path, frameworks: FrameworkHome) -> None:
    wanted = frameworks.in_process("tensorflow", SCRIPT, models / "scores", arrays=X)
    check_all(over_grpc(server, "platform", X), {"scores": wanted["scores"]})
    engine = server.status("platform")["engine"]
    assert (engine["name"], engine["threads"], engine["device"], engine["signature"]) == ("tensorflow", 2, "cpu", "serving_default")


def test_a_missing_configuration_is_completed_from_the_signature(server: Server) -> None:
    config = requests.get(server.url + "/v2/models/scores/config", timeout=10).json()
    assert [(each["name"], each["data_type"], each["dims"]) for each in config["input"]] == [("x", "TYPE_FP32", [4])]
    outputs = [(each["name"], each["data_type"], each["dims"]) for each in config["output"]]
    assert outputs == [("scores", "TYPE_FP32", [3]), ("sums", "TYPE_FP32", [1])]
    assert (config["max_batch_size"], config["backend"], "dynamic_batching" in config) == (32, "tensorflow", True)


def texts(shape: tuple[int, ...], *elements: bytes) -> np.ndarray:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)


@pytest.mark.parametrize("call", [over_http, over_grpc])
def test_texts_go_both_ways(call: Callable[..., dict[str, np.ndarray]], server: Server) -> None:
    given = texts((2, 2), b"cat", "żółw".encode(), b"dog", b"")
    answers = call(server, "upper", {"text": given})
    assert answers["upper"].tolist() == [[b"CAT", "ŻÓŁW".encode()], [b"DOG", b""]]
    assert answers["length"].tolist() == [[3, 7], [3, 0]]
    assert answers["number"].tolist() == [[1, -1], [2, -1]]
    odd = texts((3, 1), b"\xff\x00\xfe", b"\x00", b"a" * 70_000)
    assert call(server, "raw", {"bytes": odd})["again"].tolist() == odd.tolist()


def test_texts_go_both_ways_as_json(server: Server) -> None:
    assert server.results("upper", inputs={"text": [["cat", "żółw"]]})["outputs"] == {
        "upper": [["CAT", "ŻÓŁW"]],
        "length": [[3, 7]],
        "number": [[1, -1]],
    }
    body = {"inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": ["dog"]}], "outputs": [{"name": "upper"}]}
    answer = requests.post(server.url + "/v2/models/upper/infer", json=body, timeout=60).json()
    assert [(each["datatype"], each["data"]) for each in answer["outputs"]] == [("BYTES", ["DOG"])]


def test_every_datatype_is_computed_as_it_is(server: Server) -> None:
    arrays = {
        "flag": np.array([[True, False]]),
        "byte": np.array([[0, 254]], "uint8"),
        "long": np.array([[-3, 2**20]], "int64"),
        "half": np.array([[0.5, 6e4]], "float16"),
        "double": np.array([[1, 1e300]]),
    }
    with grpc.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        kinds = {"flag": "BOOL", "byte": "UINT8", "long": "INT64", "half": "FP16", "double": "FP64"}
        inputs = [grpc.InferInput(name, [1, 2], kind) for name, kind in kinds.items()]
        for each in inputs:
            each.set_data_from_numpy(arrays[each.name()])
        brain = grpc.InferInput("brain", [1, 2], "BF16")
        brain.set_data_from_numpy(np.array([[1.5, 3e38]], ml_dtypes.bfloat16))
        result = client.infer("types", [*inputs, brain])
        assert result.as_numpy("flag").tolist() == [[False, True]]
        assert result.as_numpy("byte").tolist() == [[1, 255]]
        assert result.as_numpy("long").tolist() == [[-3 * 2**40, 2**60]]
        assert result.as_numpy("half").tolist() == [[1.0, np.inf]]
        assert result.as_numpy("double").tolist() == [[1 / 3, 1e300 / 3]]
        assert result.as_numpy("brain").tolist() == [[3.0, np.inf]]


def test_scalars_and_tensors_of_any_rank(server: Server) -> None:
    for shape in [(2,), (1, 3), (2, 1, 2)]:
        given = np.arange(np.prod(shape), dtype="float32").reshape(shape)
        answers = over_http(server, "scaled", {"factor": np.array([3], "float32"), "any": given})
        assert np.array_equal(answers["scaled"], 3 * given)
        assert answers["total"].reshape(-1).tolist() == [given.sum()]


def test_a_failing_computation_is_one_sentence_and_the_next_request_is_computed(server: Server) -> None:
    # one item each: the first dimension counts as the batch, and the server may compute items apart
    good, wide, bad = (np.ones((1, length), "float32") for length in (1, 3, 4))
    answer = server.predict("product", json={"inputs": {"a": wide.tolist(), "b": bad.tolist()}}).json()
    assert (
        "the tensorflow engine could not compute a [1, 3], b [1, 4]: Matrix size-incompatible: In[0]: [1,3], In[1]: [1,4]" in answer["msg"]
    )
    assert not any(word in answer["msg"] for word in ("Traceback", "{{node", "Detected at", "Graph execution", "[Op:", "\n"))
    check_close(over_http(server, "product", {"a": good, "b": good})["product"], np.ones((1, 1), "float32"))


def test_a_model_keeps_its_state_between_requests(server: Server) -> None:
    for _ in range(2):
        assert over_http(server, "counter", X)["y"].tolist() == (X["x"] + 1).tolist()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["dictionary", "list", "plain", "pictures"])
def test_a_keras_file_answers_as_keras(name: str, protocol: str, server: Server, models: Path, frameworks: FrameworkHome) -> None:
    random = np.random.default_rng(6)
    arrays = {"a": random.standard_normal((3, 4)).astype("float32"), "b": random.integers(0, 5, (3, 2)).astype("int32")}
    if name == "pictures":
        arrays = {"picture": random.random((3, 64, 64, 3), "float32")}
    if name == "plain":
        arrays = {"numbers": arrays["a"]}
    source = "dictionary" if name == "list" else name  # the same layers
    wanted = frameworks.in_process("tensorflow", SCRIPT, models / f"{source}.keras", arrays=arrays)
    names = {"one": "d1", "two": "d2"} if name == "list" else {}
    check_all(PROTOCOLS[protocol](server, name, arrays), {names.get(key, key): array for key, array in wanted.items()})
    if name == "plain":
        check_all(PROTOCOLS[protocol](server, "old", arrays), wanted)


def test_a_keras_file_that_takes_texts(server: Server) -> None:
    answers = [
        over_http(server, "text", {"sentence": texts((len(each), 1), *each)})["mood"] for each in ([b"the cat", b"a dog"], [b"a dog"])
    ]
    assert answers[0].shape == (2, 1)
    check_close(answers[0][1:], answers[1])


def test_a_killed_instance_costs_no_request_and_no_answer_is_wrong(server: Server) -> None:
    ends, stop, wrong, done = time.monotonic() + 25, threading.Event(), [], []

    def ask(number: int) -> None:
        x = np.full((1, 4), number % 7, "float32")
        with requests.Session() as session:
            while not stop.is_set():
                body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": x.ravel().tolist()}]}
                answer = session.post(server.url + "/v2/models/both/infer", json=body, timeout=60)
                outputs = {each["name"]: each["data"] for each in answer.json().get("outputs", [])}
                (done if outputs.get("sums") == [float(x.sum())] else wrong).append((answer.status_code, answer.text))

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask, number) for number in range(4)]
        killed = 0
        while time.monotonic() < ends and killed < 3:
            time.sleep(1)
            pids = server.instance_pids("both")
            if len(pids) == 2:
                os.kill(pids[killed % 2], signal.SIGKILL)
                killed += 1
        time.sleep(1)
        stop.set()
        for each in asked:
            each.result()
    assert killed >= 2
    assert not wrong, wrong[:3]
    assert len(done) > 200


#: model of the maker, its damage -> the reason
DAMAGES = {
    "no graph": "no signature, so that it cannot be served",
    "cut graph": "'{folder}/saved_model.pb' is damaged or cut short",
    "no weights": "lacks variables.index in its folder 'variables'",
    "no shard": "lacks variables.data-* in its folder 'variables'",
    "cut weights": "the tensorflow engine cannot load scores from '{parent}': Read less bytes than requested. The files may be damaged",
    "function.keras": "'function.keras' has a Lambda layer, which is Python code inside the file, and is not run",
    "function.h5": "'function.h5' has a Lambda layer, which is Python code inside the file, and is not run",
    "own.keras": "'own.keras' uses 'Own', code of its own project, which the file does not contain",
    "unbuilt.keras": "'unbuilt.keras' does not say what it takes: the model was saved before it was built",
    "only.weights.h5": "'only.weights.h5' is an HDF5 file without a model's description",
    "cut.keras": "'cut.keras' is damaged or cut short",
}


def damaged(models: Path, damage: str, folder: Path) -> Path:
    if damage == "cut.keras":
        (folder / damage).write_bytes((models / "plain.keras").read_bytes()[:-100])
        return folder / damage
    if (models / damage).is_file():
        return Path(shutil.copy(models / damage, folder))
    model = shutil.copytree(models / ("nothing" if damage == "no graph" else "scores"), folder / "scores")
    weights = model / "variables" / "variables.data-00000-of-00001"
    if damage == "cut graph":
        os.truncate(model / "saved_model.pb", 1000)
    if damage == "no weights":
        (model / "variables" / "variables.index").unlink()
    if damage == "no shard":
        weights.unlink()
    if damage == "cut weights":
        os.truncate(weights, weights.stat().st_size - 20)
    return model


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_be_served_is_refused_in_one_sentence(
    damage: str, models: Path, frameworks: FrameworkHome, tmp_path: Path
) -> None:
    model = damaged(models, damage, tmp_path)
    with command_lines(frameworks.folder, tmp_path) as start:
        server = start("-m", model, wait=False)
        deadline = time.monotonic() + 120
        while server.process.poll() is None and "cannot" not in server.log.read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        said = server.log.read_text()
    assert DAMAGES[damage].format(folder=model, parent=model.parent) in said
    assert "Traceback" not in said


def test_an_unknown_signature_or_tag_is_answered_with_those_that_exist(models: Path, frameworks: FrameworkHome, tmp_path: Path) -> None:
    settings = {"TF_SIGNATURE_DEF": "classify"}, {"TF_GRAPH_TAG": "gpu"}
    reasons = (
        "'words' has no signature 'classify'; it has 'product', 'raw', 'scaled', 'serving_default', 'types'",
        "'words' has no graph with the tag 'gpu'; its tags are 'serve'",
    )
    for init_args, reason in zip(settings, reasons, strict=True):
        with command_lines(frameworks.folder, tmp_path) as start:
            server = start("-m", models / "words", "-mi", json.dumps({"words": {"init_args": init_args}}), wait=False)
            deadline = time.monotonic() + 120
            while reason not in server.log.read_text() and time.monotonic() < deadline:
                time.sleep(0.2)
            assert reason in server.log.read_text()


def test_a_gpu_that_is_not_there_is_missed_in_one_sentence(models: Path, frameworks: FrameworkHome, tmp_path: Path) -> None:
    script = tmp_path / "on_gpu.py"
    script.write_text(
        f"import sys\nsys.path.append({str(ROOT)!r})\n"
        "from hubserve.engines import EngineOptions, load_engine\nfrom hubserve.errors import LoadFailed\n"
        "try:\n    load_engine(sys.argv[1], 'tensorflow', EngineOptions(use_gpu=True))\nexcept LoadFailed as error:\n    print(error)\n"
    )
    said = frameworks.run("tensorflow", script, models / "scores")
    assert "a GPU is asked for, and this TensorFlow is a build for CPUs. Install the one for GPUs" in said


def test_installed_models_are_served(models: Path, frameworks: FrameworkHome, tmp_path: Path) -> None:
    for model, name in ((models / "scores", "tf-installed"), (models / "plain.keras", "keras-installed")):
        installed = hub("install", model, "--name", name, home=frameworks.folder)
        assert installed.returncode == 0, installed.stderr
    try:
        with command_lines(frameworks.folder, tmp_path) as start:
            server = start("-m", "tf-installed", "keras-installed")
            assert over_http(server, "tf-installed", X)["sums"].ravel().tolist() == pytest.approx(X["x"].sum(1).tolist(), abs=1e-5)
            assert over_grpc(server, "keras-installed", {"numbers": X["x"]})["scores"].sum(1).tolist() == pytest.approx([1, 1, 1])
    finally:
        hub("uninstall", "tf-installed", "keras-installed", "-y", home=frameworks.folder)


def test_batches_of_any_size_are_computed_by_one_trace(models: Path, frameworks: FrameworkHome, tmp_path: Path) -> None:
    script = tmp_path / "traces.py"
    script.write_text(
        f"import sys, json\nsys.path.append({str(ROOT)!r})\n"
        "import numpy as np\nfrom hubserve.engines import load_engine\nimport tensorflow as tf\n"
        "traced = []\nbefore = tf.Graph.__init__\n"
        "tf.Graph.__init__ = lambda self, *a, **k: (traced.append(1), before(self, *a, **k))[1]\n"
        "engines = [load_engine(each, 'tensorflow') for each in sys.argv[1:]]\n"
        "run = lambda size: [each.run({each.inputs[0].name: np.ones((size, 4), 'float32')}) for each in engines]\n"
        "run(1)\ncount = len(traced)\nassert count\nfor size in range(2, 40):\n    run(size)\nprint(json.dumps(len(traced) - count))\n"
    )
    said = frameworks.run("tensorflow", script, models / "scores", models / "plain.keras")
    assert json.loads(said.splitlines()[-1]) == 0
