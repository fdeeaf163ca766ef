"""Decode base64 as clients write it: strictly first, then with the additions of encoders and browsers."""

import base64
import binascii
import re
from typing import Any, Tuple
from urllib.parse import unquote_to_bytes

#: the beginning of a data: URL before its content, such as "data:image/png;charset=utf-8;base64,"
_URL = re.compile(rb"data:([^,]{0,200}),", re.IGNORECASE)
_SPACE = b" \t\r\n\f\v"
#: a line break, and the white space around it
_BREAK = re.compile(rb"[ \t\f\v]*[\r\n][ \t\r\n\f\v]*")
_WRONG = re.compile(rb"[^A-Za-z0-9+/=_-]")
_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_MOST_PADDING = 3


def decode_base64(text: Any) -> bytes:
    """Decode base64 text (or bytes) in any of its usual spellings.

    It may be broken into lines, surrounded by white space, in the alphabet for URLs (``-`` and ``_``), without its padding, or the
    content of a ``data:image/png;base64,...`` URL.

    Raises:
        ValueError: it holds anything else, or is cut short; the message says what is wrong, and where.
        TypeError: it is not text.
    """
    if isinstance(text, (bytearray, memoryview)):
        text = bytes(text)
    if not isinstance(text, (str, bytes)):
        raise TypeError(f"it is not a text but {type(text).__name__}")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # binascii.Error, or a character beyond ASCII
        return _decode_loosely(text)


def _decode_loosely(text: Any) -> bytes:
    sent = text.encode("ascii", "replace") if isinstance(text, str) else text
    content, start = _content(sent)
    joined = content.translate(None, b"\r\n")
    if any(each in joined for each in (b" ", b"\t", b"\f", b"\v")):  # a slower way, for few texts
        joined = _BREAK.sub(b"", content)
    if joined.translate(None, _ALPHABET):
        raise ValueError(_wrong_character(text, content, start))
    bare = joined.rstrip(b"=")
    if b"=" in bare or len(joined) - len(bare) > _MOST_PADDING:
        raise ValueError(f"padding ('=') stands at character {start + content.find(b'=') + 1} of {len(sent)}, which is not its end")
    if (b"-" in bare or b"_" in bare) and (b"+" in bare or b"/" in bare):
        raise ValueError("it mixes the two alphabets of base64: '-' and '_' with '+' and '/'; use one of them")
    if len(bare) % 4 == 1:
        raise ValueError(f"it was cut short: {len(bare)} characters of base64 are one too many, or some are missing")
    try:
        return base64.b64decode(bare.translate(_FROM_URL_SAFE) + b"=" * (-len(bare) % 4), validate=True)
    except binascii.Error as error:  # the checks above should prevent this, but the decoder decides
        raise ValueError(str(error)) from None


def _content(sent: bytes) -> Tuple[bytes, int]:
    """Return the base64 inside a text, without surrounding white space and the head of a data: URL, and the position where it begins."""
    start = len(sent) - len(sent.lstrip(_SPACE))
    url = _URL.match(sent, start)
    if url is None:
        return sent[start:].rstrip(_SPACE), start
    if not url[1].lower().rstrip().endswith(b";base64"):
        raise ValueError("it is a data: URL without ';base64' in front of its comma; encode the content as base64")
    content = sent[url.end() :].strip(_SPACE)
    return (unquote_to_bytes(content) if b"%" in content else content), url.end()


def _wrong_character(text: Any, content: bytes, start: int) -> str:
    place = start
    for piece in re.split(rb"([\r\n]+)", content):
        # white space beside a line break belongs to it
        found = _WRONG.search(piece.rstrip(_SPACE), len(piece) - len(piece.lstrip(_SPACE)))
        if found:
            place += found.start()
            break
        place += len(piece)
    wrong = text[place : place + 1] if isinstance(text, str) else text[place : place + 1].decode("latin-1")
    hint = "; a form or an address turns '+' into a space: encode it as %2B, or send JSON" if wrong == " " else ""
    return f"character {place + 1} of {len(text)} is {wrong!r}, which base64 does not have{hint}"
