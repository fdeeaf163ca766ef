"""``paddlehub.compat.type``."""


class DataType:
    """Data types, as modules of PaddleHub 1 number them."""

    IMAGE = 0
    TEXT = 1
    AUDIO = 2
    VIDEO = 3
    INT = 4
    FLOAT = 5
