"""``paddlehub.utils.download``: download files for a module."""

import os
import shutil
import urllib.request
from typing import Any, Callable, Iterator, Tuple
from urllib.parse import urlparse

from paddlehub.utils.files import generate_tempdir

_CHUNK_BYTES = 1 << 16


def download_with_progress(url: str, path: str = "") -> Iterator[Tuple[str, int, int]]:
    """Download a file into a folder, by default the working directory; yield its path, the bytes so far and all bytes."""
    if urlparse(url).scheme not in ("http", "https"):
        raise ValueError(f"'{url}' is not an http or https address")
    folder = path or os.getcwd()
    os.makedirs(folder, exist_ok=True)
    target = os.path.join(folder, os.path.basename(urlparse(url).path))
    with urllib.request.urlopen(url, timeout=60) as answer, open(target, "wb") as file:  # noqa: S310 - the scheme is checked above
        total_bytes, done_bytes = int(answer.headers.get("content-length") or 0), 0
        for chunk in iter(lambda: answer.read(_CHUNK_BYTES), b""):
            file.write(chunk)
            done_bytes += len(chunk)
            yield target, done_bytes, max(total_bytes, done_bytes)
    if total_bytes and done_bytes != total_bytes:
        os.remove(target)
        raise OSError(f"'{url}' ended after {done_bytes} of {total_bytes} bytes; try again")


def download(url: str, path: str = "") -> str:
    """Download a file, and return its path."""
    target = ""
    for target, _, _ in download_with_progress(url, path):  # noqa: B007 - used after the loop
        pass
    return target


def download_data(url: str) -> Callable[[Any], Any]:  # noqa: ARG001 - data sets are for training
    """Decorate a data set, which is not downloaded: only training needs it."""
    return lambda dataset: dataset


class Downloader:
    """Downloader of files and archives."""

    def download_file_and_uncompress(self, url: str, save_path: str, print_progress: bool = False, **_settings: Any) -> None:
        """Download an archive and unpack it into a folder; members outside the folder are refused."""
        from paddlehub.utils.xarfile import unarchive

        with generate_tempdir() as folder:
            if print_progress:
                print(f"Download {url}")  # noqa: T201 - requested by print_progress
            unarchive(download(url, folder), save_path)

    def download_file(self, url: str, save_path: str, save_name: str = "", **_settings: Any) -> Tuple[bool, str, str]:
        """Download a file unless it exists; return True, a message, and its path."""
        path = os.path.join(save_path, save_name or os.path.basename(urlparse(url).path))
        if not os.path.exists(path):
            with generate_tempdir() as folder:
                os.makedirs(save_path, exist_ok=True)
                shutil.move(download(url, folder), path)
        return True, f"File {path} download completed!", path


default_downloader = Downloader()
