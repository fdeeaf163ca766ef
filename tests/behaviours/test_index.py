"""Indexes as a user meets them: published, searched, installed from, over HTTP and from a folder."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from hubserve.cli import main
from hubserve.registry.indexes.format import read_index_document, read_module_document
from hubserve.registry.indexes.signatures import signed_text
from tests.conftest import ROOT, wait_for
from tests.unit.registry.toys import tree, write_module
from tests.unit.registry.web import served


class Done(NamedTuple):
    """What a command did."""

    returncode: int
    stdout: str
    stderr: str


Command = Callable[..., Done]
Ok = Callable[..., str]


@pytest.fixture
def command(home: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """A command, in this process."""

    def run(*words: object) -> Done:
        returncode = main([str(each) for each in words])
        captured = capsys.readouterr()
        return Done(returncode, captured.out, captured.err)

    return run


@pytest.fixture
def ok(command: Command) -> Callable[..., str]:
    """The output of a command that does not fail."""

    def run(*words: object) -> str:
        done = command(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@contextmanager
def installing(home: Path, url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """``hub install toy`` in a process of its own, which is ended with the context."""
    words = [sys.executable, "-m", "hubserve", "install", "--no-check", "toy", "--index", url]
    environ = {**os.environ, "HUB_HOME": str(home)}
    with subprocess.Popen(words, cwd=ROOT, env=environ, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_module_is_signed_published_searched_downloaded_and_installed(home: Path, tmp_path: Path, command: Command, ok: Ok) -> None:
    index, key = tmp_path / "index", tmp_path / "ada.key"
    ok("key", "generate", key)
    for version in ("1.0.0", "1.1.0"):
        source = write_module(tmp_path / version, version=version)
        assert f"Published toy {version}" in ok("publish", source, "--index", index, "--key", key)
    with served() as web:
        web.folder = index
        assert web.url in ok("index", "add", web.url)
        assert "ada" in ok("key", "trust", f"{key}.pub", "--name", "ada", "--index", web.url)
        assert ok("index", "list").strip() == web.url
        assert json.loads(ok("search", "TOY", "--json")) == [{"name": "toy", "version": "1.1.0", "summary": "For tests", "where": web.url}]
        assert "toy-1.0.0.tar.gz" in ok("download", "toy==1.0.0", "--output", tmp_path / "out")
        assert (tmp_path / "out" / "toy-1.0.0.tar.gz").read_bytes() == (index / "archives" / "toy-1.0.0.tar.gz").read_bytes()
        assert "Installed toy 1.1.0" in ok("install", "toy>=1,<2")
    shown = ok("show", "toy")
    assert "ada (key " in shown
    assert f"{web.url}/archives/toy-1.1.0.tar.gz" in shown.replace("\n", "").replace(" ", "")
    provenance = json.loads(ok("show", "toy", "--json"))["installed"]["provenance"]
    assert (provenance["kind"], provenance["index"], provenance["signed_by"]) == ("index", web.url, "ada")


def test_a_signed_index_that_goes_back_is_refused_until_it_is_allowed(home: Path, tmp_path: Path, command: Command, ok: Ok) -> None:
    index, key = tmp_path / "index", tmp_path / "ada.key"
    ok("key", "generate", key)
    ok("key", "trust", f"{key}.pub", "--name", "ada")
    for version in ("1.0.0", "1.1.0"):
        ok("publish", write_module(tmp_path / version, version=version), "--index", index, "--key", key)
        shutil.copytree(index, tmp_path / f"with {version}")
    assert "Installed toy 1.1.0" in ok("install", "--no-check", "toy", "--index", index)
    shutil.rmtree(index)
    (tmp_path / "with 1.0.0").rename(index)
    refused = command("install", "--no-check", "toy", "--index", f"{index}/./")
    assert refused.returncode == 1
    assert "the index had 1.1.0, signed" in refused.stderr
    assert "--allow-downgrade" in refused.stderr
    assert command("download", "toy", "--index", index, "--output", tmp_path / "out").returncode == 1
    assert "Installed toy 1.0.0" in ok("install", "--no-check", "toy", "--index", index, "--allow-downgrade")


def test_unknown_names_exit_1_with_where_was_looked_and_wrong_words_2(
    tmp_path: Path, command: Command, ok: Ok, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    ok("publish", write_module(tmp_path / "src"), "--index", index)
    for words in (["install", "tory"], ["download", "tory"]):
        done = command(*words, "--index", index)
        assert (done.returncode, done.stdout) == (1, "")
        assert str(index) in done.stderr
        assert "did you mean 'toy'" in done.stderr
    assert "No module has these words" in ok("search", "nothing", "--index", index)
    for words in (["search", "x"], ["install", "toy"], ["download", "toy"], ["install", "toy==1"]):
        done = command(*words)
        assert done.returncode == 1
        assert "hub index add" in done.stderr
    for words in (["download"], ["publish", "x"], ["index"], ["index", "add"], ["key", "trust", "x"], ["key"]):
        assert command(*words).returncode == 2
    monkeypatch.setenv("HUB_INDEX", str(index))
    assert "toy" in ok("search")
    assert json.loads(ok("index", "list", "--json"))["from"] == "HUB_INDEX"


def test_a_publication_that_would_change_a_version_is_refused_and_a_withdrawn_one_is_noted(
    home: Path, tmp_path: Path, command: Command, ok: Ok
) -> None:
    index = tmp_path / "index"
    ok("publish", write_module(tmp_path / "src"), "--index", index)
    done = command("publish", write_module(tmp_path / "src", more__txt="x"), "--index", index)
    assert done.returncode == 1
    assert "--force" in done.stderr
    assert "Published" in ok("publish", tmp_path / "src", "--index", index, "--force")
    assert "is withdrawn" in ok("index", "yank", "toy==1.0.0", "--index", index, "--reason", "wrong labels")
    assert command("install", "toy", "--index", index).returncode == 1
    named = command("install", "toy==1.0.0", "--index", index)
    assert named.returncode == 0
    assert "withdrawn from its index: wrong labels" in named.stderr
    assert "1 module in 1 version" in ok("index", "build", index)
    assert command("publish", tmp_path / "src", "--index", "https://example.invalid").returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_install_that_is_stopped_while_it_fetches_goes_on_at_the_next_try(home: Path, tmp_path: Path, number: int, ok: Ok) -> None:
    folder = write_module(tmp_path / "src")
    (folder / "weights.bin").write_bytes(os.urandom(400))
    ok("publish", folder, "--index", tmp_path / "index")
    with served() as web:
        web.folder = tmp_path / "index"
        path = "/archives/toy-1.0.0.tar.gz"
        web.drips.add(path)
        with installing(home, web.url) as running:
            wait_for(lambda: any(each.read_bytes() for each in home.glob("cache/downloads/*/data")) or None)
            running.send_signal(number)
            running.wait(30)
        assert ok("list", "--json").count('"name"') == 0
        web.drips.clear()
        ok("install", "toy", "--index", web.url)
        wanted = [each.get("Range") for each in web.asked(path)]
    assert wanted[0] is None
    assert (wanted[1] or "").startswith("bytes=")
    assert not list(home.glob("cache/downloads/*/data"))


def test_a_fetch_does_not_keep_others_from_installing(home: Path, tmp_path: Path, command: Command, ok: Ok) -> None:
    ok("publish", write_module(tmp_path / "src"), "--index", tmp_path / "index")
    with served() as web:
        web.folder = tmp_path / "index"
        web.drips.add("/archives/toy-1.0.0.tar.gz")
        with installing(home, web.url) as running:
            wait_for(lambda: list(home.glob("cache/downloads/*/data")) or None)
            ok("install", "--no-check", write_module(tmp_path / "other", "other"))
            assert running.poll() is None, "it still fetches"


def test_the_commands_of_the_guide_do_what_it_says(home: Path, tmp_path: Path, ok: Ok, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hubmodules").symlink_to(ROOT / "hubmodules")
    monkeypatch.chdir(tmp_path)
    lines = (ROOT / "docs" / "installing.md").read_text("utf-8").replace("/srv/index", str(tmp_path / "index")).splitlines()
    commands = [shlex.split(line)[2:] for line in lines if line.startswith("$ hub ")]
    outputs = [ok(*words) for words in commands]
    assert len(commands) == 12
    assert "clas_system" in outputs[2]
    assert (tmp_path / "archives" / "clas_system-1.0.0.tar.gz").exists()
    assert "Replaced clas_system" in outputs[-1]
    assert "ada (key" in ok("show", "clas_system")


def test_what_the_format_says_of_itself_is_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "index-format.md").read_text("utf-8").replace("64 hexadecimal digits", "a" * 64)
    index, module = (block.partition("```")[0] for block in text.split("```json")[1:])
    assert read_index_document(index.encode(), "x").modules["clas_system"].latest == "1.0.0"
    release = read_module_document(module.encode(), "clas-system", "x").versions[0]
    signed = text.split("such as\n\n```")[1].partition("```")[0].strip().replace('"..."', '"' + "a" * 64 + '"')
    assert signed_text("clas_system", release).decode() == signed


def test_nothing_of_a_refused_archive_is_left(home: Path, tmp_path: Path, command: Command, ok: Ok) -> None:
    index = tmp_path / "index"
    ok("publish", write_module(tmp_path / "src"), "--index", index)
    archive = index / "archives" / "toy-1.0.0.tar.gz"
    archive.write_bytes(archive.read_bytes()[::-1])
    with served() as web:
        web.folder = index
        for place in (index, web.url):
            done = command("install", "toy", "--index", place)
            assert done.returncode == 1
            assert "SHA-256" in done.stderr
    assert {path for path, content in tree(home).items() if content} == set()
