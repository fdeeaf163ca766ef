"""Flask applications and requests to them."""

import contextlib
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from flask import Flask, request
from werkzeug.serving import make_server

from hubserve.flask import HubBlueprint
from tests.conftest import MODULES, ROOT

JSON = {"Content-Type": "application/json"}


@contextlib.contextmanager
def running(app: Flask) -> Iterator[str]:
    """The application under a real server with a thread for each request."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def application(*blueprints: HubBlueprint) -> Flask:
    app = Flask("somebody's")
    for each in blueprints:
        app.register_blueprint(each)

    @app.post("/own")
    def own() -> dict[str, Any]:
        return {"sent": request.get_json()}

    return app


def array(values: Any, **headers: str) -> dict[str, Any]:
    raw = np.asarray(values, np.float32)
    about = {"X-Hub-Shape": ",".join(map(str, raw.shape)), "X-Hub-Dtype": "float32"}
    return {"data": raw.tobytes(), "headers": {"Content-Type": "application/octet-stream", **about, **headers}}


def text(body: bytes | str, **headers: str) -> dict[str, Any]:
    return {"data": body, "headers": {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}}


LARGE = json.dumps({"text": "a" * 900_000})

APP = f"""
import os
from flask import Flask
import hubserve.flask
app = Flask(__name__)
mounted = hubserve.flask.blueprint([{str(MODULES / "faulty")!r}])
app.register_blueprint(mounted)
@app.get("/pid")
def pid():
    return str(os.getpid())
"""


def environ(folder: Path, home: Path) -> dict[str, str]:
    return {**os.environ, "HUB_HOME": str(home), "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
