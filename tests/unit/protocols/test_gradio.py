"""Test the refusals of the protocol of pages, before any process is started."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from hubserve.gateway.dataplane import DataPlane
from hubserve.protocols import Context
from hubserve.protocols.gradio import GradioProtocol
from hubserve.server.deployment import make_plans
from hubserve.settings import parse_settings
from tests.conftest import toy


class Exchange:
    """As much of a connection's exchange as a request without a body needs."""

    gone = False
    cancel_on_disconnect = False
    announced_bytes = 0

    def buffered_body(self) -> bytes:
        return b""


def ask(path: str, *, stopped: bool = False, module: dict[str, Any] | None = None, **settings: Any) -> tuple[int, dict[str, Any]]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        own = parse_settings({"modules_info": {"paged": {**toy("paged"), **(module or {})}}, "workers": 1, **settings}, "test")
        context = Context(DataPlane(make_plans(own)), own)
        protocol = GradioProtocol(context)
        if stopped:
            context.stop()
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}
        await protocol({**scope, "http_version": "1.1", "extensions": {"hubserve": Exchange()}}, None, send)  # type: ignore[arg-type]
        context.stop()
        context.close()

    asyncio.run(run())
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_pages_can_be_switched_off_and_are_refused_once_the_server_stops(home: Path) -> None:
    status, answer = ask("/gradio/paged/app", gradio=False)
    assert (status, "'gradio' is false" in answer["msg"]) == (404, True)
    status, answer = ask("/gradio/paged/app", stopped=True)
    assert (status, "is stopping" in answer["msg"]) == (503, True)


@pytest.mark.parametrize("path", ["/gradio/nothing", "/gradio/", "/gradio/%2E%2E/x"])
def test_modules_that_are_not_served_have_no_page(home: Path, path: str) -> None:
    status, answer = ask(path)
    assert (status, answer["status"], answer["results"]) == (404, "111", "")
    assert "is not supported for gradio app. Module" in answer["msg"]


def test_a_module_on_another_machine_has_no_page(home: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k" * 64)
    status, answer = ask("/gradio/paged", module={"addresses": ["127.0.0.1:1"], "token_file": str(key)})
    assert (status, "Serve it without 'addresses'" in answer["msg"]) == (503, True)
