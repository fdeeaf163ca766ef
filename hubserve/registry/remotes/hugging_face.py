"""A repository of models at Hugging Face, or at a server with its interface (``HF_ENDPOINT``)."""

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hubserve.errors import InstallError, MissingDependency
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.downloads.addresses import check_address
from hubserve.registry.downloads.http import Interrupted
from hubserve.registry.downloads.partial_file import Wanted
from hubserve.registry.remotes.base import Listing, RemoteFile, checked
from hubserve.registry.remotes.http_files import HttpFiles
from hubserve.registry.remotes.hub_address import COMMIT, parse_hub_address
from hubserve.registry.remotes.limits import within
from hubserve.registry.remotes.secrets import masked, quiet_loggers

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class HuggingFace(HttpFiles):
    """``hf:ORGANISATION/NAME[@REVISION][//FILE-OR-FOLDER]``; the token is the one of ``HF_TOKEN`` or ``hf auth login``.

    The library lists the repository and resolves its revision; the files come by our own downloads, which resume, and are limited in size
    and silence.
    """

    def __init__(self, text: str, settings: InstallSettings) -> None:
        self._address, self._settings = parse_hub_address(text), settings
        self._commit = ""
        self.inside = self._address.inside
        self.name = self._address.repository.partition("/")[2]
        self.shown = f"hf:{self._address.repository}" + (f"@{self._address.revision}" if self._address.revision else "")

    def listing(self) -> Listing:
        """See the base class."""
        api, repository = self._api(), self._address.repository
        seconds = self._settings.fetch_timeout_s
        check_address(api.endpoint, allow_http=self._settings.allow_http)
        try:
            info = within(
                2 * seconds,
                self.shown,
                lambda: api.model_info(repository, revision=self._address.revision or None, files_metadata=True, timeout=seconds),
            )
        except InstallError:
            raise
        except Exception as error:
            raise self._refused(error) from None
        if not COMMIT.fullmatch(info.sha or ""):
            raise InstallError(f"'{self.shown}' names no commit: the server's answer is not that of a hub. Check HF_ENDPOINT.")
        self._commit = info.sha or ""
        return Listing(checked(map(_file, info.siblings or []), self.shown, self._settings), self._commit)

    def wanted(self, file: RemoteFile) -> Wanted:
        """See the base class."""
        from huggingface_hub import get_token

        url = f"{self._api().endpoint}/{self._address.repository}/resolve/{self._commit}/{quote(file.path)}"
        return Wanted(url, file.sha256, file.size_bytes, get_token() or "")

    def provenance(self, listing: Listing) -> dict[str, str]:
        """See the base class."""
        return {**super().provenance(listing), "kind": "hf", "url": f"hf:{self._address.repository}@{listing.revision}"}

    def _api(self) -> "HfApi":
        try:
            from huggingface_hub import HfApi
        except ImportError:
            raise MissingDependency(f"'{self.shown}' needs a package that is not installed: pip install 'hubserve[hf]'") from None
        quiet_loggers()
        return HfApi(os.environ.get("HF_ENDPOINT", "").rstrip("/") or None, library_name="hubserve")

    def _refused(self, error: Exception) -> InstallError:
        status = getattr(getattr(error, "response", None), "status_code", 0)
        name = type(error).__name__
        if name == "RevisionNotFoundError":
            return InstallError(f"'{self.shown}' does not exist: the repository has no such branch, tag or commit.")
        if status in (401, 403, 404):
            return InstallError(
                f"'{self.shown}' is not given out (status {status}): there is no such repository, or it is private or gated. Check the "
                "name; for private ones set HF_TOKEN, or run: hf auth login"
            )
        return Interrupted(f"'{self.shown}' cannot be listed ({name}: {masked(str(error))[:150]}). Try again later, or check HF_ENDPOINT.")


def _file(sibling: Any) -> RemoteFile:
    sha256, blob = "", str(sibling.blob_id or "")
    with suppress(AttributeError, KeyError, TypeError):
        sha256 = str(sibling.lfs["sha256"] if isinstance(sibling.lfs, dict) else sibling.lfs.sha256)
    is_blob = COMMIT.fullmatch(blob) and not sha256  # of a file in LFS it is the digest of a pointer
    return RemoteFile(sibling.rfilename, sibling.size, sha256 or blob, sha256, blob if is_blob else "")
