"""The load generator wrk, where it is installed: https://github.com/wg/wrk."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from bench.peers.exchange import TIMEOUT_S, Measured, Request
from bench.peers.failures import WrongAnswer

_SUMMARY = "summary-of-the-run "
_SCRIPT = """
wrk.method = "POST"
local file = assert(io.open(%(body)s, "rb"))
wrk.body = file:read("*a")
file:close()
%(headers)s
local threads = {}
function setup(thread)
    table.insert(threads, thread)
end

wrong = 0
function response(status, headers, body)
    if status ~= 200 or not string.find(body, %(marker)s, 1, true) then
        wrong = wrong + 1
    end
end

function done(summary, latency)
    local wrong = 0
    for _, thread in ipairs(threads) do
        wrong = wrong + thread:get("wrong")
    end
    io.write(string.format('%(mark)s{"requests":%%d,"duration_us":%%d,"wrong":%%d,"lost":%%d,"p50_us":%%d,"p99_us":%%d}\\n',
        summary.requests, summary.duration, wrong,
        summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
"""


def available() -> bool:
    """Return whether wrk is on PATH."""
    return shutil.which("wrk") is not None


def closed_loop(port: int, request: Request, connections: int, seconds: float) -> Measured:
    """Send each connection's next request when the previous one is answered; check every answer.

    Args:
        port: of the server, on this machine.
        request: what is sent.
        connections: how many at once.
        seconds: for how long; wrk takes whole ones, so it is rounded up.
    """
    whole_seconds = max(1, -int(-seconds // 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "body").write_bytes(request.body)
        (folder / "post.lua").write_text(script(folder / "body", request))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{whole_seconds}s", f"--timeout={TIMEOUT_S:.0f}s"]
        command += ["-s", str(folder / "post.lua"), f"http://127.0.0.1:{port}{request.path}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongAnswer(f"wrk failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return parse(done.stdout)


def script(body: Path, request: Request) -> str:
    """Return the Lua script that makes wrk send the request and print a summary as JSON."""
    headers = "\n".join(f"wrk.headers[{_quote(key)}] = {_quote(value)}" for key, value in request.headers.items())
    return _SCRIPT % {"body": _quote(str(body)), "headers": headers, "marker": _quote(request.marker.decode()), "mark": _SUMMARY}


def parse(output: str) -> Measured:
    """Read the line that the script writes.

    Raises:
        WrongAnswer: there is none.
    """
    for line in output.splitlines():
        if line.startswith(_SUMMARY):
            read = json.loads(line[len(_SUMMARY) :])
            seconds = read["duration_us"] / 1e6
            return Measured(read["requests"], seconds, read["p50_us"] / 1e3, read["p99_us"] / 1e3, read["wrong"], read["lost"])
    raise WrongAnswer(f"wrk did not sum up its run: {output.strip()[-300:]}")


def _quote(text: str) -> str:
    """Return a Lua string literal; Lua writes a byte as its decimal number."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\' else f"\\{byte:03d}" for byte in text.encode())
    return '"' + "".join(plain) + '"'
