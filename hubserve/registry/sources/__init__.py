"""Sources of modules: one file and one row for each kind.

:func:`fetched` brings the source that a user named to this machine, downloads into ``cache/downloads`` of the home, before the lock of the
home is taken. Nothing is fetched from another machine unless the user gave its address, or configured an index.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from hubserve.errors import HubError, InstallError
from hubserve.registry.downloads.addresses import without_secrets
from hubserve.registry.sources.base import Fetched, Request, Source

__all__ = ["SOURCES", "Fetched", "Request", "fetched", "find_source", "named_as_given"]

#: name -> "package.module:Class", in the order in which they are asked to recognise a source
SOURCES = {
    "git": "hubserve.registry.sources.git:GitSource",
    "remote": "hubserve.registry.sources.remote:RemoteSource",
    "url": "hubserve.registry.sources.url:UrlSource",
    "index": "hubserve.registry.sources.index:IndexSource",
    "model": "hubserve.registry.sources.model_file:ModelSource",
    "folder": "hubserve.registry.sources.local:FolderSource",
    "archive": "hubserve.registry.sources.local:ArchiveSource",
}


def get_source(name: str) -> Source:
    """Return the kind of source with a name of :data:`SOURCES`."""
    module, _, cls = SOURCES[name].partition(":")
    source: Source = getattr(import_module(module), cls)()
    return source


def find_source(request: Request) -> Source:
    """Return the first kind of source that recognises a request; the last one recognises everything.

    Raises:
        HubError: an index had to be read, and could not be.
    """
    return next(source for source in map(get_source, SOURCES) if source.recognises(request))


@contextmanager
def fetched(request: Request) -> Iterator[Fetched]:
    """Fetch a request's source to this machine, for the duration of the context.

    Raises:
        HubError: it cannot be fetched, or is refused; the message says why.
    """
    try:
        with find_source(request).fetched(request) as found:
            yield found
    except (OSError, shutil.Error) as error:
        shown = without_secrets(request.text) if "://" in request.text else request.text
        raise InstallError(f"cannot fetch '{shown}': {error}. Fix the problem and try again.") from error


@contextmanager
def named_as_given(found: Fetched) -> Iterator[None]:
    """Replace the path of a fetched file in errors, so that they name what the user asked for."""
    try:
        yield
    except HubError as error:
        if not found.origin.is_local:
            error.args = (error.message.replace(str(found.path), found.origin.shown), *error.args[1:])
            error.detail = error.detail.replace(str(found.path), found.origin.shown)
        raise
