"""Addresses of repositories at a hub: ``hf:ORGANISATION/NAME[@REVISION][//FILE-OR-FOLDER]``."""

import re
from typing import NamedTuple

from hubserve.errors import InstallError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+-]{0,200}")
COMMIT = re.compile(r"[0-9a-f]{40}")


class HubAddress(NamedTuple):
    """The parts of an address.

    Attributes:
        repository: ``ORGANISATION/NAME``.
        revision: a branch, tag or commit; "" for the main one.
        inside: a file or folder in it; "" for all.
    """

    repository: str
    revision: str
    inside: str


def parse_hub_address(text: str) -> HubAddress:
    """Split an address.

    Raises:
        InstallError: it has another form.
    """
    scheme, _, rest = text.partition(":")
    head, _, inside = rest.removeprefix("//").partition("//")
    repository, at, revision = head.partition("@")
    names = repository.split("/")
    is_valid = len(names) == 2 and all(_NAME.fullmatch(each) and ".." not in each for each in names)
    if not is_valid or (at and (not _REVISION.fullmatch(revision) or ".." in revision)):
        raise InstallError(
            f"an address of {scheme}: has another form than {scheme}:ORGANISATION/NAME or {scheme}:ORGANISATION/NAME@COMMIT//FILE. "
            "Write it in one of these."
        )
    return HubAddress(repository, revision, inside.strip("/"))
