"""A module by its name, from an index."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hubserve.errors import HubError, InstallError, ModuleNotFound
from hubserve.registry.digests import check_digest
from hubserve.registry.downloads.download import Downloaded
from hubserve.registry.indexes.reader import Index, open_index
from hubserve.registry.indexes.search_order import in_effect
from hubserve.registry.indexes.seen_versions import guard
from hubserve.registry.indexes.select import ChosenRelease, Requirement, choose, holds, parse_requirement
from hubserve.registry.indexes.signatures import verify
from hubserve.registry.indexes.trusted_keys import TrustedKey, keys_for
from hubserve.registry.provenance import Origin
from hubserve.registry.sources.base import Fetched, Fetching, Request, Source, is_path


class IndexSource(Source):
    """``NAME``, ``NAME==VERSION`` or ``NAME>=1,<2``, looked up in the indexes in order."""

    name = "index"

    def recognises(self, request: Request) -> bool:
        """Return True for a name, unless it means a file or folder here: no index has it, or no index is configured."""
        requirement = None if is_path(request.text) else parse_requirement(request.text)
        if requirement is None:
            return False
        if not Path(request.text).exists():
            return bool(requirement.versions or in_effect(request.home, request.indexes))
        try:
            return any(holds(requirement.name, each) for each in open_indexes(request))
        except HubError as error:
            raise InstallError(
                f"{error.message} If the file or folder of that name is meant, write ./{request.text}", error.detail
            ) from error

    @contextmanager
    def fetched(self, request: Request) -> Fetching:
        """Fetch the archive of the chosen version, verified."""
        requirement = parse_requirement(request.text)
        assert requirement
        with archive_of(requirement, request) as (chosen, archive, provenance):
            check_digest(f"{chosen.name} {chosen.release.version}", archive.sha256, request.sha256)
            shown = f"{chosen.name} {chosen.release.version} from {chosen.where.shown}"
            yield Fetched(archive.path, Origin(shown, provenance, chosen.name, chosen.release.version, is_local=False))


@contextmanager
def archive_of(requirement: Requirement, request: Request) -> Iterator[tuple[ChosenRelease, Downloaded, dict[str, str]]]:
    """Provide the archive of the version that a requirement means, verified, and its provenance.

    Raises:
        ModuleNotFound: no index has it, or none is configured.
        HubError: it cannot be fetched, its digest or signature is wrong, or the index went back to an older state.
    """
    indexes = open_indexes(request)
    if not indexes:
        raise ModuleNotFound(
            f"{requirement} cannot be looked up: no index is configured, and nothing is fetched from anywhere else. Add one with: "
            "hub index add URL_OR_FOLDER (or give --index, or set HUB_INDEX)"
        )
    request.progress("looking it up")
    chosen = choose(requirement, indexes)
    key = verified_key(chosen, request)
    if key is not None:
        installed = request.installed(chosen.name)
        keys = keys_for(request.home, chosen.where.location)
        guard(request.home, chosen, requirement, keys, installed=installed, allow=request.allow_downgrade)
    if chosen.release.size_bytes > request.settings.max_bytes:
        raise InstallError(
            f"{chosen.name} {chosen.release.version} has {chosen.release.size_bytes} bytes, more than the {request.settings.max_bytes} "
            "that a module may have. To raise the limit: hub config install.max_bytes==NUMBER"
        )
    with chosen.where.archive(chosen.release, request.downloads, request.settings, request.progress) as archive:
        yield chosen, archive, _provenance(chosen, archive, key)


def open_indexes(request: Request) -> list[Index]:
    """Return the indexes to search, in order; nothing is read yet.

    Raises:
        HubError: the settings are damaged, or an address is not allowed.
    """
    return [open_index(each, request.settings) for each in in_effect(request.home, request.indexes)]


def verified_key(chosen: ChosenRelease, request: Request) -> TrustedKey | None:
    """Return the trusted key that signed a version; None if no signature is required.

    Raises:
        InstallError: a signature is required, and there is no valid one.
    """
    keys = keys_for(request.home, chosen.where.location)
    return verify(chosen.name, chosen.release, keys, required=request.settings.require_signature, shown=chosen.where.shown)


def _provenance(chosen: ChosenRelease, archive: Downloaded, key: TrustedKey | None) -> dict[str, str]:
    found = {
        "kind": IndexSource.name,
        "index": chosen.where.shown,
        "url": f"{chosen.where.shown}/{chosen.release.archive}",
        "sha256": archive.sha256,
        "signed_by": key.name if key else "",
        "key": key.identifier if key else "",
        "yanked": chosen.release.yanked,
    }
    return {name: value for name, value in found.items() if value}
