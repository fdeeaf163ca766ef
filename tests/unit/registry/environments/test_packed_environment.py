"""Environments that Triton models bring."""

import io
import os
import sys
import tarfile
from pathlib import Path

import pytest

from hubserve.errors import ConfigError
from hubserve.registry.environments.packed_environment import packed_launch

WRAPPER = f'#!/bin/sh\nexport PACKED=yes\nexec "{sys.executable}" "$@"\n'


def config_of(named: str) -> dict[str, object]:
    return {"parameters": {"EXECUTION_ENV_PATH": {"string_value": named}}}


def add(tar: tarfile.TarFile, name: str, text: str = "", mode: int = 0o644, link: str = "", hard: bool = False) -> None:
    info = tarfile.TarInfo(name)
    info.mode = mode
    info.size = len(text)
    if link:
        info.type, info.linkname = (tarfile.LNKTYPE if hard else tarfile.SYMTYPE), link
    tar.addfile(info, io.BytesIO(text.encode()))


def packed(folder: Path, *links: tuple[str, str], python: str = WRAPPER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "env.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        add(tar, "bin/python3.9", python, 0o755)
        add(tar, "bin/python", link="python3.9")
        add(tar, "lib/one.so.1", "one")
        add(tar, "lib/one.so", link="one.so.1")
        add(tar, "share/one.so", link="lib/one.so.1", hard=True)
        for name, target in links:
            add(tar, name, link=target)
    return archive


def test_an_archive_in_the_model_s_folder_is_unpacked_once(home: Path, tmp_path: Path) -> None:
    archive = packed(tmp_path / "model")
    launched = packed_launch(config_of("$$TRITON_MODEL_DIRECTORY/env.tar.gz"), tmp_path / "model")
    assert launched is not None
    root = Path(launched.python).parent.parent
    assert root.parent == home / "cache" / "execution_environments"
    assert (root / "lib" / "one.so").read_text() == (root / "share" / "one.so").read_text() == "one"
    assert launched.environ["LD_LIBRARY_PATH"].split(os.pathsep)[0] == str(root / "lib")
    (root / "mark").touch()
    assert packed_launch(config_of(str(archive)), tmp_path / "other") == launched
    assert (root / "mark").exists()
    os.utime(archive, (1, 1))
    again = packed_launch(config_of(str(archive)), tmp_path / "other")
    assert again is not None
    assert again.python != launched.python


def test_a_folder_is_used_directly_and_a_model_may_have_no_environment(home: Path, tmp_path: Path) -> None:
    assert packed_launch({"parameters": {}}, tmp_path) is None
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "python").symlink_to(sys.executable)
    launched = packed_launch(config_of("$$TRITON_MODEL_DIRECTORY/env"), tmp_path)
    assert launched is not None
    assert launched.python == str(tmp_path / "env" / "bin" / "python")
    assert not (home / "cache").exists()


@pytest.mark.parametrize(
    ("link", "why"),
    [
        (("lib/out", "/etc"), "leads out of the environment"),
        (("lib/out", "../../out"), "leads out of the environment"),
        (("d", "."), None),
        (("lib/one.so", "one.so.1"), "another member with that name"),
        (("../out", "x"), "climbs with '..'"),
    ],
)
def test_links_stay_in_the_environment(home: Path, tmp_path: Path, link: tuple[str, str], why: str | None) -> None:
    archive = packed(tmp_path, link)
    if why is None:
        assert packed_launch(config_of(str(archive)), tmp_path)
        return
    with pytest.raises(ConfigError, match=why):
        packed_launch(config_of(str(archive)), tmp_path)
    assert not [each for each in (home / "cache" / "execution_environments").iterdir() if each.is_dir()]


@pytest.mark.parametrize("links", [[("d", "."), ("d/x", "y")], [("d", "."), ("x", "d/e/../..")]])
def test_links_do_not_lead_out_through_other_links(home: Path, tmp_path: Path, links: list[tuple[str, str]]) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ConfigError, match="through a link|leads out"):
        packed_launch(config_of(str(packed(tmp_path / "out", *links, ("e", "lib/..")))), tmp_path)


@pytest.mark.parametrize(
    ("python", "why"),
    [
        ("#!/bin/sh\necho 3 7\n", "brings Python 3.7 .*must be 3.8 or later"),
        ("#!/bin/sh\necho no module named numpy >&2; exit 1\n", "no module named numpy. It needs numpy"),
    ],
)
def test_a_python_that_cannot_be_used_says_why(home: Path, tmp_path: Path, python: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        packed_launch(config_of(str(packed(tmp_path, python=python))), tmp_path)


@pytest.mark.parametrize(
    ("named", "why"),
    [
        ("/nowhere/env.tar.gz", "does not exist"),
        ("$$TRITON_MODEL_DIRECTORY/../env", "leaves the model's folder"),
        ("$$TRITON_MODEL_DIRECTORY", "has no bin/python"),
        ("$$TRITON_MODEL_DIRECTORY/text", "damaged, or not a tar archive"),
    ],
)
def test_an_invalid_environment_is_refused(home: Path, tmp_path: Path, named: str, why: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "text").write_text("no archive")
    with pytest.raises(ConfigError, match=why):
        packed_launch(config_of(named), model)
