"""A module in a git repository, fetched with the ``git`` of this machine: one commit, no hooks, no questions, no submodules."""

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.archives.extraction import safe_parts
from hubserve.registry.downloads.addresses import check_address, split_fragment, without_secrets
from hubserve.registry.provenance import Origin
from hubserve.registry.sources.base import Fetched, Fetching, Request, Source, unsigned
from hubserve.registry.version_dirs import DirectoryLock

_SCHEMES = ("https", "http", "ssh", "file")
_REF = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_./+-]{0,200}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_WHOLE_COMMITS = (40, 64)
_POLL_S = 0.1
_LEFT_AFTER_S = 24 * 3600
#: What a user sets on purpose; the rest of git's variables come from a surrounding hook, and mean another repository.
_KEPT = ("GIT_SSL_CAINFO", "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM")
#: Whatever a repository or a surrounding hook asks for: only this is done.
_CONFIG = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.symlinks": "true",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "protocol.ext.allow": "never",
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
}


class Repository(NamedTuple):
    """What ``git+URL[@REF][#subdirectory=FOLDER]`` says.

    Attributes:
        url: for git.
        ref: tag, branch or commit; "" for what the repository shows first.
        subdirectory: the module's folder in it; "" for all of it.
    """

    url: str
    ref: str
    subdirectory: str


class GitSource(Source):
    """``git+https://HOST/REPOSITORY[@TAG-OR-COMMIT][#subdirectory=FOLDER]``; also ``git+ssh://`` and ``git+file:///``."""

    name = "git"

    def recognises(self, request: Request) -> bool:
        """Whatever starts with ``git+``."""
        return request.text.startswith("git+")

    @contextmanager
    def fetched(self, request: Request) -> Fetching:
        """Fetch one commit and check it out."""
        repository = parse_repository(request.text, allow_http=request.settings.allow_http)
        shown = without_secrets(repository.url)
        if request.sha256:
            raise InstallError("a digest is of an archive. To have exactly one state of a git repository, name its commit: git+URL@COMMIT")
        if request.settings.require_signature:
            raise unsigned(f"'{shown}'")
        with _folder(request) as folder:
            commit = _Git(folder, repository, request).fetch()
            module = folder.joinpath(*safe_parts(repository.subdirectory))
            if not module.resolve().is_relative_to(folder.resolve()) or not module.is_dir():
                raise InstallError(f"'{shown}' has no folder {repository.subdirectory!a} at commit {commit[:12]}. Check #subdirectory=.")
            provenance = {"kind": self.name, "url": shown, "commit": commit}
            provenance |= {key: value for key, value in (("ref", repository.ref), ("subdirectory", repository.subdirectory)) if value}
            yield Fetched(module, Origin(f"git+{shown}@{commit}", provenance, is_local=False))


def parse_repository(text: str, *, allow_http: bool) -> Repository:
    """Split what a user typed, and refuse what git could take for an option.

    Raises:
        InstallError: a part is refused.
    """
    address, fragment = split_fragment(text.removeprefix("git+"), ("subdirectory",))
    head, at, ref = address.rpartition("@")
    # A user's name stands before the host, a ref behind the path.
    url = head if at and "/" in head.partition("://")[2] and "/" in head else address
    ref = ref if url != address else ""
    scheme = url.partition("://")[0]
    if scheme not in _SCHEMES or "://" not in url:
        raise InstallError(f"'git+{without_secrets(url)}' is no address for git: write git+https://HOST/REPOSITORY, or git+file:///FOLDER.")
    if scheme in ("https", "http"):
        check_address(url, allow_http=allow_http)
    if url != address and (not _REF.fullmatch(ref) or ".." in ref):
        raise InstallError(f"{ref[:80]!a} is no tag, branch or commit that hub hands to git. Write git+URL@TAG or git+URL@COMMIT.")
    host = url.partition("://")[2].rpartition("@")[2]
    if (
        host.startswith("-")
        or url.partition("://")[2].startswith("-")
        or not all(each.isprintable() and not each.isspace() for each in url)
    ):
        raise InstallError("the address is refused: git could take a part of it for an option. Write git+https://HOST/REPOSITORY.")
    return Repository(url, ref, fragment.get("subdirectory", ""))


@contextmanager
def _folder(request: Request) -> Iterator[Path]:
    request.downloads.mkdir(parents=True, exist_ok=True)
    for left in request.downloads.glob("git-*"):  # by a process that was killed
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - _LEFT_AFTER_S:
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="git-", dir=request.downloads))
    hold = DirectoryLock(folder)
    try:
        yield folder
    finally:
        hold.release()
        shutil.rmtree(folder, ignore_errors=True)


class _Git:
    """One fetch into an empty folder."""

    def __init__(self, folder: Path, repository: Repository, request: Request) -> None:
        self._folder, self._repository, self._request = folder, repository, request
        self._shown = without_secrets(repository.url)

    def fetch(self) -> str:
        """Check the wanted commit out; returns its full name."""
        self._run("init", "--quiet", "--template=", ".")
        ref = self._repository.ref
        if _COMMIT.fullmatch(ref) and len(ref) not in _WHOLE_COMMITS:
            self._fetch("+refs/*:refs/hub/*")  # only with all of them here can a shortened name be completed
            found = self._output("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", may_fail=True)
            commit = found or self._head_of(ref)
        else:
            commit = self._head_of(ref or "HEAD")
        self._check_size(commit)
        self._run("checkout", "--quiet", "--detach", commit)
        return commit

    def _head_of(self, ref: str) -> str:
        try:
            self._fetch(ref, depth=True)
        except InstallError as error:
            if "shallow" in error.detail:  # a plain web server with a repository's files on it
                self._fetch(ref)
                return self._output("rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")
            if len(ref) not in _WHOLE_COMMITS or not _COMMIT.fullmatch(ref):
                raise
            self._fetch("+refs/*:refs/hub/*")  # some servers give no single commit
            return self._output("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
        return self._output("rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")

    def _fetch(self, ref: str, *, depth: bool = False) -> None:
        shallow = ["--depth=1"] if depth else []
        self._run("fetch", "--progress", "--no-tags", "--no-recurse-submodules", *shallow, "--", self._repository.url, ref)

    def _check_size(self, commit: str) -> None:
        """Count what a checkout would write before it is written: a few kilobytes of git can stand for any number of files."""
        limits = self._request.settings
        files = size_bytes = 0
        with self._started(["ls-tree", "-r", "-l", "-z", "--full-tree", commit], subprocess.PIPE) as process:
            for line in _records(process.stdout):
                size = line.partition(b"\t")[0].split()[-1]
                files, size_bytes = files + 1, size_bytes + (int(size) if size.isdigit() else 0)
                if files > limits.max_files or size_bytes > limits.max_bytes:
                    raise InstallError(
                        f"'{self._shown}' is refused: commit {commit[:12]} has more than the {limits.max_files} files or "
                        f"{limits.max_bytes} bytes that a module may have. If it is the right one: hub config install.max_files==NUMBER"
                    )

    def _output(self, *words: str, may_fail: bool = False) -> str:
        with self._started(words, subprocess.PIPE) as process:
            output, _ = process.communicate(timeout=self._request.settings.fetch_timeout_s)
        if process.returncode and not may_fail:
            raise self._failed(f"it has no {self._repository.ref or 'commit'}")
        return str(output.decode("utf-8", "replace")).strip()

    def _run(self, *words: str) -> None:
        log_file = self._folder.with_name(self._folder.name + ".log")
        try:
            with log_file.open("w+b") as log, self._started(words, log) as process:
                self._watch(process, log)
                if process.returncode:
                    log.seek(0)
                    raise self._failed(log.read()[-4000:].decode("utf-8", "replace"))
        finally:
            with suppress(FileNotFoundError):
                log_file.unlink()

    @contextmanager
    def _started(self, words: Sequence[str], output: int | IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
        options = [each for key, value in _CONFIG.items() for each in ("-c", f"{key}={value}")]
        timeout = ["-c", "http.lowSpeedLimit=1000", "-c", f"http.lowSpeedTime={self._request.settings.fetch_timeout_s}"]
        errors = subprocess.DEVNULL if output == subprocess.PIPE else subprocess.STDOUT
        try:
            process = subprocess.Popen(
                ["git", *options, *timeout, *words],  # noqa: S607 - the one that the user has
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise InstallError(
                f"'{self._shown}' cannot be fetched: there is no command 'git' on this machine. Install git, or give an archive."
            ) from None
        try:
            yield process
        finally:
            _end(process)

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in _KEPT}
        return {
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
            **kept,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS": "true",
            "GIT_ALLOW_PROTOCOL": self._repository.url.partition("://")[0],
            "GIT_CEILING_DIRECTORIES": str(self._folder.parent),
            "LC_ALL": "C",
        }

    def _watch(self, process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
        """Wait for git, as long as it gets on and does not fill the disk."""
        settings, last, since = self._request.settings, (0, 0), time.monotonic()
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_S)
                return
            now = (_used_bytes(self._folder), os.fstat(log.fileno()).st_size)
            self._request.progress("fetching with git", now[0])
            if now != last:
                last, since = now, time.monotonic()
            if now[0] > 2 * settings.max_bytes:
                raise self._failed(f"it is over {settings.max_bytes} bytes; hub config install.max_bytes==NUMBER raises the limit")
            if time.monotonic() - since > settings.fetch_timeout_s:
                raise self._failed(
                    f"git got no further for {settings.fetch_timeout_s} s; hub config install.fetch_timeout_s==SECONDS waits longer"
                )

    def _failed(self, output: str) -> InstallError:
        output = output.replace(self._repository.url, self._shown)
        lines = [each.strip() for each in output.replace("\r", "\n").splitlines() if each.strip()]
        said = next((each for each in lines if each.startswith(("fatal:", "error:"))), lines[-1] if lines else "it says nothing")
        ref = f" at {self._repository.ref!a}" if self._repository.ref else ""
        return InstallError(
            f"git cannot fetch '{self._shown}'{ref}: {said[:300].rstrip('.')}. Check them; a private one needs a credential helper or ssh.",
            output,
        )


def _records(stream: IO[bytes] | None) -> Iterator[bytes]:
    rest = b""
    while stream and (chunk := stream.read(1 << 16)):
        *lines, rest = (rest + chunk).split(b"\0")
        yield from lines


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End git and what it started (its session has no other members), and collect it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 9)
    process.wait()
    if process.stdout:
        process.stdout.close()


def _used_bytes(folder: Path) -> int:
    total_bytes = 0
    for base, _folders, files in os.walk(folder):
        for each in files:
            with suppress(OSError):  # git renames what it has finished
                total_bytes += Path(base, each).lstat().st_size
    return total_bytes
