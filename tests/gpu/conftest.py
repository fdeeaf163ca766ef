"""What tests on a GPU share; where there is none they are skipped, and the end of the run says so."""

from typing import Any

import pytest

from hubserve.engines.gpus import why_no_gpu
from tests.frameworks import conftest as framework_fixtures

frameworks = framework_fixtures.frameworks

NO_GPU = "no GPU is visible"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests of this folder where no GPU is visible."""
    why = why_no_gpu()
    for item in items:
        if why and "tests/gpu/" in item.path.as_posix():
            item.add_marker(pytest.mark.skip(reason=f"{NO_GPU}: {why}"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Count what was not tested, and say why."""
    framework_fixtures.pytest_terminal_summary(terminalreporter)
    skipped = [each.longrepr[2] for each in terminalreporter.stats.get("skipped", ()) if isinstance(each.longrepr, tuple)]
    reasons = [reason.removeprefix("Skipped: ") for reason in skipped if NO_GPU in reason]
    for reason in dict.fromkeys(reasons):
        terminalreporter.write_line(f"NOT TESTED, {reasons.count(reason)} tests: {reason}", red=True, bold=True)
