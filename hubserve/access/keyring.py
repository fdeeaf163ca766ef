"""The keys that a running server accepts, read again when their file changes."""

import hmac
import logging
import os
import secrets
import stat
import time
from pathlib import Path

from hubserve.access.key_file import read_keys
from hubserve.access.keys import AccessKey, digest_of, id_of
from hubserve.errors import ConfigError

log = logging.getLogger("hubserve")

_CHECK_EVERY_S = 1.0

#: what distinguishes two states of a file, also where a link to it, or to its folder, is changed
_State = tuple[int, int, int, int]


class Keyring:
    """The keys of a file.

    Args:
        path: of the file.
    Raises:
        ConfigError: it cannot be read, or is not a file of keys.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unknown = secrets.token_bytes(32)
        self._state = _state_of(path)
        self._keys = _usable(path)
        self._found: dict[str, AccessKey] = {}
        self._checked_at = time.monotonic()
        if not self._keys:
            log.warning("the file of keys '%s' has no key, so that every request is refused; hub access create makes one", path)
        if os.stat(path).st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            log.warning("the file of keys '%s' can be changed by others than its owner, who could let anybody in; run: chmod 600", path)

    def find(self, text: str, now: float) -> AccessKey | None:
        """Return the key with a text, or None; a wrong secret takes as long as an unknown id.

        Args:
            text: the client's.
            now: on the clock of ``time.monotonic``.
        """
        if now - self._checked_at >= _CHECK_EVERY_S:
            self._follow()
        # Texts that were right are kept until the file changes. A lookup compares hashes with a secret seed first, and texts only if all
        # 64 bits agree, so that its time says nothing of how much of a wrong text is right.
        key = self._found.get(text)
        if key is None:
            key = self._matching(text)
            if key is None:  # it may have been created just now
                self._follow()
                key = self._matching(text)
            if key is not None:
                self._found[text] = key
        return key

    def _matching(self, text: str) -> AccessKey | None:
        key = self._keys.get(id_of(text))
        is_right = hmac.compare_digest(digest_of(text), self._unknown if key is None else key.digest)
        return key if is_right else None

    def current(self, key: AccessKey, now: float) -> AccessKey | None:
        """Return the present state of a key that was found before; None if it was revoked.

        Args:
            key: as it was found.
            now: on the clock of ``time.monotonic``.
        """
        if now - self._checked_at >= _CHECK_EVERY_S:
            self._follow()
        present = self._keys.get(key.id)
        return present if present is not None and present.digest == key.digest else None

    def has(self, key_id: str) -> bool:
        """Return True if there is a key with an id."""
        return key_id in self._keys

    def reload(self) -> None:
        """Read the file if it has changed.

        Raises:
            ConfigError: it cannot be used; the last good keys stay in use.
        """
        self._checked_at = time.monotonic()
        state = _state_of(self._path)
        if state == self._state:
            return
        self._state = state
        before, self._keys = self._keys, _usable(self._path)
        self._found = {}
        revoked = len(before.keys() - self._keys.keys())
        log.info("the file of keys has changed: %d keys, of which %d are new; %d revoked", *_counts(before, self._keys), revoked)

    def _follow(self) -> None:
        try:
            self.reload()
        except ConfigError as error:  # logged once for each state of the file
            log.error("the last good keys stay in use, until the file changes again: %s", error.message)  # noqa: TRY400 - no bug to trace


def _counts(before: dict[str, AccessKey], now: dict[str, AccessKey]) -> tuple[int, int]:
    return len(now), len(now.keys() - before.keys())


def _usable(path: Path) -> dict[str, AccessKey]:
    return {each.id: each.usable() for each in read_keys(path)}


def _state_of(path: Path) -> _State | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
