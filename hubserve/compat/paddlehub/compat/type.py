"""``paddlehub.compat.type``."""


class DataType:
    """What a value is, as modules of PaddleHub 1 number it."""

    IMAGE = 0
    TEXT = 1
    AUDIO = 2
    VIDEO = 3
    INT = 4
    FLOAT = 5
