"""Calls that PyYAML 6 refuses."""

from typing import Dict

NAMES: Dict[str, str] = {}

WRAPPED: Dict[str, str] = {
    "yaml.load": "hubserve.kinds.removed_names.replacements.yaml:load",
    "yaml.load_all": "hubserve.kinds.removed_names.replacements.yaml:load",
}
