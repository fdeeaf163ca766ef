"""PyTorch's forms for real: exported programs, packages of AOTInductor, weights with the code of their model, TorchScript."""

import os
import shutil
import signal
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from hubserve.registry.environments.launch import environment_launch
from tests.behaviours.test_readme import Shell, shown_in, steps
from tests.behaviours.test_tutorials import BLOCK
from tests.conftest import ROOT, Server, hub, servers, wait_for
from tests.frameworks.calls import PROTOCOLS, over_grpc, over_http, over_json
from tests.frameworks.home import ANSWERS, FrameworkHome
from tests.frameworks.servers import command_lines, wait_until_loaded
from tests.ports import free_port

TOLERANCE = 2e-5  # relative to the largest number: PyTorch's kernels sum in another order for other numbers of items
FORMS = ("exported", "fixed", "script", "weights", "state")
PICTURES = (
    'input [ { name: "image" data_type: TYPE_FP32 dims: [ 3, 32, 32 ] } ] output [ { name: "scores" data_type: TYPE_FP32 dims: [ 5 ] } ]'
)
#: name -> files of its version, and its config.pbtxt
STORED: dict[str, tuple[dict[str, str], str]] = {
    "exported": ({"model.pt2": "resnet18.pt2"}, ""),
    "fixed": ({"model.pt2": "fixed.pt2"}, 'backend: "pytorch" max_batch_size: 8'),
    "script": ({"model.pt": "resnet18.pt"}, 'platform: "pytorch_libtorch"'),
    "weights": ({name: f"resnet18/{name}" for name in ("model.safetensors", "model.py", "config.json")}, ""),
    "state": (
        {name: f"state/{name}" for name in ("model.pt", "model.py")},
        'backend: "pytorch" parameters [ { key: "MODEL_ARGS" value: { string_value: "{\\"classes\\": 1000}" } } ]',
    ),
    "nested": ({"model.pt2": "nested.pt2"}, ""),
    "nested-weights": ({name: f"nested/{name}" for name in ("model.safetensors", "model.py", "config.json")}, 'backend: "pytorch"'),
    "compiled": ({"model.pt2": "compiled.pt2"}, f'platform: "torch_aoti" max_batch_size: 32 {PICTURES}'),
    "compiled-alone": ({"model.pt2": "compiled.pt2"}, ""),
}


@pytest.fixture(scope="module")
def made(frameworks: FrameworkHome) -> Path:
    return frameworks.made("pytorch", "pytorch_forms")


@pytest.fixture(scope="module")
def server(frameworks: FrameworkHome, made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = tmp_path_factory.mktemp("store")
    for name, (files, config) in STORED.items():
        (store / name / "1").mkdir(parents=True)
        for stored, file in files.items():
            shutil.copyfile(made / file, store / name / "1" / stored)
        if config:
            (store / name / "config.pbtxt").write_text(config)
    port = free_port()
    with servers(frameworks.folder, tmp_path_factory.mktemp("log")) as start:
        yield wait_until_loaded(start({}, wait=False, port=port, grpc_port=port, model_store=[str(store)], workers=1))


def picture(items: int, side_px: int = 224, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((items, 3, side_px, side_px), np.float32)


def nested(items: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(2)
    return {"batch.image": random.random((items, 6), np.float32), "batch.more.0": random.random((items, 2), np.float32)}


def answers(frameworks: FrameworkHome, made: Path, name: str, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    return frameworks.in_process("pytorch", ANSWERS / "pytorch_forms_answers.py", made, name, arrays=arrays)


@pytest.fixture(scope="module")
def wanted(frameworks: FrameworkHome, made: Path) -> np.ndarray:
    """What resnet18 answers to three pictures in a process of its own."""
    return answers(frameworks, made, "resnet18", picture=picture(3))["OUTPUT__0"]


def check_close(answer: np.ndarray, wanted: np.ndarray) -> None:
    assert answer.shape == wanted.shape
    np.testing.assert_allclose(answer, wanted, rtol=0, atol=TOLERANCE * float(np.abs(wanted).max()))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_network_answers_as_pytorch(server: Server, wanted: np.ndarray, form: str, protocol: str) -> None:
    for items in (1, 3):  # "fixed" was exported for one
        (answer,) = PROTOCOLS[protocol](server, form, {"picture": picture(3)[:items]}).values()
        check_close(answer, wanted[:items])
    assert np.abs(wanted[0] - wanted[1]).max() > 50 * TOLERANCE * np.abs(wanted).max(), "the items must differ"


def test_signatures_are_completed_from_the_files(server: Server) -> None:
    def described(name: str) -> Any:
        found = requests.get(f"http://127.0.0.1:{server.port}/v2/models/{name}", timeout=30).json()
        return [(each["name"], each["datatype"], each["shape"]) for side in ("inputs", "outputs") for each in found[side]]

    assert described("exported") == [("picture", "FP32", [-1, 3, 224, 224]), ("OUTPUT__0", "FP32", [-1, 1000])]
    assert described("weights") == described("exported")
    assert described("compiled-alone") == [("INPUT__0", "FP32", [-1, 3, 32, 32]), ("OUTPUT__0", "FP32", [-1, 5])]
    tensors = [("batch.image", "FP32", [-1, 6]), ("batch.more.0", "FP32", [-1, 2])]
    assert described("nested") == [
        *tensors,
        *((name, "FP32", [-1, 2]) for name in ("scores", "pair.0", "pair.1")),
        ("OUTPUT__3", "INT64", [-1, 1]),
    ]
    assert described("nested-weights") == described("nested")


@pytest.mark.parametrize("items", [1, 5, 70])
@pytest.mark.parametrize(("name", "scale"), [("nested", 3), ("nested-weights", 2)])
def test_nested_tensors_have_names_with_dots(
    server: Server, frameworks: FrameworkHome, made: Path, name: str, scale: int, items: int
) -> None:
    given = nested(items)
    expected = answers(frameworks, made, "nested", **given, scale=np.array(scale))
    for call in PROTOCOLS.values():
        for at in range(0, items, 32 if call is not over_json else items):
            part = {key: array[at : at + 32] if call is not over_json else array for key, array in given.items()}
            found = call(server, name, part)
            assert list(found) == ["scores", "pair.0", "pair.1", "OUTPUT__3"]
            for key, array in found.items():
                check_close(
                    array.reshape(expected[key][at : at + 32 if call is not over_json else None].shape),
                    expected[key][at : at + 32 if call is not over_json else None],
                )


def test_json_may_nest_the_tensors(server: Server) -> None:
    given = nested(2)
    flat = over_json(server, "nested", given)
    batch = {"image": given["batch.image"].tolist(), "more": [given["batch.more.0"].tolist()]}
    results = server.results("nested", inputs={"batch": batch})
    for name, array in flat.items():
        np.testing.assert_array_equal(np.asarray(results["outputs"][name]), array)


@pytest.mark.parametrize("items", [1, 2, 31])
def test_a_compiled_package_answers_as_its_program(server: Server, frameworks: FrameworkHome, made: Path, items: int) -> None:
    expected = answers(frameworks, made, "small", input=picture(items, 32))["OUTPUT__0"]
    for call in PROTOCOLS.values():
        check_close(call(server, "compiled", {"image": picture(items, 32)})["scores"], expected)
        check_close(call(server, "compiled-alone", {"INPUT__0": picture(items, 32)})["OUTPUT__0"], expected)


@pytest.mark.parametrize("form", ["exported", "weights"])
def test_a_killed_instance_costs_no_request(server: Server, wanted: np.ndarray, form: str) -> None:
    def ask(number: int) -> None:
        item = number % 3
        call = (over_http, over_grpc)[number % 2]
        check_close(call(server, form, {"picture": picture(3)[item : item + 1]})["OUTPUT__0"], wanted[item : item + 1])

    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask, number) for number in range(60)]
        (pid,) = server.instance_pids(form)
        wait_for(lambda: sum(each.done() for each in asked) > 5, 60)
        os.kill(pid, signal.SIGKILL)
        for each in asked:
            each.result(120)
    assert server.instance_pids(form) != [pid]


def test_files_and_folders_are_served_and_installed(frameworks: FrameworkHome, made: Path, wanted: np.ndarray, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "environments").symlink_to(frameworks.folder / "environments")
    done = hub("install", made / "resnet18", "--name", "installed", home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = {card.parent.resolve() for card in home.rglob("hub-model.json")}
    assert {each.name for each in folder.iterdir()} >= {"model.safetensors", "model.py", "config.json"}
    with command_lines(home, tmp_path) as serving:
        server = serving("-m", f"file={made / 'resnet18.pt2'}", "-m", f"folder={made / 'state'}", "-m", "installed")
        for name in ("file", "folder", "installed"):
            check_close(over_http(server, name, {"picture": picture(3)})["OUTPUT__0"], wanted)


def test_the_guide_works_as_written(frameworks: FrameworkHome, tmp_path: Path) -> None:
    python = environment_launch(frameworks.environment("pytorch")).python
    shell = Shell(tmp_path, tmp_path / "home")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    shell.environ |= {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{shell.environ['PATH']}", "HUB_HOME": str(frameworks.folder)}
    try:
        for language, title, text in BLOCK.findall((ROOT / "docs" / "pytorch.md").read_text("utf-8")):
            if title:
                (tmp_path / title).write_text(text)
            for command, shown in steps(text) if language == "console" else ():
                printed = shell.run(command)
                for line in shown:
                    assert shown_in(printed, line), f"{command}\n{line}\n{printed}"
    finally:
        shell.kill_servers()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replaced(path: Path, old: bytes, new: bytes) -> None:
    """Write an archive again with other bytes in its JSON."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    assert any(old in data for name, data in entries.items() if name.endswith(".json"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data.replace(old, new) if name.endswith(".json") else data)


DAMAGED = {
    "cut.pt2": ("small.pt2", cut, "is not a whole archive of torch.export or AOTInductor"),
    "empty.pt2": ("small.pt2", empty, "is empty"),
    "cut-compiled.pt2": ("compiled.pt2", cut, "is not a whole archive"),
    "evil.pt2": (
        "small.pt2",
        lambda path: replaced(path, b"torch.ops.aten.relu.default", b"torch.os.system"),
        "it holds the name 'torch.os.system' in place of an operator",
    ),
    "sizes.pt2": ("small.pt2", lambda path: replaced(path, b"Symbol('", b"exit('"), "in place of a size"),
    "newer.pt2": ("small.pt2", lambda path: replaced(path, b'"major": ', b'"major": 9'), "pytorch engine cannot load newer.pt2"),
    "machine.pt2": ("compiled.pt2", lambda path: replaced(path, b'"x86_64"', b'"riscv64"'), "holds native code for linux riscv64"),
    "gpu.pt2": (
        "compiled.pt2",
        lambda path: replaced(path, b'"AOTI_DEVICE_KEY": "cpu"', b'"AOTI_DEVICE_KEY": "cuda"'),
        "was compiled for the device 'cuda'",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_cannot_be_served_is_refused_with_the_reason(frameworks: FrameworkHome, made: Path, tmp_path: Path, name: str) -> None:
    source, damage, reason = DAMAGED[name]
    shutil.copyfile(made / source, tmp_path / name)
    damage(tmp_path / name)
    with command_lines(frameworks.folder, tmp_path) as serving:
        server = serving("-m", tmp_path / name, wait=False)
        wait_for(lambda: reason in server.log.read_text() or server.process.poll() is not None, 90)
        assert reason in server.log.read_text()


def test_an_archive_that_was_saved_on_a_gpu_is_served_on_the_cpu(frameworks: FrameworkHome, made: Path, tmp_path: Path) -> None:
    shutil.copyfile(made / "small.pt2", tmp_path / "gpu.pt2")
    replaced(tmp_path / "gpu.pt2", b'{"type": "cpu", "index": null}', b'{"type": "cuda", "index": 0}')
    expected = answers(frameworks, made, "small", input=picture(2, 32))["OUTPUT__0"]
    with command_lines(frameworks.folder, tmp_path) as serving:
        server = serving("-m", tmp_path / "gpu.pt2")
        check_close(over_http(server, "gpu", {"input": picture(2, 32)})["OUTPUT__0"], expected)


CLASS = "import torch\nclass A(torch.nn.Module):\n    def __init__(self{}):\n        super().__init__()\n        {}"
#: name -> code, and the reason
WRONG_CODE = {
    "no class": ("class MODEL_2: pass", "defines no subclass of torch.nn.Module"),
    "two": (
        "import torch\nclass A(torch.nn.Module): pass\nclass B(torch.nn.Module): pass",
        "defines 2 classes of models: A, B. Write MODEL = B there",
    ),
    "shape": (CLASS.format("", "self.layer = torch.nn.Linear(6, 3)"), "layer.bias is [2] where the class has [3]"),
    "names": (
        CLASS.format("", "self.other = torch.nn.Linear(6, 2)"),
        "model.safetensors lacks other.weight, other.bias, and has layer.bias, layer.weight, unknown to the class",
    ),
    "import": ("import torch\nimport no_such_package\n", "model.py imports 'no_such_package', which is not installed here"),
    "arguments": (CLASS.format(", depth", "pass"), "A() of model.py cannot be made: TypeError"),
    "error": ("1 / 0", "model.py failed: ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("name", WRONG_CODE)
def test_code_that_does_not_fit_is_refused_with_the_reason(frameworks: FrameworkHome, made: Path, tmp_path: Path, name: str) -> None:
    code, reason = WRONG_CODE[name]
    folder = tmp_path / "net"
    folder.mkdir()
    shutil.copyfile(made / "nested" / "model.safetensors", folder / "model.safetensors")
    (folder / "model.py").write_text(code)
    with command_lines(frameworks.folder, tmp_path) as serving:
        server = serving("-m", folder, wait=False)
        wait_for(lambda: reason in server.log.read_text() or server.process.poll() is not None, 90)
        assert reason in server.log.read_text()
