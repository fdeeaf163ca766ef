"""What tests of operations share; the servers, homes and models are those of all tests."""

from typing import Any

from tests.operations.programs import MISSING


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the programs that were missing, so that what was not tested is seen among the dots."""
    skipped = [each.longrepr[2] for each in terminalreporter.stats.get("skipped", ()) if isinstance(each.longrepr, tuple)]
    missing = [reason.removeprefix("Skipped: ") for reason in skipped if MISSING in reason]
    for reason in dict.fromkeys(missing):
        terminalreporter.write_line(f"NOT TESTED, {missing.count(reason)} tests: {reason}", red=True, bold=True)
