"""A module in a bucket, in a folder of a web server, on an SSH server, or in a repository of Hugging Face or ModelScope."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from hubserve.errors import HubError, InstallError
from hubserve.registry.digests import check_digest
from hubserve.registry.provenance import Origin
from hubserve.registry.remotes import is_remote
from hubserve.registry.remotes.copies import copy_of_module, folder_of
from hubserve.registry.sources.base import Fetched, Fetching, Request, Source, unsigned
from hubserve.registry.sources.local import ArchiveSource, FolderSource
from hubserve.registry.sources.model_file import ModelSource


class RemoteSource(Source):
    """``s3://BUCKET/FOLDER``, ``https://HOST/FOLDER/``, ``hf:ORGANISATION/NAME@COMMIT`` and other remote folders."""

    name = "remote"

    def recognises(self, request: Request) -> bool:
        """Return True for an address of a remote folder; of ``https://`` addresses only those that end in ``/``."""
        if request.text.startswith(("http://", "https://")):
            return urlsplit(request.text).path.endswith("/") and "#" not in request.text
        return is_remote(request.text)

    @contextmanager
    def fetched(self, request: Request) -> Fetching:
        """Copy the module's files, which stay if that fails, so that the next try goes on from there."""
        if request.settings.require_signature:
            raise unsigned("a folder at another place")
        copy = copy_of_module(request.text, request.downloads, request.settings, request.progress)
        if request.sha256 and copy.path.is_dir():
            raise InstallError("a digest is of a file, and a folder was given. Leave the digest out, or name a commit: @COMMIT")
        if request.sha256:
            check_digest(copy.origin.shown, (copy.origin.provenance or {}).get("sha256", ""), request.sha256)
        local = request._replace(text=str(copy.path), sha256="", model_name=request.model_name or copy.name)
        kind = next(each for each in (ModelSource(), FolderSource(), ArchiveSource()) if each.recognises(local))
        try:
            with kind.fetched(local) as found:
                yield Fetched(found.path, copy.origin)
        except HubError as error:
            error.args = (error.message.replace(str(copy.path), copy.origin.shown), *error.args[1:])
            raise
        shutil.rmtree(folder_of(request.text, request.downloads), ignore_errors=True)


def download_remote(request: Request, folder: Path) -> Origin:
    """Download the module at an address into a folder: its folder, or its file and what belongs to that.

    Returns:
        Where it came from, with its digests.
    Raises:
        InstallError: a file of that name exists, or cannot be written.
        HubError: it cannot be fetched, or is refused.
    """
    if request.settings.require_signature:
        raise unsigned("a folder at another place")
    copy = copy_of_module(request.text, request.downloads, request.settings, request.progress)
    folder = folder.expanduser().absolute()
    found = [copy.path] if copy.path.is_dir() else [each for each in copy.path.parent.iterdir() if each.is_file()]
    taken = next((each.name for each in found if os.path.lexists(folder / each.name)), "")
    if taken:
        raise InstallError(f"'{folder / taken}' exists already, and is not overwritten. Remove it, or name another folder: --output FOLDER")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for each in found:
            shutil.move(each, folder / each.name)
    except OSError as error:
        raise InstallError(f"cannot write '{folder}': {error}. Fix the problem, or name another folder: --output FOLDER") from error
    shutil.rmtree(folder_of(request.text, request.downloads), ignore_errors=True)
    return copy.origin
