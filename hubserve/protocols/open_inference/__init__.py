"""The Open Inference Protocol, version 2, with Triton's extensions.

``inference.py`` is what it says, whatever carries it; ``http.py`` carries it over HTTP. ``datatypes.py`` has the names of datatypes,
``errors.py`` what errors are called.
"""
