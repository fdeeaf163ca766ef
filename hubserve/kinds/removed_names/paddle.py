"""Names that Paddle removed in 2.x and 3.x."""

from typing import Dict

NAMES: Dict[str, str] = {
    "paddle.fluid": "",
}
