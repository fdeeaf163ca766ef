"""A module in a git repository: fetch one commit, and check it out."""

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.archives.extraction import safe_parts
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.downloads.addresses import check_address, split_fragment, without_secrets
from hubserve.registry.provenance import Origin
from hubserve.registry.sources.base import Fetched, Fetching, Request, Source, unsigned
from hubserve.registry.sources.git_command import GitCommand
from hubserve.registry.version_dirs import DirectoryLock

_SCHEMES = ("https", "http", "ssh", "file")
_REF = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_./+-]{0,200}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_FULL_COMMIT_LENGTHS = (40, 64)
_STALE_AFTER_S = 24 * 3600


class Repository(NamedTuple):
    """The parts of ``git+URL[@REF][#subdirectory=FOLDER]``.

    Attributes:
        url: for git.
        ref: tag, branch or commit; "" for the default branch.
        subdirectory: the module's folder in it; "" for the whole repository.
    """

    url: str
    ref: str
    subdirectory: str


class GitSource(Source):
    """``git+https://HOST/REPOSITORY[@TAG-OR-COMMIT][#subdirectory=FOLDER]``; also ``git+ssh://`` and ``git+file:///``."""

    name = "git"

    def recognises(self, request: Request) -> bool:
        """Return True for a text that starts with ``git+``."""
        return request.text.startswith("git+")

    @contextmanager
    def fetched(self, request: Request) -> Fetching:
        """Fetch one commit and check it out."""
        repository = parse_repository(request.text, allow_http=request.settings.allow_http)
        shown = without_secrets(repository.url)
        if request.sha256:
            raise InstallError("a digest is of an archive. To pin the state of a git repository, name its commit: git+URL@COMMIT")
        if request.settings.require_signature:
            raise unsigned(f"'{shown}'")
        with _scratch_folder(request) as folder:
            git = GitCommand(folder, repository.url, repository.ref, request.settings, request.progress)
            commit = _check_out(git, repository, request.settings)
            module = folder.joinpath(*safe_parts(repository.subdirectory))
            if not module.resolve().is_relative_to(folder.resolve()) or not module.is_dir():
                raise InstallError(f"'{shown}' has no folder {repository.subdirectory!a} at commit {commit[:12]}. Check #subdirectory=.")
            provenance = {"kind": self.name, "url": shown, "commit": commit}
            provenance |= {key: value for key, value in (("ref", repository.ref), ("subdirectory", repository.subdirectory)) if value}
            yield Fetched(module, Origin(f"git+{shown}@{commit}", provenance, is_local=False))


def parse_repository(text: str, *, allow_http: bool) -> Repository:
    """Split the text of a user, and refuse what git could take for an option.

    Raises:
        InstallError: a part is refused.
    """
    address, fragment = split_fragment(text.removeprefix("git+"), ("subdirectory",))
    head, at, ref = address.rpartition("@")
    # A user's name precedes the host, a ref follows the path.
    url = head if at and "/" in head.partition("://")[2] and "/" in head else address
    ref = ref if url != address else ""
    scheme = url.partition("://")[0]
    if scheme not in _SCHEMES or "://" not in url:
        raise InstallError(
            f"'git+{without_secrets(url)}' is not an address for git: write git+https://HOST/REPOSITORY, or git+file:///FOLDER."
        )
    if scheme in ("https", "http"):
        check_address(url, allow_http=allow_http)
    if url != address and (not _REF.fullmatch(ref) or ".." in ref):
        raise InstallError(f"{ref[:80]!a} is not a tag, branch or commit that hub passes to git. Write git+URL@TAG or git+URL@COMMIT.")
    host = url.partition("://")[2].rpartition("@")[2]
    if (
        host.startswith("-")
        or url.partition("://")[2].startswith("-")
        or not all(each.isprintable() and not each.isspace() for each in url)
    ):
        raise InstallError("the address is refused: git could take a part of it for an option. Write git+https://HOST/REPOSITORY.")
    return Repository(url, ref, fragment.get("subdirectory", ""))


@contextmanager
def _scratch_folder(request: Request) -> Iterator[Path]:
    request.downloads.mkdir(parents=True, exist_ok=True)
    for stale in request.downloads.glob("git-*"):  # left by a killed process
        with suppress(OSError):
            if stale.stat().st_mtime < time.time() - _STALE_AFTER_S:
                shutil.rmtree(stale, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="git-", dir=request.downloads))
    lock = DirectoryLock(folder)
    try:
        yield folder
    finally:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def _check_out(git: GitCommand, repository: Repository, limits: InstallSettings) -> str:
    """Fetch and check out a repository's commit into an empty folder; return the commit's full name."""
    git.run("init", "--quiet", "--template=", ".")
    ref = repository.ref
    if _COMMIT.fullmatch(ref) and len(ref) not in _FULL_COMMIT_LENGTHS:
        _fetch(git, repository.url, "+refs/*:refs/hub/*")  # an abbreviated commit can only be completed with all of them at hand
        found = git.output("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", may_fail=True)
        commit = found or _fetch_ref(git, repository.url, ref)
    else:
        commit = _fetch_ref(git, repository.url, ref or "HEAD")
    _check_size(git, commit, without_secrets(repository.url), limits)
    git.run("checkout", "--quiet", "--detach", commit)
    return commit


def _fetch_ref(git: GitCommand, url: str, ref: str) -> str:
    """Fetch one ref, and return its commit."""
    try:
        _fetch(git, url, ref, shallow=True)
    except InstallError as error:
        if "shallow" in error.detail:  # a plain web server with a repository's files on it
            _fetch(git, url, ref)
            return git.output("rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")
        if len(ref) not in _FULL_COMMIT_LENGTHS or not _COMMIT.fullmatch(ref):
            raise
        _fetch(git, url, "+refs/*:refs/hub/*")  # some servers do not serve single commits
        return git.output("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    return git.output("rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")


def _fetch(git: GitCommand, url: str, ref: str, *, shallow: bool = False) -> None:
    depth = ["--depth=1"] if shallow else []
    git.run("fetch", "--progress", "--no-tags", "--no-recurse-submodules", *depth, "--", url, ref)


def _check_size(git: GitCommand, commit: str, shown: str, limits: InstallSettings) -> None:
    """Count what a checkout would write before it is written: a few kilobytes of git objects can stand for any number of files."""
    files = size_bytes = 0
    with closing(git.records("ls-tree", "-r", "-l", "-z", "--full-tree", commit)) as records:
        for record in records:
            size = record.partition(b"\t")[0].split()[-1]
            files, size_bytes = files + 1, size_bytes + (int(size) if size.isdigit() else 0)
            if files > limits.max_files or size_bytes > limits.max_bytes:
                raise InstallError(
                    f"'{shown}' is refused: commit {commit[:12]} has more than the {limits.max_files} files or {limits.max_bytes} bytes "
                    "that a module may have. If it is the right one: hub config install.max_files==NUMBER"
                )
