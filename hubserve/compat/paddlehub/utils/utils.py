"""``paddlehub.utils.utils``: pictures in base64, and other helpers under the names that modules import."""

import base64
import sys
from typing import Union

import numpy as np
from paddlehub.utils.download import download, download_with_progress
from paddlehub.utils.files import (
    generate_tempdir,
    generate_tempfile,
    get_record_file,
    is_port_occupied,
    load_py_module,
    md5,
    mkdir,
    record,
    record_exception,
)
from paddlehub.utils.log import logger
from paddlehub.utils.platform import is_windows
from paddlehub.utils.sequences import extract_melspectrogram, pad_sequence, reseg_token_label, trunc_sequence
from paddlehub.utils.timing import Timer, seconds_to_hms
from paddlehub.utils.version import Version

__all__ = [
    "Timer",
    "Version",
    "base64_to_cv2",
    "cv2_to_base64",
    "download",
    "download_with_progress",
    "extract_melspectrogram",
    "generate_tempdir",
    "generate_tempfile",
    "get_platform_default_encoding",
    "get_record_file",
    "is_port_occupied",
    "is_windows",
    "load_py_module",
    "logger",
    "md5",
    "mkdir",
    "pad_sequence",
    "record",
    "record_exception",
    "reseg_token_label",
    "seconds_to_hms",
    "sys_stdin_encoding",
    "sys_stdout_encoding",
    "trunc_sequence",
]


def base64_to_cv2(b64str: Union[str, bytes]) -> np.ndarray:
    """Decode a picture in base64 to uint8 (H, W, 3) BGR.

    Raises:
        InvalidInput: it is not a picture; the message says why.
    """
    from hubserve.vision.codecs import decode_picture

    return decode_picture(b64str)


def cv2_to_base64(image: np.ndarray) -> str:
    """Encode a picture, uint8 (H, W, 3) BGR or (H, W) grey, as a JPEG in base64."""
    import cv2

    return base64.b64encode(cv2.imencode(".jpg", image)[1].tobytes()).decode("ascii")


def get_platform_default_encoding() -> str:
    """Return ``gbk`` on Windows, else ``utf8``."""
    return "gbk" if is_windows() else "utf8"


def sys_stdin_encoding() -> str:
    """Return the encoding of the standard input."""
    return getattr(sys.stdin, "encoding", None) or sys.getdefaultencoding()


def sys_stdout_encoding() -> str:
    """Return the encoding of the standard output."""
    return getattr(sys.stdout, "encoding", None) or sys.getdefaultencoding()
