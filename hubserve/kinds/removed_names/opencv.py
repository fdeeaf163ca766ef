"""Names that newer versions of it removed."""

from typing import Dict

NAMES: Dict[str, str] = {}
