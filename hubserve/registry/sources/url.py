"""An archive at an ``https://`` address."""

import re
from contextlib import contextmanager

from hubserve.errors import InstallError
from hubserve.registry.downloads.addresses import check_address, check_sha256, split_fragment, without_secrets
from hubserve.registry.downloads.download import downloaded
from hubserve.registry.downloads.partial_file import Wanted
from hubserve.registry.provenance import Origin
from hubserve.registry.sources.base import Fetched, Fetching, Request, Source, unsigned

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class UrlSource(Source):
    """``https://HOST/PATH[#sha256=DIGITS]``; ``http://`` from this machine only, unless the settings allow more."""

    name = "url"

    def recognises(self, request: Request) -> bool:
        """Return True for a text that starts like a URL."""
        return bool(_ADDRESS.match(request.text))

    @contextmanager
    def fetched(self, request: Request) -> Fetching:
        """Download the archive."""
        url, fragment = split_fragment(request.text, ("sha256",))
        wanted = Wanted(url, _combined_digest(request.sha256, check_sha256(fragment.get("sha256", ""))))
        check_address(url, allow_http=request.settings.allow_http)
        shown = without_secrets(url)
        if request.settings.require_signature:
            raise unsigned(f"'{shown}'")
        with downloaded(wanted, request.downloads, request.settings, request.progress) as archive:
            origin = Origin(shown, {"kind": self.name, "url": shown, "sha256": archive.sha256}, is_local=False)
            yield Fetched(archive.path, origin)


def _combined_digest(option: str, fragment: str) -> str:
    if option and fragment and option != fragment:
        raise InstallError("the digest in the address and the one given with --digest differ. Leave out the one that is wrong.")
    return option or fragment
