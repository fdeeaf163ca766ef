"""Texts that a model gives: each may also be bytes, as an element of a tensor of texts is."""

from typing import Any, List


def text_of(value: Any) -> str:
    """Return a model's text.

    Args:
        value: a text, or the same in UTF-8 as any kind of bytes; anything else is shown as ``str`` does.
    Raises:
        TypeError: it is None.
    """
    if value is None:
        raise TypeError("a text is needed, got None")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    return str(value)  # also numpy's own texts, which are a kind of str that writers of JSON refuse


def texts_of(values: Any) -> List[str]:
    """Return several texts; see :func:`text_of`.

    Raises:
        TypeError: it is a single text instead of a list, or one of the texts is None.
    """
    if isinstance(values, (str, bytes, bytearray)):
        raise TypeError(f"a list of texts is needed, got the text {text_of(values)!r}; put it into a list")
    return [text_of(each) for each in values]
