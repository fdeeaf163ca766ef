"""A client that openapi-generator makes of a server's description: it compiles, and calls modules."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.behaviours.openapi.conftest import ODD, write_hostile
from tests.conftest import ROOT, Start, toy
from tests.operations.programs import program
from tests.triton_models import scale, write_scale

CALLS = """
import base64, inspect, json, sys

import openapi_client as client

picture = base64.b64encode(open(sys.argv[2], "rb").read()).decode()
found = {}
with client.ApiClient(client.Configuration(host=sys.argv[1])) as api:
    shout = client.ShoutApi(api)
    found["arguments"] = shout.predict_shout(client.PredictArgumentsShout(text="hello")).results
    try:
        client.PredictArgumentsShout(sentence="hello")
    except ValueError:
        found["missing"] = "refused by the client"
    doubler = client.DoublerApi(api)
    pictures = client.PredictAnyDoubler(client.PredictPicturesDoubler(data=[picture]))
    found["pictures"] = doubler.predict_doubler(pictures).results["together"]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2]}
    infer = client.InferRequestDoubler.from_dict({"inputs": [tensor]})
    found["tensors"] = doubler.v2_infer_doubler(infer).outputs[0].data
    found["generate"] = doubler.v2_generate_doubler(client.GenerateRequestDoubler(x=[[3.0]])).additional_properties["y"]
    found["metadata"] = client.TwiceApi(api).v2_metadata_twice().inputs[0].shape
    hostile = client.PredictArgumentsHostile(text="a", words=["b"], mode="exact")
    found["hostile"] = client.HostileApi(api).predict_hostile(hostile).results["mode"]
    (odd,) = [getattr(client, name) for name in dir(client) if name.startswith("Odd") and name.endswith("Api")]
    (call,) = [method for name, method in inspect.getmembers(odd(api)) if name.startswith("predict_") and name.endswith("more_x")]
    (request,) = [getattr(client, name) for name in dir(client) if name.startswith("PredictArgumentsOdd")]
    found["odd"] = call(request(inputs={"x": [[1, 2, 3, 4]]})).results["outputs"]["y"]
print(json.dumps(found))
"""


def generate(url: str, language: str, folder: Path) -> str:
    program("java")
    command = [program("openapi-generator-cli"), "generate", "-i", f"{url}/openapi.json", "-g", language, "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def url(start: Start, tmp_path: Path) -> str:
    store = tmp_path / "store"
    write_scale(store, "twice")
    modules: dict[str, Any] = {name: toy(name) for name in ("shout", "doubler", "sizes")}
    modules["hostile"] = {"init_args": {"directory": str(write_hostile(tmp_path))}}
    modules[ODD] = {"init_args": {"directory": str(scale(tmp_path / "odd.onnx"))}}
    return start({name: {**each, "workers": 1} for name, each in modules.items()}, model_store=[str(store)]).url


def test_a_client_in_python_calls_every_form_of_module(url: str, tmp_path: Path, cat_photo: Path) -> None:
    said = generate(url, "python", tmp_path / "client")
    assert "ERROR" not in said
    needed = tmp_path / "needed"
    install = [sys.executable, "-m", "pip", "install", "-q", "--target", str(needed), "-r", str(tmp_path / "client" / "requirements.txt")]
    subprocess.run(install, check=True, timeout=300)
    compiled = subprocess.run([sys.executable, "-m", "compileall", "-q", str(tmp_path / "client" / "openapi_client")], check=False)
    assert compiled.returncode == 0
    (tmp_path / "calls.py").write_text(CALLS)
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path / 'client'}:{needed}"}
    command = [sys.executable, str(tmp_path / "calls.py"), url, str(cat_photo)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "arguments": "HELLO!",
        "missing": "refused by the client",
        "pictures": 1,
        "tensors": [3.0, 4.0],
        "generate": 6.0,
        "metadata": [-1, 4],
        "hostile": "exact",
        "odd": [[2.0, 4.0, 6.0, 8.0]],
    }


def test_the_guides_client_prints_the_answer(url: str, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "openapi.md").read_text("utf-8")
    (snippet,) = [each for each in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "openapi_client" in each]
    generate(url, "python", tmp_path / "client")
    install = [sys.executable, "-m", "pip", "install", "-q", "--target", str(tmp_path / "needed"), str(tmp_path / "client")]
    subprocess.run(install, check=True, timeout=300)
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "needed")}
    command = [sys.executable, "-c", snippet.replace("http://localhost:8866", url)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "HI!\n"), done.stderr


@pytest.mark.parametrize("language", ["typescript-fetch", "go", "java", "rust"])
def test_clients_in_other_languages_are_generated(url: str, tmp_path: Path, language: str) -> None:
    assert "ERROR" not in generate(url, language, tmp_path / "client")
    assert list((tmp_path / "client").rglob("*hout*"))
