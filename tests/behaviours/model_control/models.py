"""Clients that load models, and models for them."""

from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.http as triton

from tests.conftest import Server, hub
from tests.triton_models import SCALE

X = np.arange(4, dtype=np.float32)[None]

SLOW = """
import os, time
import numpy as np
from hubserve.module import ANY, TensorSpec, batch, moduleinfo

@moduleinfo(name="slow", version="1.0.0")
class Slow:
    def __init__(self):
        with open({pid!r}, "w") as file:
            file.write(str(os.getpid()))
        time.sleep({load_s})
        self.inputs = [TensorSpec("x", "float32", (ANY, 4))]
        self.outputs = [TensorSpec("y", "float32", (ANY, 4))]

    @batch(max_batch_size=4)
    def double(self, x):
        time.sleep({answer_s})
        return x * 2
"""


def write_ensemble(store: Path, name: str, first: str, second: str) -> None:
    """An ensemble of two models that ``write_scale`` wrote, one after the other."""
    steps = [
        f'{{ model_name: "{model}" input_map {{ key: "x" value: "{given}" }} output_map {{ key: "y" value: "{gives}" }} }}'
        for model, given, gives in ((first, "x", "between"), (second, "between", "y"))
    ]
    (store / name).mkdir()
    (store / name / "config.pbtxt").write_text(f'platform: "ensemble" {SCALE} ensemble_scheduling {{ step [ {", ".join(steps)} ] }}')


def client_of(server: Server) -> triton.InferenceServerClient:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=8, network_timeout=120)
    client.server = server
    return client


def states(client: triton.InferenceServerClient) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["state"], each["reason"]) for each in client.get_model_repository_index()}


def compute(client: triton.InferenceServerClient, model: str, x: np.ndarray = X) -> Any:
    metadata = client.get_model_metadata(model)
    sent = triton.InferInput(metadata["inputs"][0]["name"], list(x.shape), "FP32")
    sent.set_data_from_numpy(x)
    return client.infer(model, [sent]).as_numpy(metadata["outputs"][0]["name"])


def install_slow(tmp_path: Path, home: Path, load_s: float, answer_s: float = 0) -> Path:
    """Install the module ``slow``; gives the file into which its instance writes its process id."""
    folder, pid = tmp_path / "slow-source", tmp_path / "slow.pid"
    folder.mkdir(exist_ok=True)
    (folder / "module.py").write_text(SLOW.format(pid=str(pid), load_s=load_s, answer_s=answer_s))
    assert hub("install", folder, home=home).returncode == 0
    pid.unlink(missing_ok=True)
    return pid
