"""Where modules come from: one file and one row for each kind of source.

:func:`fetched` has what a user typed on this machine, in ``cache/downloads`` of the home if it was far away, before anybody takes the
store's lock. Nothing is fetched from another machine unless the user typed its address, or configured an index.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from hubserve.errors import HubError, InstallError
from hubserve.registry.downloads.addresses import without_secrets
from hubserve.registry.sources.base import Fetched, Request, Source

__all__ = ["SOURCES", "Fetched", "Request", "fetched", "find_source", "named_as_given"]

#: name -> "package.module:Class", in the order in which they are asked whether they recognise what was typed
SOURCES = {
    "git": "hubserve.registry.sources.git:GitSource",
    "url": "hubserve.registry.sources.url:UrlSource",
    "index": "hubserve.registry.sources.index:IndexSource",
    "model": "hubserve.registry.sources.model_file:ModelSource",
    "folder": "hubserve.registry.sources.local:FolderSource",
    "archive": "hubserve.registry.sources.local:ArchiveSource",
}


def get_source(name: str) -> Source:
    """The kind of source of that name, one of :data:`SOURCES`."""
    module, _, cls = SOURCES[name].partition(":")
    source: Source = getattr(import_module(module), cls)()
    return source


def find_source(request: Request) -> Source:
    """The first kind of source that recognises a request; the last one takes everything.

    Raises:
        HubError: an index had to be asked, and could not be.
    """
    return next(source for source in map(get_source, SOURCES) if source.recognises(request))


@contextmanager
def fetched(request: Request) -> Iterator[Fetched]:
    """Have what was asked for on this machine, as long as the context lasts.

    Raises:
        HubError: it cannot be had, or is not what it should be; the message says why.
    """
    try:
        with find_source(request).fetched(request) as found:
            yield found
    except (OSError, shutil.Error) as error:
        shown = without_secrets(request.text) if "://" in request.text else request.text
        raise InstallError(f"cannot fetch '{shown}': {error}. Mend the cause and try again.") from error


@contextmanager
def named_as_given(found: Fetched) -> Iterator[None]:
    """Errors name what the user asked for, not the place that it was fetched to."""
    try:
        yield
    except HubError as error:
        if not found.origin.is_local:
            error.args = (error.message.replace(str(found.path), found.origin.shown), *error.args[1:])
            error.detail = error.detail.replace(str(found.path), found.origin.shown)
        raise
