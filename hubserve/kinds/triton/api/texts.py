"""Read texts that a model passes: each may also be bytes, like an element of a tensor of texts."""

from typing import Any, List


def text_of(value: Any) -> str:
    """Return a model's text.

    Args:
        value: a text, or its UTF-8 bytes of any kind; anything else is converted by ``str``.
    Raises:
        TypeError: it is None.
    """
    if value is None:
        raise TypeError("a text is needed, got None")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    return str(value)  # also numpy's own texts, a subclass of str that JSON encoders refuse


def texts_of(values: Any) -> List[str]:
    """Return several texts; see :func:`text_of`.

    Raises:
        TypeError: it is a single text instead of a list, or one of the texts is None.
    """
    if isinstance(values, (str, bytes, bytearray)):
        raise TypeError(f"a list of texts is needed, got the text {text_of(values)!r}; put it into a list")
    return [text_of(each) for each in values]
