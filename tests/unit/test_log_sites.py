"""Calls of the log in the sources: tracebacks only for faults of the server, and the module and the requests on lines about them."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent / "hubserve"
#: calls that log a traceback, by file; each follows an error that no client causes. A new one must be that, too
TRACEBACKS = {
    "flask/gateway.py": 2,  # no module can be served
    "flask/request_cycle.py": 1,
    "gateway/background.py": 2,
    "gateway/instances/connection.py": 1,
    "gateway/instances/dispatcher.py": 3,
    "gateway/instances/frame_reader.py": 1,
    "gateway/instances/inter_model_calls.py": 1,
    "gateway/instances/module_output.py": 1,
    "gateway/instances/pool.py": 1,
    "net/deadline_monitor.py": 1,
    "net/grpc/call.py": 1,
    "net/http1/request_cycle.py": 1,
    "net/origin_policy.py": 1,
    "protocols/metrics.py": 1,
    "protocols/open_inference/grpc/call_errors.py": 1,
    "server/engine_watch.py": 1,
    "server/model_control.py": 2,
    "server/tls.py": 1,
    "telemetry/telemetry.py": 1,
}
#: rooms and files in which every line is about a module or a request, but runs in no task of the request
NAMED = ("gateway/instances/", "net/deadline_monitor.py", "net/grpc/call.py", "telemetry/telemetry.py")
_LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


def calls() -> Iterator[tuple[str, ast.Call, str, set[str]]]:
    """Yield file, call, level and keywords of every call of the server's logger."""
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if name.startswith(("compat/", "cli/")):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.") and node.func.attr in _LEVELS:
                yield name, node, node.func.attr, {each.arg or "" for each in node.keywords}


def test_tracebacks_are_logged_only_where_the_server_is_at_fault() -> None:
    found = Counter(name for name, _, level, keywords in calls() if level == "exception" or "exc_info" in keywords)
    assert dict(found) == TRACEBACKS


def test_lines_about_instances_and_requests_name_them() -> None:
    unnamed = [
        f"{name}:{call.lineno}"
        for name, call, level, keywords in calls()
        if name.startswith(NAMED) and level != "debug" and "extra" not in keywords
    ]
    assert unnamed == []
