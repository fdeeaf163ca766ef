"""Calls that PyYAML 6 refuses."""

from typing import Dict

NAMES: Dict[str, str] = {}

WRAPPED: Dict[str, str] = {
    "yaml.load": "hubserve.kinds.removed_names.for_python:yaml_load",
    "yaml.load_all": "hubserve.kinds.removed_names.for_python:yaml_load",
}
