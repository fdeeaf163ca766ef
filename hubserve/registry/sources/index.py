"""A module by its name, out of an index."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hubserve.errors import HubError, InstallError, ModuleNotFound
from hubserve.registry.digests import check_digest
from hubserve.registry.downloads.download import Downloaded
from hubserve.registry.indexes.history import guard
from hubserve.registry.indexes.reader import Index, open_index
from hubserve.registry.indexes.search_order import in_effect
from hubserve.registry.indexes.select import Chosen, Requirement, choose, holds, parse_requirement
from hubserve.registry.indexes.signatures import verify
from hubserve.registry.indexes.trusted_keys import TrustedKey, keys_for
from hubserve.registry.provenance import Origin
from hubserve.registry.sources.base import Fetched, Fetching, Request, Source, is_path


class IndexSource(Source):
    """``NAME``, ``NAME==VERSION`` or ``NAME>=1,<2``, looked up in the indexes in order."""

    name = "index"

    def recognises(self, request: Request) -> bool:
        """A name, unless only a file or folder here can be meant: one that no index has, or where no index is configured."""
        requirement = None if is_path(request.text) else parse_requirement(request.text)
        if requirement is None:
            return False
        if not Path(request.text).exists():
            return bool(requirement.versions or in_effect(request.home, request.indexes))
        try:
            return any(holds(requirement.name, each) for each in opened(request))
        except HubError as error:
            raise InstallError(f"{error.message} If what is here under that name is meant, write ./{request.text}", error.detail) from error

    @contextmanager
    def fetched(self, request: Request) -> Fetching:
        """Have the archive of the version that is meant here, verified."""
        requirement = parse_requirement(request.text)
        assert requirement
        with archive_of(requirement, request) as (chosen, archive, provenance):
            check_digest(f"{chosen.name} {chosen.release.version}", archive.sha256, request.sha256)
            shown = f"{chosen.name} {chosen.release.version} from {chosen.where.shown}"
            yield Fetched(archive.path, Origin(shown, provenance, chosen.name, chosen.release.version, is_local=False))


@contextmanager
def archive_of(requirement: Requirement, request: Request) -> Iterator[tuple[Chosen, Downloaded, dict[str, str]]]:
    """Have the archive of the version that is meant, verified; with what can be said of where it came from.

    Raises:
        ModuleNotFound: no index has it, or none is configured.
        HubError: it cannot be had, its digest or signature is wrong, or the index went back to an older one.
    """
    indexes = opened(request)
    if not indexes:
        raise ModuleNotFound(
            f"{requirement} cannot be looked up: no index is configured, and nothing is fetched from anywhere else. Tell hub of one: "
            "hub index add URL_OR_FOLDER (or give --index, or set HUB_INDEX)"
        )
    request.progress("looking it up")
    chosen = choose(requirement, indexes)
    key = verified(chosen, request)
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


def opened(request: Request) -> list[Index]:
    """The indexes to ask, in order; nothing is read yet.

    Raises:
        HubError: the settings are damaged, or an address is none that may be fetched from.
    """
    return [open_index(each, request.settings) for each in in_effect(request.home, request.indexes)]


def verified(chosen: Chosen, request: Request) -> TrustedKey | None:
    """Who signed a version, of those that are trusted for its index.

    Raises:
        InstallError: a signature is asked for, and there is none that holds.
    """
    keys = keys_for(request.home, chosen.where.location)
    return verify(chosen.name, chosen.release, keys, required=request.settings.require_signature, shown=chosen.where.shown)


def _provenance(chosen: Chosen, archive: Downloaded, key: TrustedKey | None) -> dict[str, str]:
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
