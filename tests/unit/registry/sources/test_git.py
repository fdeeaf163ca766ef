"""Modules in real git repositories."""

import os
import subprocess
from pathlib import Path

import pytest

from hubserve.errors import HubError, InstallError
from hubserve.registry import configuration
from hubserve.registry.installer import Installer
from hubserve.registry.sources.git import parse_repository
from tests.unit.registry.toys import write_module
from tests.unit.registry.web import served


def git(folder: Path, *words: str) -> str:
    who = {f"GIT_{role}_{what}": "test@example.invalid" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **who}
    command = ["git", "-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", *words]
    return subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, message: str = "change") -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def installer(home: Path) -> Installer:
    return Installer(home)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Version 1.0.0, tagged v1, then 2.0.0; the module lies in a folder of it, too."""
    folder = write_module(tmp_path / "repo")
    git(folder, "init", "--quiet", ".")
    commit(folder)
    git(folder, "tag", "--annotate", "v1", "--message", "one")
    write_module(folder, version="2.0.0")
    write_module(folder / "deep" / "other", "other", "3.0.0")
    commit(folder)
    return folder


def refuse(installer: Installer, source: str, *words: str) -> str:
    with pytest.raises(HubError) as caught:
        installer.install(source, check=False)
    assert all(word in caught.value.message for word in words), caught.value.message
    assert installer.installed.all() == []
    assert not list((installer.home / "cache").glob("downloads/*"))
    return caught.value.message


@pytest.mark.parametrize(
    ("ref", "version"), [("", "2.0.0"), ("@v1", "1.0.0"), ("@main", "2.0.0"), ("@{first}", "1.0.0"), ("@{short}", "1.0.0")]
)
def test_a_tag_a_branch_or_a_commit_is_installed_and_its_commit_kept(
    installer: Installer, repository: Path, ref: str, version: str
) -> None:
    first, newest = git(repository, "rev-parse", "v1^{commit}"), git(repository, "rev-parse", "main")
    ref = ref.format(first=first, short=first[:9])
    installed = installer.install(f"git+file://{repository}{ref}")
    assert installed.info.version == version
    provenance = installed.manifest.provenance or {}
    assert provenance["kind"] == "git"
    assert provenance["url"] == f"file://{repository}"
    assert provenance["commit"] == (newest if version == "2.0.0" else first)
    assert provenance.get("ref", "") == ref.lstrip("@")
    assert installed.manifest.source_folder == ""
    assert not (installed.folder / ".git").exists()
    assert not list((installer.home / "cache").glob("downloads/*"))


def test_a_repository_on_a_plain_web_server_is_fetched_completely(installer: Installer, repository: Path) -> None:
    git(repository, "update-server-info")
    with served() as web:
        web.folder = repository / ".git"
        installed = installer.install(f"git+{web.url}/@v1", check=False)
        assert any(path == "/info/refs" for path, _headers in web.seen) or web.seen
    assert installed.info.version == "1.0.0"


def test_a_folder_of_a_repository_is_installed(installer: Installer, repository: Path) -> None:
    installed = installer.install(f"git+file://{repository}@main#subdirectory=deep/other", check=False)
    assert (installed.info.name, installed.info.version) == ("other", "3.0.0")
    assert (installed.manifest.provenance or {})["subdirectory"] == "deep/other"


@pytest.mark.parametrize("subdirectory", ["gone", "../repo", "/etc", "deep/../../x"])
def test_a_folder_that_is_not_in_the_repository_is_refused(installer: Installer, repository: Path, subdirectory: str) -> None:
    refuse(installer, f"git+file://{repository}#subdirectory={subdirectory}")


def test_a_link_in_a_repository_leads_nowhere_else(installer: Installer, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    write_module(tmp_path / "secret")
    (repository / "out").symlink_to(tmp_path / "secret")
    commit(repository)
    refuse(installer, f"git+file://{repository}#subdirectory=out", "has no folder")
    refuse(installer, f"git+file://{repository}", "leads outside the module")


def test_a_missing_ref_or_repository_is_reported_with_gits_reason(installer: Installer, repository: Path, tmp_path: Path) -> None:
    refuse(installer, f"git+file://{repository}@v9", "'v9'", "find remote ref")
    refuse(installer, f"git+file://{repository}@{'a' * 40}", "a" * 40)
    refuse(installer, f"git+file://{tmp_path}/gone", "does not appear to be a git repository")


def test_no_hook_no_submodule_and_no_filter_of_the_repository_is_run(installer: Installer, repository: Path, tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    for name in ("post-checkout", "post-merge", "reference-transaction", "pre-auto-gc"):
        hook = repository / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {proof}\n")
        hook.chmod(0o755)
    inner = write_module(tmp_path / "inner")
    git(inner, "init", "--quiet", ".")
    commit(inner)
    proof.unlink(missing_ok=True)
    (repository / ".git" / "hooks" / "reference-transaction").unlink()
    git(repository, "submodule", "add", "--quiet", str(inner), "inner")
    (repository / ".gitattributes").write_text("* filter=evil\n")
    (repository / ".gitconfig").write_text(f'[filter "evil"]\nsmudge = touch {proof}\n')
    commit(repository)
    proof.unlink(missing_ok=True)
    installed = installer.install(f"git+file://{repository}", check=False)
    assert not proof.exists()
    assert not list((installed.folder / "inner").iterdir())


@pytest.mark.parametrize(
    "source",
    [
        "git+ext::sh -c touch% /tmp/hubserve-ran",
        "git+ext://sh",
        "git+file:///tmp/x@--upload-pack=touch",
        "git+file:///tmp/x@-x",
        "git+file:///tmp/x@a..b",
        "git+file:///tmp/x@refs/heads/main:refs/heads/evil",
        "git+ssh://-oProxyCommand=touch/x",
        "git+ssh://git@-oProxyCommand=touch/x",
        "git+--upload-pack=touch",
        "git+/tmp/x",
        "git+",
        "git+http://example.invalid/x.git",
        "git+https://example.invalid/x.git#sha256=1",
    ],
)
def test_what_git_could_take_for_an_option_or_a_command_is_refused(installer: Installer, source: str) -> None:
    refuse(installer, source)
    assert not Path("/tmp/hubserve-ran").exists()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("git+https://host/a/b.git", ("https://host/a/b.git", "", "")),
        ("git+https://host/a/b.git@feature/x", ("https://host/a/b.git", "feature/x", "")),
        ("git+https://me@host/a", ("https://me@host/a", "", "")),
        ("git+https://me:pw@host/a@v1#subdirectory=x/y", ("https://me:pw@host/a", "v1", "x/y")),
        ("git+ssh://git@host:22/a.git@v1.0+b", ("ssh://git@host:22/a.git", "v1.0+b", "")),
    ],
)
def test_an_address_is_split_where_people_mean_it(text: str, parts: tuple[str, str, str]) -> None:
    assert parse_repository(text, allow_http=False) == parts


def test_without_git_the_error_says_so(installer: Installer, repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refuse(installer, f"git+file://{repository}", "no command 'git'", "Install git")


def test_a_surrounding_git_means_nothing(installer: Installer, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("GIT_DIR", tmp_path / "x"), ("GIT_WORK_TREE", tmp_path), ("GIT_INDEX_FILE", tmp_path / "i")):
        monkeypatch.setenv(name, str(value))
    assert installer.install(f"git+file://{repository}", check=False).info.version == "2.0.0"


def test_a_repository_over_the_limits_is_refused_before_it_is_checked_out(installer: Installer, repository: Path) -> None:
    configuration.change(installer.home, "install.max_files", 3)
    refuse(installer, f"git+file://{repository}", "more than the 3 files")
    configuration.change(installer.home, "install.max_files", 100)
    configuration.change(installer.home, "install.max_bytes", 500)
    refuse(installer, f"git+file://{repository}", "500 bytes")


def test_what_a_killed_process_left_goes_after_a_day(installer: Installer, repository: Path) -> None:
    downloads = installer.home / "cache" / "downloads"
    for name in ("git-old", "git-new"):
        (downloads / name).mkdir(parents=True)
    os.utime(downloads / "git-old", (0, 0))
    installer.install(f"git+file://{repository}", check=False)
    assert [each.name for each in downloads.iterdir()] == ["git-new"]


def test_a_password_is_in_no_message(installer: Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration.change(installer.home, "install.fetch_timeout_s", 5)
    with pytest.raises(InstallError) as caught:
        installer.install("git+http://ada:geheim@127.0.0.1:9/x.git", check=False)
    assert "127.0.0.1:9" in caught.value.message
    assert "geheim" not in caught.value.message + caught.value.detail
