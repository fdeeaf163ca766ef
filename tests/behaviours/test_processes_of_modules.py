"""Modules that fork, use multiprocessing, start programs or parse arguments work as they would in any script."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODULES, Server, hub, servers


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve the installed module: its folder is named after its version, its package after its name."""
    installed = hub("install", MODULES / "pools", home=shared_home)
    assert installed.returncode == 0, installed.stderr
    with servers(shared_home, tmp_path_factory.mktemp("pools")) as start:
        yield start({"pools": {"workers": 1, "compute_timeout_s": 120}})


def ask(server: Server, what: str, **arguments: Any) -> Any:
    return server.results("pools", what=what, **arguments)


@pytest.mark.parametrize("how", ["spawn", "forkserver", "fork"])
def test_pools_of_multiprocessing_compute_a_modules_own_functions(server: Server, how: str) -> None:
    assert ask(server, "pool", how=how) == [0, 1, 4]
    assert ask(server, "executor", how=how) == [0, 1, 4]


def test_pools_of_forks_end_every_time(server: Server) -> None:
    assert ask(server, "pool", how="fork", times=30) == [0, 1, 4]


def test_another_interpreter_imports_the_module_by_its_name(server: Server) -> None:
    assert ask(server, "interpreter") == "49\n"


@pytest.mark.parametrize("how", ["spawn", "fork"])
def test_a_process_of_a_module_ends_when_it_is_told_to(server: Server, how: str) -> None:
    assert ask(server, "terminated", how=how) == -15


def test_a_program_that_a_module_starts_ends_when_it_is_told_to(server: Server) -> None:
    assert ask(server, "program") == -15


@pytest.mark.parametrize(("ends", "status"), [("exits", 3), ("raises", 1), ("answers", 0)])
def test_a_fork_has_no_sockets_of_its_instance_and_never_answers_for_it(server: Server, ends: str, status: int) -> None:
    told = ask(server, "forked", ends=ends)
    assert told["status"] == status
    assert len(told["parent"]) > len(told["child"])
    assert len(told["child"]) == 2, "it has the pair that was made for it"
    assert server.status("pools")["restarts"] == 0


def test_a_module_that_parses_its_arguments_finds_its_own_file_and_no_others(server: Server) -> None:
    (argument,) = ask(server, "argv")
    assert argument.endswith("/module.py")
    assert "/modules/pools/" in argument
