"""``paddlehub.common.utils`` under its old name."""

from paddlehub.utils.utils import base64_to_cv2, cv2_to_base64, is_windows, md5, mkdir

__all__ = ["base64_to_cv2", "cv2_to_base64", "is_windows", "md5", "mkdir"]
