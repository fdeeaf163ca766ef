"""Package index of this machine, from pip's configuration; the same settings are passed to uv, which does not read it."""

import configparser
import os
import sys
from pathlib import Path
from typing import NamedTuple

_SECTIONS = ("global", "install")
_LISTS = ("extra-index-url", "find-links", "trusted-host")
_KEYS = ("index-url", *_LISTS, "no-index", "cert", "proxy")
_NO = ("", "0", "false", "no", "off", "n", "f")


class IndexSettings(NamedTuple):
    """Sources of packages.

    Attributes:
        index_url: the main index; "" for the public one.
        extra_index_urls: further indexes.
        find_links: folders, or pages with links.
        trusted_hosts: hosts whose certificates are not checked.
        no_index: whether packages come from ``find_links`` only.
        cert: a file of trusted certificates; "" for the default ones.
        proxy: address of a proxy; "" for none.
    """

    index_url: str = ""
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    no_index: bool = False
    cert: str = ""
    proxy: str = ""

    def pip_environ(self) -> dict[str, str]:
        """Return the settings as environment variables of pip."""
        return _non_empty(
            PIP_INDEX_URL=self.index_url,
            PIP_EXTRA_INDEX_URL=" ".join(self.extra_index_urls),
            PIP_FIND_LINKS=" ".join(self.find_links),
            PIP_TRUSTED_HOST=" ".join(self.trusted_hosts),
            PIP_NO_INDEX="1" if self.no_index else "",
            PIP_CERT=self.cert,
            PIP_PROXY=self.proxy,
        )

    def uv_environ(self) -> dict[str, str]:
        """Return the settings as environment variables of uv, except those that the user has set for uv."""
        variables = _non_empty(
            # otherwise uv uses the first index that has a package's name, even if another has a better version
            UV_INDEX_STRATEGY="unsafe-best-match",
            UV_INDEX_URL=self.index_url if not os.environ.get("UV_DEFAULT_INDEX") else "",
            UV_EXTRA_INDEX_URL=" ".join(self.extra_index_urls) if not os.environ.get("UV_INDEX") else "",
            SSL_CERT_FILE=self.cert,
            ALL_PROXY=self.proxy,
        )
        return {key: value for key, value in variables.items() if key not in os.environ}

    def uv_options(self) -> list[str]:
        """Return the settings that uv takes only as options, or whose paths may contain a comma."""
        options = [word for each in self.find_links for word in ("--find-links", each)]
        options += [word for each in self.trusted_hosts for word in ("--allow-insecure-host", each)]
        return options + (["--no-index"] if self.no_index else [])


def only_folder(folder: Path) -> IndexSettings:
    """Return settings with a folder as the only source."""
    return IndexSettings(find_links=(str(folder),), no_index=True)


def index_settings() -> IndexSettings:
    """Return the settings of pip's files and environment variables; as in pip, later ones override earlier ones."""
    values: dict[str, str] = {}
    for path in _files():
        values.update(_read(path))
    for key in _KEYS:
        name = "PIP_" + key.upper().replace("-", "_")
        if name in os.environ:
            values[key] = os.environ[name]
    return IndexSettings(
        index_url=values.get("index-url", "").strip(),
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(values.get("find-links", "").split()),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        no_index=values.get("no-index", "").strip().lower() not in _NO,
        cert=values.get("cert", "").strip(),
        proxy=values.get("proxy", "").strip(),
    )


def _files() -> list[Path]:
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    configured = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    everywhere = [Path(each, "pip", "pip.conf") for each in reversed((os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep))]
    own = [Path("~/.pip/pip.conf").expanduser(), Path(configured).expanduser() / "pip" / "pip.conf"]
    return [*everywhere, Path("/etc/pip.conf"), *own, Path(sys.prefix, "pip.conf"), *([Path(named)] if named else [])]


def _read(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        if not parser.read(path, encoding="utf-8"):
            return {}
    except (configparser.Error, UnicodeDecodeError):  # pip itself reports it
        return {}
    return {
        key: parser.get(section, key)
        for section in _SECTIONS
        if parser.has_section(section)
        for key in _KEYS
        if parser.has_option(section, key)
    }


def _non_empty(**values: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}
