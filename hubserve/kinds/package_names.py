"""The packages that provide well-known imports. Others are never guessed.

A name may belong to an unrelated package on the index, or to a folder of the project that the code was taken from, such as ``utils``.
"""

from typing import Dict

#: import name -> package, where they differ
_OTHERS: Dict[str, str] = {
    "Bio": "biopython",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "faiss": "faiss-cpu",
    "fitz": "PyMuPDF",
    "fontTools": "fonttools",
    "Levenshtein": "python-Levenshtein",
    "mpl_toolkits": "matplotlib",
    "paddle": "paddlepaddle",
    "pkg_resources": "setuptools",
    "PIL": "Pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
#: packages that are imported by their own name
_SAME = """
    cffi colorama colorlog easydict einops filelock flask ftfy gast gradio h5py imageio imgaug jieba joblib librosa lmdb lxml
    matplotlib moviepy networkx numba numpy onnx onnxruntime openpyxl openvino packaging paddle2onnx paddlenlp paddleseg paddlespeech
    paddlex pandas pgl prettytable psutil pyclipper pycocotools pypinyin rapidfuzz rarfile regex requests resampy scipy seqeval
    sentencepiece setuptools shapely simplejson six soundfile tensorflow termcolor torch torchvision tqdm transformers ujson visualdl
"""


def package_of(name: str) -> str:
    """Return the package that provides an import, by its name on the index; "" if that is uncertain."""
    top = name.partition(".")[0]
    return _OTHERS.get(top) or (top if top in _SAME.split() else "")
