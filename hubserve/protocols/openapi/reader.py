"""The readers of the document, and the operations that each may use and so learn of."""

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.types import Scope

from hubserve.access.keys import Need
from hubserve.protocols.admin import AdminSurface, Forbidden

_ALL = frozenset(Need)


@dataclass(frozen=True)
class Reader:
    """Permissions of one reader; equal readers see the same document.

    Attributes:
        has_key: whether the server has keys.
        needs: what the reader's requests may need.
        hidden: names of modules that it sees, but may not ask.
    """

    has_key: bool = False
    needs: frozenset[Need] = _ALL
    hidden: frozenset[str] = frozenset()

    def may(self, need: Need, module: str = "") -> bool:
        """Return True if the reader may use an operation, of a module unless that is ""."""
        return need in self.needs and not (need is Need.INFER and module in self.hidden)


def reader_of(scope: Scope, admin: AdminSurface | None, *, has_gate: bool, names: Iterable[str]) -> Reader:
    """Return the reader that has sent a request.

    Args:
        scope: ASGI's.
        admin: the access control of the admin surface, if the address has that.
        has_gate: whether the server has keys.
        names: of the modules that the reader sees.
    """
    needs = set(_ALL)
    if not _is_admin(scope, admin):
        needs.discard(Need.ADMIN)
    if not has_gate:
        return Reader(needs=frozenset(needs))
    grant = scope["extensions"]["hubserve"].record.access
    key = grant.key if grant else None
    permitted = frozenset(each for each in needs if key is not None and each in key.permitted)
    hidden = frozenset(name for name in names if key is None or not key.shows(name, Need.INFER))
    return Reader(True, permitted, hidden)


def _is_admin(scope: Scope, admin: AdminSurface | None) -> bool:
    try:
        if admin is not None:
            admin.check(scope)
    except Forbidden:
        return False
    return admin is not None
