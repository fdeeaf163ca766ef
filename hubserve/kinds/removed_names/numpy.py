"""Names that numpy removed in 1.24 and 2.x."""

from typing import Dict

_OWN = "hubserve.kinds.removed_names.functions"

NAMES: Dict[str, str] = {
    "numpy.fromstring": f"{_OWN}:fromstring",
    "numpy.float": "builtins:float",
    "numpy.int": "builtins:int",
    "numpy.bool": "builtins:bool",
    "numpy.object": "builtins:object",
    "numpy.str": "builtins:str",
    "numpy.complex": "builtins:complex",
    "numpy.long": "builtins:int",
    "numpy.unicode": "builtins:str",
    "numpy.asscalar": f"{_OWN}:asscalar",
    "numpy.row_stack": "numpy:vstack",
}
