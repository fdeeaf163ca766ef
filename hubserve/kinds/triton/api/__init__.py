"""The interface that models of Triton's Python backend import as ``triton_python_backend_utils``: one file for each part."""
