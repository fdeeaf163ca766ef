"""Every framework at once: one server, one port, every protocol, and answers as each framework gives them in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

import hubserve
from hubserve.engines import engine_class
from hubserve.engines.model_formats import FORMATS
from hubserve.registry.environments.environment_record import Environment
from tests.conftest import ROOT, Server, hub, servers
from tests.frameworks.calls import PROTOCOLS, classes_over_json, over_grpc, over_http
from tests.frameworks.digits import Digits, load_digits
from tests.frameworks.home import ANSWERS, FrameworkHome
from tests.frameworks.models import MODELS, store
from tests.frameworks.servers import wait_until_loaded
from tests.frameworks.tiinfer_scripts import GUIDE, script_folder
from tests.ports import free_port

PACKAGE = Path(hubserve.__file__).parent
TOLERANCE = 2e-5  # relative to the largest score: engines sum in another order where they compute batches
PADDLE_26 = "clas_paddle26"
#: name of a tiinfer script -> its framework
SCRIPTS = {"digits-pytorch": "pytorch", "digits-tensorflow": "tensorflow"}
REQUIREMENTS = "paddlepaddle==2.6.2\nnumpy<1.25\nprotobuf<3.21\nopencv-python-headless<4.12\n"


@pytest.fixture(scope="module")
def paddle_26(frameworks: FrameworkHome, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The environment of the classifier as a module for Paddle 2.6 and Python 3.8, which this Python cannot run."""
    folder = tmp_path_factory.mktemp("paddle26") / PADDLE_26
    shutil.copytree(ROOT / "hubmodules" / "clas", folder, ignore=shutil.ignore_patterns("__pycache__"))
    text = (folder / "module.py").read_text("utf-8")
    assert 'name="clas_system",' in text
    (folder / "module.py").write_text(text.replace('name="clas_system",', f'name="{PADDLE_26}",\n    requires_python="<3.9",'), "utf-8")
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    return frameworks.installed(folder)


@pytest.fixture(scope="module")
def scripts(frameworks: FrameworkHome, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiinfer scripts: the guide's own, as they are written, where the guide is at hand."""
    folder, origin = tmp_path_factory.mktemp("scripts"), "guide" if GUIDE.is_file() else "own"
    return {name: script_folder(frameworks, digits, framework, origin, folder / name) for name, framework in SCRIPTS.items()}


@pytest.fixture(scope="module")
def server(
    frameworks: FrameworkHome,
    paddle_26: Environment,
    scripts: dict[str, Path],
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    repository = store(frameworks, tmp_path_factory.mktemp("store"), MODELS)
    files = {"inference_model_dir": str(model_dir), "engine": "paddle"}
    modules = {"clas_system": {"init_args": {"directory": str(ROOT / "hubmodules" / "clas"), **files}}, PADDLE_26: {"init_args": files}}
    modules |= {name: {"init_args": {"directory": str(folder)}, "environment": SCRIPTS[name]} for name, folder in scripts.items()}
    port = free_port()
    with servers(frameworks.folder, tmp_path_factory.mktemp("log")) as start:
        yield wait_until_loaded(start(modules, wait=False, port=port, grpc_port=port, model_store=[str(repository)], workers=1))


@pytest.fixture(scope="module")
def digits(frameworks: FrameworkHome) -> Digits:
    return load_digits(frameworks)


def check_close(answer: np.ndarray, wanted: np.ndarray) -> None:
    assert answer.shape == wanted.shape
    np.testing.assert_allclose(answer, wanted, rtol=0, atol=TOLERANCE * float(np.abs(wanted).max()))


@pytest.fixture(scope="module")
def wanted(frameworks: FrameworkHome) -> dict[str, np.ndarray]:
    """What each framework answers in a process of its own to two items."""
    return {name: model.answers(frameworks, model.asked(2)) for name, model in MODELS.items()}


def test_a_model_of_each_form_that_needs_an_environment_is_served() -> None:
    needing = {each.engine for each in FORMATS.values() if each.engine != "auto" and engine_class(each.engine).profile}
    assert {model.framework for model in MODELS.values()} == needing


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_answers_as_its_framework(name: str, protocol: str, server: Server, wanted: dict[str, np.ndarray]) -> None:
    model = MODELS[name]
    arrays = model.asked(2)
    answers = PROTOCOLS[protocol](server, name, arrays)
    assert set(answers) == {model.output}
    check_close(answers[model.output], wanted[name])
    first = PROTOCOLS[protocol](server, name, {key: array[:1] for key, array in arrays.items()})
    check_close(first[model.output], wanted[name][:1])
    assert np.abs(wanted[name][0] - wanted[name][1]).max() > 50 * TOLERANCE * np.abs(wanted[name]).max(), "the items must differ"


@pytest.mark.parametrize("name", ["clas_system", PADDLE_26])
def test_two_versions_of_paddle_answer_as_each_does(
    name: str, server: Server, frameworks: FrameworkHome, paddle_26: Environment, model_dir: Path, tmp_path: Path
) -> None:
    arrays = {"x": np.random.default_rng(4).standard_normal((2, 3, 224, 224)).astype(np.float32)}
    graph = model_dir / "inference.pdmodel"
    if name == PADDLE_26:
        (scores,) = frameworks.in_process(paddle_26, ANSWERS / "paddle_answers.py", graph, arrays=arrays).values()
    else:
        np.savez(tmp_path / "given.npz", **arrays)
        command = [sys.executable, ANSWERS / "paddle_answers.py", tmp_path / "given.npz", tmp_path / "answers.npz", graph]
        subprocess.run(command, check=True, capture_output=True)
        (scores,) = np.load(tmp_path / "answers.npz").values()
    for call in (over_http, over_grpc):
        (answer,) = call(server, name, arrays).values()
        check_close(answer, scores)
    assert classes_over_json(server, name, arrays) == np.argsort(-scores, axis=1)[:, :5].tolist()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_tiinfer_script_answers_as_by_itself(
    name: str, server: Server, frameworks: FrameworkHome, scripts: dict[str, Path], digits: Digits, tmp_path: Path
) -> None:
    values = [{"images": [digits.encoded(number)]} for number in range(10)]
    (tmp_path / "requests.json").write_text(json.dumps(values))
    printed = frameworks.run(SCRIPTS[name], ANSWERS / "tiinfer_script.py", scripts[name], PACKAGE, tmp_path / "requests.json")
    wanted = json.loads(printed.splitlines()[-1])
    assert len({each["result"]["pred"] for each in wanted}) > 5, "the digits must differ"
    assert [server.results(name, **value) for value in values] == wanted
    for call in (over_http, over_grpc):
        sent = [{"arguments": np.array([json.dumps(value).encode()], object)} for value in values]
        assert [json.loads(call(server, name, each)["results"][0]) for each in sent] == wanted


def test_each_runs_in_its_own_python_and_status_says_which(server: Server, frameworks: FrameworkHome, paddle_26: Environment) -> None:
    expected = {name: frameworks.environment(model.framework).folder for name, model in MODELS.items()}
    expected |= {PADDLE_26: paddle_26.folder, "clas_system": Path(sys.prefix)}
    expected |= {name: frameworks.environment(framework).folder for name, framework in SCRIPTS.items()}
    for name, folder in expected.items():
        (pid,) = server.instance_pids(name)
        started = Path(psutil.Process(pid).cmdline()[0])
        assert started.parent.parent.resolve() == folder.resolve(), name
    assert len(set(expected.values())) == 6, "four frameworks and two Paddles, and no two share an interpreter"
    shown = hub("serving", "status", "-p", server.port, "--json", home=frameworks.folder)
    assert shown.returncode == 0, shown.stderr
    engines = {each["name"]: (each.get("engine") or {}).get("name") for each in json.loads(shown.stdout)["modules"]}
    own = {"clas_system": "paddle", PADDLE_26: "paddle", **dict.fromkeys(SCRIPTS)}
    assert engines == {name: model.framework for name, model in MODELS.items()} | own


def test_all_are_asked_at_once_and_none_gets_anothers_answer(server: Server, wanted: dict[str, np.ndarray]) -> None:
    def ask(number: int) -> None:
        name = list(MODELS)[number % len(MODELS)]
        item = number // len(MODELS) % 2
        arrays = {key: array[item : item + 1] for key, array in MODELS[name].asked(2).items()}
        answers = (over_http, over_grpc)[number % 2](server, name, arrays)
        check_close(answers[MODELS[name].output], wanted[name][item : item + 1])

    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(ask, range(20 * len(MODELS))))) == 140


def memory_mb(server: Server) -> dict[str, float]:
    """Resident memory of the gateway and of each model's instance."""
    modules: list[dict[str, Any]] = requests.get(server.url + "/status", timeout=10).json()["modules"]
    pids = {"gateway": server.process.pid} | {each["name"]: each["instances"][0]["pid"] for each in modules}
    return {name: psutil.Process(pid).memory_info().rss / 1e6 for name, pid in pids.items()}


def test_memory_of_all_of_them_together_is_what_their_processes_hold(server: Server, wanted: dict[str, np.ndarray]) -> None:
    for name, model in MODELS.items():
        over_http(server, name, model.asked(1))
    memory = memory_mb(server)
    print(json.dumps({name: round(each) for name, each in memory.items()}))
    if folder := os.environ.get("HUBSERVE_FRAMEWORKS_REPORT"):
        Path(folder, "memory.json").write_text(json.dumps(memory, indent=1))
    assert memory["gateway"] < 400
