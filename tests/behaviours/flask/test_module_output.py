"""What modules print in a Flask application: by the application's logging if that takes it, or on standard error."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.behaviours.flask.applications import APP, environ

ASK = """
ask = lambda how, text: app.test_client().post("/predict/talkative", json={"how": how, "text": text}, headers={"X-Request-Id": "id-" + how})
ask("print", "it prints")
ask("log", "it logs")
ask("write", "natively")
ask("raise", "it raises")
mounted.close()
"""
FORMAT = (
    "import logging; logging.basicConfig(level='{}', format='%(levelname)s <%(module_name)s %(version)s %(request_id)s> %(message)s')\n"
)


def run(tmp_path: Path, home: Path, set_up: str) -> list[str]:
    code = set_up + APP.replace("modules/faulty", "modules/talkative") + ASK
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ(tmp_path, home), capture_output=True, text=True, timeout=120, check=True
    )
    return done.stderr.splitlines()


def test_without_logging_of_the_application_it_is_on_standard_error(tmp_path: Path, home: Path) -> None:
    lines = run(tmp_path, home, "")
    for text in ("INFO {} it prints", "ERROR {} it logs", "INFO {} natively"):
        how = {"prints": "print", "logs": "log", "natively": "write"}[text.split()[-1]]
        shown = text.format(f"[talkative@1.2.3 #0] [request id-{how}]")
        assert [line for line in lines if line.endswith(shown)], (shown, lines)
    assert [line for line in lines if "ValueError: it raises" in line]


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_logging_of_the_application_gets_it_with_its_fields(tmp_path: Path, home: Path, level: str) -> None:
    lines = run(tmp_path, home, FORMAT.format(level))
    assert "ERROR <talkative 1.2.3 id-log> it logs" in lines
    printed = [line for line in lines if line.endswith("it prints")]
    if level == "INFO":
        assert printed == ["INFO <talkative 1.2.3 id-print> it prints"]
    else:  # what an application's level keeps away appears as it would without hubserve
        assert len(printed) == 1
        assert printed[0].endswith("INFO [talkative@1.2.3 #0] [request id-print] it prints")
    failed = next(line for line in lines if "a request failed in module code" in line)
    assert failed.startswith("WARNING <talkative 1.2.3 id-raise> a request failed in module code: Traceback")
