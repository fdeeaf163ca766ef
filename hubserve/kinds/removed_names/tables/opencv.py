"""Names that OpenCV removed in 3 to 5."""

from typing import Dict

_OWN = "hubserve.kinds.removed_names.replacements.opencv"

NAMES: Dict[str, str] = {
    "cv2.CV_AA": "cv2:LINE_AA",
    "cv2.CV_LOAD_IMAGE_COLOR": "cv2:IMREAD_COLOR",
    "cv2.CV_LOAD_IMAGE_GRAYSCALE": "cv2:IMREAD_GRAYSCALE",
    "cv2.CV_LOAD_IMAGE_UNCHANGED": "cv2:IMREAD_UNCHANGED",
    "cv2.convertFp16": f"{_OWN}:convert_fp16",
    "cv2.createStitcher": "cv2:Stitcher_create",
    "cv2.cv2": "cv2:",
    "cv2.estimateRigidTransform": f"{_OWN}:estimate_rigid_transform",
    "cv2.linearPolar": f"{_OWN}:linear_polar",
    "cv2.logPolar": f"{_OWN}:log_polar",
    # version 5 has them in other wheels, or not at all
    "cv2.AKAZE_create": "",
    "cv2.BRISK_create": "",
    "cv2.CascadeClassifier": "",
    "cv2.HOGDescriptor": "",
    "cv2.KAZE_create": "",
    "cv2.dnn.readNetFromCaffe": "",
    "cv2.dnn.readNetFromDarknet": "",
    "cv2.dnn.readNetFromTorch": "",
    "cv2.groupRectangles": "",
    "cv2.ml": "",
}
