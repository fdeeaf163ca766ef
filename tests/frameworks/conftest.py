"""Frameworks in their environments, models made in them, and servers that use both."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hubserve.registry.environments.environment_record import Environment
from tests.conftest import Server, Start, servers
from tests.frameworks.home import MISSING, FrameworkHome, kept_home
from tests.frameworks.servers import command_lines


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """List the environments that were missing, so that what was not tested is seen among the dots."""
    skipped = [each.longrepr[2] for each in terminalreporter.stats.get("skipped", ()) if isinstance(each.longrepr, tuple)]
    missing = [reason.removeprefix("Skipped: ") for reason in skipped if MISSING in reason]
    for reason in dict.fromkeys(missing):
        terminalreporter.write_line(f"NOT TESTED, {missing.count(reason)} tests: {reason}", red=True, bold=True)


@pytest.fixture(scope="session")
def frameworks() -> FrameworkHome:
    """The home that is kept between runs; its environments are built when first asked for."""
    home = FrameworkHome(kept_home())
    home.folder.mkdir(parents=True, exist_ok=True)
    return home


@pytest.fixture(scope="session")
def framework_home(frameworks: FrameworkHome) -> Path:
    """The same as a folder, for ``HUB_HOME``."""
    return frameworks.folder


@pytest.fixture(scope="session")
def environment(frameworks: FrameworkHome) -> Callable[[str], Environment]:
    """``environment(profile)``: its environment; the test is skipped where it cannot be had."""
    return frameworks.environment


@pytest.fixture(scope="session")
def made(frameworks: FrameworkHome) -> Callable[..., Path]:
    """``made(profile, maker, *arguments)``: the folder that ``makers/MAKER.py`` filled."""
    return frameworks.made


@pytest.fixture(scope="session")
def in_process(frameworks: FrameworkHome) -> Callable[..., Any]:
    """``in_process(profile, script, *arguments, arrays={name: array})``: the framework's own answers, by name."""
    return frameworks.in_process


@pytest.fixture
def server(framework_home: Path, tmp_path: Path) -> Iterator[Start]:
    """Start servers that use the environments: ``server({name: settings}, **server_settings)``."""
    with servers(framework_home, tmp_path) as start:
        yield start


@pytest.fixture
def serving(framework_home: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Start servers by a command line: ``serving("--model-store", folder)``; ``wait=False`` for one that does not become ready."""
    with command_lines(framework_home, tmp_path) as start:
        yield start
