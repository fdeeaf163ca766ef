"""A server with a module of every kind, and its description."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from onnx import TensorProto

from hubserve.types import pack_bytes
from tests import value_models
from tests.behaviours.test_ensembles import ensemble, step
from tests.behaviours.test_triton_scheduling import write_accumulator
from tests.conftest import MODULES, ROOT, Server, servers, toy
from tests.triton_models import SCALE, scale, write_scale

#: no path, identifier or Markdown can have this as it is
ODD = "odd näme (1) 100% & <b>more?#*{x}"
SCRIPT = '''
import tiinfer


class Doubles(tiinfer.Model):
    """Doubles ``n``."""

    serving_example = {"n": 21}

    def load(self):
        return True

    def predict(self, request):
        return {"doubled": request["n"] * 2}
'''
#: text that the model computes: zeros, and texts that are made up, are none
BLS_PROGRAM = '{"ready": ["pb_sum"]}'
WARM_UP = """
model_warmup [ {
  name: "asks" batch_size: 1
  inputs { key: "PLAN" value: { data_type: TYPE_STRING dims: [1] input_data_file: "program" } }
} ]
"""
HOSTILE = r'''
from typing import List, Literal, Optional, Union

from hubserve.module import moduleinfo, serving


@moduleinfo(name="hostile", version="1.0.0", summary="<script>alert(1)</script> [me](javascript:alert(2)) `x` */ \"\"\"")
class Hostile:
    @serving
    def serve(
        self,
        text: str,
        words: List[str],
        mode: Literal["fast", "exact"] = "fast",
        size: Optional[int] = None,
        ratio: Union[int, float] = 0.5,
        table: "dict[str, list[int]]" = {"a": [1]},
        strange=object(),
    ):
        """End every comment. */ \"\"\" \'\'\' ``` </pre><img src=x onerror=alert(3)> {{7*7}} ${7*7} %s \u202e \ud800

        Args:
            text (str): a text <script>alert(4)</script>
            mode: how.

        ```
        </textarea><script>alert(5)</script>
        """
        return {"text": text, "words": words, "mode": mode, "size": size, "ratio": ratio, "table": table}
'''


def write_hostile(folder: Path) -> Path:
    (folder / "hostile").mkdir()
    (folder / "hostile" / "module.py").write_text(HOSTILE)
    return folder / "hostile"


@pytest.fixture(scope="package")
def everything(model_dir: Path, ocr_dir: Path, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a module of every kind that the tests have."""
    folder = tmp_path_factory.mktemp("everything")
    store = folder / "store"
    write_scale(store, "twice", SCALE + " version_policy { all {} }", versions=(1, 2))
    write_scale(store, "thrice", None, factor=3.0)
    ensemble(store, "both", step("thrice", "in", "l"), step("thrice", "l", "r"), outputs=("l", "r"))
    write_accumulator(store, "sums", "direct {}")
    bls = store / "pb_bls"
    shutil.copytree(MODULES / "triton" / "pb_bls", bls)
    (bls / "warmup").mkdir()
    (bls / "warmup" / "program").write_bytes(pack_bytes(np.array([BLS_PROGRAM], object)))
    with (bls / "config.pbtxt").open("a") as config:
        config.write(WARM_UP)
    for name in ("pb_sum", "pb_repeat", "pb_async"):
        (store / name).symlink_to(MODULES / "triton" / name)
    modules = {name: toy(name) for name in ("shout", "doubler", "faulty", "collage", "moody", "sizes", "tensors")}
    modules |= {"old-style": toy("old_style"), "hostile": {"init_args": {"directory": str(write_hostile(folder))}}}
    for write in ("spam", "flower", "maybe", "constant"):
        getattr(value_models, write)(folder / f"{write}.onnx")
        modules[write] = {"init_args": {"directory": str(folder / f"{write}.onnx")}}
    value_models.echo(folder / "pictures.onnx", TensorProto.UINT8, ("n", 32, 32, 3))
    (folder / "script").mkdir()
    (folder / "script" / "model_service.py").write_text(SCRIPT)
    files = {
        ODD: scale(folder / "odd.onnx"),
        "with/slash": folder / "odd.onnx",
        "pictures": folder / "pictures.onnx",
        "script": folder / "script",
    }
    files |= {"clas_system": ROOT / "hubmodules" / "clas", "ocr_system": ROOT / "hubmodules" / "ocr"}
    modules |= {name: {"init_args": {"directory": str(path)}} for name, path in files.items()}
    for name in ("clas_system", "ocr_system"):
        modules[name]["init_args"]["engine"] = "openvino"
    settings: dict[str, Any] = {"model_store": [str(store)], "model_control": "explicit", "load_model": ["*"], "shared_memory": True}
    with servers(shared_home, folder) as start:
        yield start({name: {**each, "workers": 1} for name, each in modules.items()}, **settings)


@pytest.fixture(scope="package")
def document(everything: Server) -> Any:
    return document_of(everything.url)


def document_of(url: str, **headers: str) -> Any:
    response = requests.get(url + "/openapi.json", headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()
