"""Checks of an ONNX file before it becomes a module."""

from pathlib import Path

from hubserve.engines.onnx_graph import read_onnx
from hubserve.errors import InstallError


def check_onnx(path: Path) -> None:
    """Refuse a file that cannot become a module.

    Raises:
        LoadFailed: it cannot be read, or is damaged or no ONNX model.
        InstallError: its weights lie in other files.
    """
    outside = read_onnx(path).outside
    if outside:
        named = ", ".join(outside[:3]) + (", ..." if len(outside) > 3 else "")
        raise InstallError(
            f"'{path}' keeps weights in other files ({named}), and hub convert needs them in one. Install it as it is with "
            f"'hub install {path.name}', or write one file with the package onnx: "
            f"onnx.save(onnx.load('{path.name}'), 'whole.onnx', save_as_external_data=False), and convert that."
        )
