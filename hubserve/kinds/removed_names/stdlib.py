"""Names that newer Pythons removed from their standard library."""

from typing import Dict

PACKAGES = ("collections", "inspect", "time", "base64")

NAMES: Dict[str, str] = {}
