"""What goes wrong with a framework costs no request and gives no wrong answer; bad files are refused with the reason."""

import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.conftest import Server, servers, wait_for
from tests.frameworks.calls import over_grpc, over_http
from tests.frameworks.home import FrameworkHome
from tests.frameworks.models import Model, store
from tests.frameworks.servers import command_lines, wait_until_loaded
from tests.ports import free_port

CONFIG = 'backend: "{}"\nmax_batch_size: 4\n'
#: tens of milliseconds each, so that a fault finds one in progress
UNDER_LOAD: Mapping[str, Model] = {
    "megengine": Model("megengine", "resnet18", "model.mge", config=CONFIG.format("megengine")),
    "oneflow": Model("oneflow", "resnet18", "model", "INPUT_0", "OUTPUT_0", CONFIG.format("oneflow")),
    "tensorflow": Model("tensorflow", "resnet18", "model.savedmodel", output="output_0", config=CONFIG.format("tensorflow")),
    "pytorch": Model("pytorch", "resnet18", "model.pt2", output="OUTPUT__0", config=CONFIG.format("pytorch")),
}
FAULTS = {"killed": signal.SIGKILL, "hung": signal.SIGSTOP, "aborted": signal.SIGABRT}
ITEMS = 4
CLIENTS = 6
TOLERANCE = 5e-5


class Load:
    """Clients that ask without a pause, over two protocols, and compare each answer."""

    def __init__(self, server: Server, name: str, wanted: np.ndarray) -> None:
        self.server, self.name, self.model, self.wanted = server, name, UNDER_LOAD[name], wanted
        self.items = self.model.asked(ITEMS)
        self.right, self.wrong, self.lost = 0, 0, []  # type: int, int, list[str]
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def _ask(self, number: int) -> None:
        call = (over_http, over_grpc)[number % 2]
        while not self._end.is_set():
            item = number % ITEMS
            number += 1
            try:
                answers = call(self.server, self.name, {key: array[item : item + 1] for key, array in self.items.items()})
            except Exception as error:  # whatever it is, a request was lost
                self.lost.append(f"{type(error).__name__}: {error}")
                continue
            answer, scale = answers[self.model.output][0], float(np.abs(self.wanted).max())
            if np.abs(answer - self.wanted[item]).max() <= TOLERANCE * scale:
                self.right += 1
            else:
                self.wrong += 1

    def __enter__(self) -> "Load":
        for each in self._threads:
            each.start()
        wait_for(lambda: self.right > CLIENTS or self.lost, 60)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for each in self._threads:
            each.join()


@pytest.fixture(scope="module", params=UNDER_LOAD)
def served(
    request: pytest.FixtureRequest, frameworks: FrameworkHome, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str, np.ndarray]]:
    """A server of one framework's model, and what the framework answers to each item."""
    name = request.param
    model = UNDER_LOAD[name]
    wanted = model.answers(frameworks, model.asked(ITEMS))
    repository = store(frameworks, tmp_path_factory.mktemp("store"), {name: model})
    port = free_port()
    modules = {name: {"init_args": {"directory": str(repository / name)}, "workers": 1, "compute_timeout_s": 4}}
    with servers(frameworks.folder, tmp_path_factory.mktemp("log")) as start:
        yield wait_until_loaded(start(modules, wait=False, port=port, grpc_port=port)), name, wanted


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_loaded_instance_costs_no_request_and_no_answer_is_wrong(fault: str, served: tuple[Server, str, np.ndarray]) -> None:
    server, name, wanted = served
    with Load(server, name, wanted) as load:
        for _ in range(2):
            (before,) = wait_for(lambda: server.instance_pids(name), 60)
            seen = load.right
            os.kill(before, FAULTS[fault])
            wait_for(lambda before=before: server.instance_pids(name) not in ([], [before]), 90)
            wait_for(lambda seen=seen: load.right > seen + 2 * CLIENTS or load.lost, 90)
    assert (load.lost, load.wrong) == ([], 0)
    assert load.right > 4 * CLIENTS


def damage(file: Path) -> None:
    """Overwrite the beginning, where formats say what follows."""
    content = bytearray(file.read_bytes())
    content[:4096] = np.random.default_rng(5).bytes(min(4096, len(content)))
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


HARM: Mapping[str, Callable[[Path], None]] = {"damaged": damage, "cut": cut, "empty": empty, "missing": Path.unlink}
#: framework, harmed file below the model's folder or file, as maker wrote it
FILES = {
    "megengine": ("model.mge",),
    "oneflow": ("model/model.mlir", "model/WEIGHT/out"),
    "tensorflow": ("model.savedmodel/saved_model.pb", "model.savedmodel/variables/variables.index"),
    "pytorch": ("model.pt2",),
    "torchscript": ("model.pt",),
}
CASES = [
    (name, number, harm)
    for name, files in FILES.items()
    for number, file in enumerate(files)
    for harm in HARM
    if (harm, "WEIGHT" in file) != ("damaged", True)  # plain numbers: any bytes are some
]
REMEDY = re.compile(r"\b(Export|Save|Copy|Dump|Download|Give|Put|Check|Write|Fetch|Train|Make|Build|Restore|Convert)\b", re.IGNORECASE)


def spoiled(frameworks: FrameworkHome, folder: Path, name: str, number: int, harm: str) -> Path:
    """Copy a model, spoil one of its files, and return that file."""
    profile = "pytorch" if name == "torchscript" else name
    place = FILES[name][number]
    made = frameworks.made(profile, f"{profile}_model", "tiny")
    whole = place.partition("/")[0]
    folder.mkdir(parents=True)
    if (made / whole).is_dir():
        shutil.copytree(made / whole, folder / whole)
    else:
        shutil.copyfile(made / whole, folder / whole)
    if "WEIGHT" in place:
        place = next(each for each in sorted((folder / whole).rglob("out"))).relative_to(folder).as_posix()
    HARM[harm](folder / place)
    return folder / place


def check_reason(reason: str, file: Path) -> None:
    assert "\n" not in reason.strip(), reason
    assert len(reason.replace(str(file.parent), "")) < 400, reason
    assert "Traceback" not in reason, reason
    models = [part for part in file.parts if part.startswith("model")]
    assert any(each in reason for each in (file.name, *models)), f"it names no file: {reason}"
    assert REMEDY.search(reason), f"it says no remedy: {reason}"


@pytest.fixture(scope="module")
def bad_store(frameworks: FrameworkHome, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """A repository in which no model can be loaded, and the spoiled file of each."""
    folder = tmp_path_factory.mktemp("bad")
    files = {}
    for name, number, harm in CASES:
        model = f"{name}-{number}-{harm}"
        files[model] = spoiled(frameworks, folder / model / "1", name, number, harm)
        backend = "pytorch" if name == "torchscript" else name
        (folder / model / "config.pbtxt").write_text(f'backend: "{backend}"\n')
    return folder, files


@pytest.fixture(scope="module")
def reasons(
    bad_store: tuple[Path, dict[str, Path]], frameworks: FrameworkHome, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, dict[str, Any]]]:
    """The entries of the repository's index, by name."""
    with command_lines(frameworks.folder, tmp_path_factory.mktemp("log")) as start:
        server = wait_until_loaded(start("--model-store", bad_store[0], "-w", "1", wait=False), 400)
        index = requests.post(server.url + "/v2/repository/index", timeout=30).json()
        yield {each["name"]: each for each in index}


@pytest.mark.parametrize(("name", "number", "harm"), CASES)
def test_a_bad_file_of_a_repository_is_refused_with_its_reason(
    name: str, number: int, harm: str, bad_store: tuple[Path, dict[str, Path]], reasons: dict[str, dict[str, Any]]
) -> None:
    model = f"{name}-{number}-{harm}"
    assert reasons[model]["state"] == "UNAVAILABLE"
    check_reason(reasons[model]["reason"], bad_store[1][model])


@pytest.mark.parametrize(("name", "harm"), [(name, harm) for name in FILES for harm in HARM if harm != "missing"])
def test_a_bad_file_by_itself_is_refused_with_its_reason(name: str, harm: str, frameworks: FrameworkHome, tmp_path: Path) -> None:
    file = spoiled(frameworks, tmp_path / "spoiled", name, 0, harm)
    with command_lines(frameworks.folder, tmp_path) as start:
        server = start("-m", tmp_path / "spoiled" / FILES[name][0].partition("/")[0], "-w", "1", wait=False)
        assert server.process.wait(180) == 1
    printed = server.log.read_text()
    assert "Traceback" not in printed
    check_reason(re.findall(r"^(?:hub: |.* is not served: )(.*)$", printed, re.MULTILINE)[0], file)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_there_is_named_before_anything_starts(name: str, frameworks: FrameworkHome, tmp_path: Path) -> None:
    frameworks.environment("pytorch" if name == "torchscript" else name)
    file = tmp_path / FILES[name][0].partition("/")[0]
    with command_lines(frameworks.folder, tmp_path) as start:
        server = start("-m", file, wait=False)
        assert server.process.wait(60) == 1
    printed = server.log.read_text()
    assert str(file) in printed or file.name in printed
    assert "Traceback" not in printed
