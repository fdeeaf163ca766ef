"""What PyYAML 6 asks for that older code leaves out."""

from typing import Dict

NAMES: Dict[str, str] = {
    "yaml.load": "hubserve.kinds.removed_names.functions:yaml_load",
}
