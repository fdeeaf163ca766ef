"""``paddlehub.common.utils`` under its old name."""

from paddlehub.utils.files import md5, md5_of_file, mkdir
from paddlehub.utils.platform import get_platform, is_windows
from paddlehub.utils.utils import base64_to_cv2, cv2_to_base64, get_platform_default_encoding, sys_stdin_encoding, sys_stdout_encoding
from paddlehub.utils.version import version_compare

__all__ = [
    "base64_to_cv2",
    "cv2_to_base64",
    "get_platform",
    "get_platform_default_encoding",
    "is_windows",
    "md5",
    "md5_of_file",
    "mkdir",
    "sys_stdin_encoding",
    "sys_stdout_encoding",
    "version_compare",
]
