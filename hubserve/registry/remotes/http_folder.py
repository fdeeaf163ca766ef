"""A folder of a web server that lists its files, as Apache, nginx and ``python -m http.server`` do."""

from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote, unquote, urljoin, urlsplit

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.downloads.addresses import check_address, without_secrets
from hubserve.registry.downloads.http import check_status, content_length, get, get_small
from hubserve.registry.downloads.partial_file import Wanted
from hubserve.registry.remotes.base import Listing, RemoteFile, checked
from hubserve.registry.remotes.http_files import HttpFiles

_MAX_PAGE_BYTES = 8 << 20
_DEEPEST = 16


class HttpFolder(HttpFiles):
    """``https://HOST/FOLDER/``, whose page links to its files and folders, or ``https://HOST/FILE``.

    Only links into the folder itself are followed.
    """

    def __init__(self, text: str, settings: InstallSettings) -> None:
        self._settings = settings
        parts = check_address(text, allow_http=settings.allow_http)
        self.shown = without_secrets(text)
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise InstallError(f"'{self.shown}' was given with a user, a query or a fragment. Keep credentials in ~/.netrc.")
        self._url, self._is_file = text, not text.endswith("/")
        self.name = unquote(parts.path).rstrip("/").rpartition("/")[2] or (parts.hostname or "folder")

    def listing(self) -> Listing:
        """See the base class; each file is asked for its size and its ETag, or its time."""
        if self._is_file:
            return Listing(checked([self._file("")._replace(path=self.name)], self.shown, self._settings), is_file=True)
        files = checked(self._files("", 0), self.shown, self._settings)
        if not files:  # any page without links looks like this, such as that of a login
            raise InstallError(f"the page of '{self.shown}' links to no files below it. Check the address.")
        return Listing(files)

    def wanted(self, file: RemoteFile) -> Wanted:
        """See the base class."""
        return Wanted(self._url + ("" if self._is_file else quote(file.path)), size_bytes=file.size_bytes)

    def _files(self, folder: str, depth: int) -> Iterator[RemoteFile]:
        if depth > _DEEPEST:
            raise InstallError(f"'{self.shown}' is refused: its folders are more than {_DEEPEST} deep, or lead in a circle.")
        page = get_small(self._url + quote(folder), self._settings, _MAX_PAGE_BYTES)
        if page is None:
            raise InstallError(f"'{self.shown}{folder}' does not exist, or the server lists no folders. Check the address.")
        for name in names_in(page.decode("utf-8", "replace"), urlsplit(self._url + quote(folder)).path):
            if name.endswith("/"):
                yield from self._files(folder + name, depth + 1)
            else:
                yield self._file(folder + name)

    def _file(self, path: str) -> RemoteFile:
        with get(self._url + quote(path), self._settings, method="HEAD") as response:
            check_status(response, self._url + quote(path))
            marker = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            return RemoteFile(path, content_length(response), marker)


def names_in(page: str, base: str) -> list[str]:
    """Return the names that an index page links to, directly below its own path; those of folders end in ``/``."""
    links = _Links()
    links.feed(page)
    found: dict[str, None] = {}
    for link in links.found:
        target = urlsplit(urljoin(base, link))
        if target.scheme or target.netloc or target.query or not target.path.startswith(base):
            continue
        name = target.path[len(base) :]
        inner = unquote(name.rstrip("/"))
        if inner and "/" not in inner and inner not in (".", "..") and name.count("/") <= 1:
            found[inner + ("/" if name.endswith("/") else "")] = None
    return list(found)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the target of a link."""
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]
