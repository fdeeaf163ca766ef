"""A repository of models at ModelScope, or at a server with its interface (``MODELSCOPE_ENDPOINT``)."""

from typing import TYPE_CHECKING

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
    from modelscope_hub import HubApi

_MAIN = "master"


class ModelScope(HttpFiles):
    """``modelscope:ORGANISATION/NAME[@REVISION][//FILE-OR-FOLDER]``; the token is the one of ``MODELSCOPE_API_TOKEN`` or ``ms login``.

    The interface does not say which commit a branch means; what pins a state are the SHA-256 of the files, which are verified and kept.
    """

    def __init__(self, text: str, settings: InstallSettings) -> None:
        self._address, self._settings = parse_hub_address(text), settings
        self.inside = self._address.inside
        self.name = self._address.repository.partition("/")[2]
        self.shown = f"modelscope:{self._address.repository}@{self._address.revision or _MAIN}"

    def listing(self) -> Listing:
        """See the base class."""
        api, revision = self._api(), self._address.revision or _MAIN
        check_address(api.legacy.endpoint, allow_http=self._settings.allow_http)
        try:
            found = within(
                4 * self._settings.fetch_timeout_s,
                self.shown,
                lambda: api.list_repo_files(self._address.repository, "model", revision=revision),
            )
        except InstallError:
            raise
        except Exception as error:
            raise self._refused(error) from None
        files = [RemoteFile(each.path, each.size, each.sha256 or "", each.sha256 or "") for each in found if each.type != "tree"]
        return Listing(checked(files, self.shown, self._settings), revision if COMMIT.fullmatch(revision) else "")

    def wanted(self, file: RemoteFile) -> Wanted:
        """See the base class."""
        legacy = self._api().legacy
        url = legacy.get_download_url(self._address.repository, "model", file.path, self._address.revision or _MAIN)
        return Wanted(url, file.sha256, file.size_bytes, legacy.token or "")

    def provenance(self, listing: Listing) -> dict[str, str]:
        """See the base class."""
        return {**super().provenance(listing), "kind": "modelscope"}

    def _api(self) -> "HubApi":
        try:
            from modelscope_hub import HubApi, HubConfig
        except ImportError:
            raise MissingDependency(f"'{self.shown}' needs a package that is not installed: pip install 'hubserve[modelscope]'") from None
        quiet_loggers()
        return HubApi(HubConfig())

    def _refused(self, error: Exception) -> InstallError:
        name = type(error).__name__
        status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", 0)
        if status in (400, 401, 403, 404):
            return InstallError(
                f"'{self.shown}' is not given out (status {status}): there is no such repository or revision, or it is private. Check the "
                "name; for private ones set MODELSCOPE_API_TOKEN."
            )
        return Interrupted(f"'{self.shown}' cannot be listed ({name}: {masked(str(error))[:150]}). Try again later.")
