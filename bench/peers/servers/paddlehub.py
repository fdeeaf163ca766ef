"""The real PaddleHub 2.4.0, on the last Python and the packages that it still runs with."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.peers.environments import Environment
from bench.peers.exchange import Request
from bench.peers.servers.base import JSON, MODULES, ONE_THREAD, VALUES, Classifying, Launch, Peer, check_values, read_json, worker_environ
from bench.peers.servers.base64_json import images_request

_PINS = (
    "paddlehub==2.4.0",
    "paddlepaddle==2.6.2",
    "numpy<1.24",
    "protobuf==3.20.3",
    "gradio<4",
    "opencv-python<4.9",
    "Flask<2.3",
    "Werkzeug<2.3",
    "paddle2onnx<1.1",
    "onnx==1.11.0",
    "charset-normalizer<3",
    "aistudio-sdk<0.3",
    "setuptools<66",
    "wheel",
)
_PLAIN, _ONEDNN = "paddle 2.6.2 without oneDNN", "paddle 2.6.2 with oneDNN"


class PaddleHub(Peer):
    """Run one process, the default of ``hub serving start``, which has no workers without an option for several processes."""

    title = "PaddleHub 2.4.0"

    @property
    def environment(self) -> Environment:
        """With the pins without which it does not start any more."""
        return Environment("paddlehub", ("3.8",), _PINS)

    def engines(self, engine: str) -> Sequence[str]:  # noqa: ARG002  # it has no other engine
        """Return its own Paddle only, with modules' default and with ``enable_mkldnn``."""
        return [_PLAIN, _ONEDNN]

    def do_nothing(self, workers: int, port: int, folder: Path) -> Launch:  # noqa: ARG002  # it has none
        """Serve modules/paddlehub_do_nothing."""
        body = json.dumps({"values": VALUES}).encode()
        path = "/predict/paddlehub_do_nothing"
        request = Request(path, JSON, body, lambda answer: check_values(read_json(answer, "results")), b'"000"')
        return self._launch("paddlehub_do_nothing", {}, port, folder, request, ONE_THREAD)

    def classifier(self, work: Classifying, port: int, folder: Path) -> Launch:
        """Serve modules/paddlehub_classifier."""
        name = "paddlehub_classifier"
        request = images_request(f"/predict/{name}", work.images, "results", "prediction")
        return self._launch(name, {"enable_mkldnn": work.engine == _ONEDNN}, port, folder, request, worker_environ(work))

    def _launch(self, module: str, init_args: dict[str, Any], port: int, folder: Path, request: Request, environ: dict[str, str]) -> Launch:
        conf = folder / "home" / "conf"
        conf.mkdir(parents=True)
        # it reports each start to its maker's server; nothing listens on port 9 of this machine
        (conf / "config.yaml").write_text("server: http://127.0.0.1:9\n")
        modules_info = {module: {"init_args": {"directory": str(MODULES / module), **init_args}, "predict_args": {}}}
        config = folder / "config.json"
        config.write_text(json.dumps({"modules_info": modules_info, "port": port}))
        command = [str(self.interpreter.path.parent / "hub"), "serving", "start", "-c", str(config)]
        return Launch(command, {**environ, "HUB_HOME": str(folder / "home")}, request)
