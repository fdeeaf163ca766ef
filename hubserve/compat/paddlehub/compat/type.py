"""``paddlehub.compat.type``."""


class DataType:
    """Numbers of datatypes in modules of PaddleHub 1."""

    IMAGE = 0
    TEXT = 1
    AUDIO = 2
    VIDEO = 3
    INT = 4
    FLOAT = 5
