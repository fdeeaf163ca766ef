"""Read handwritten JSON: accept comments, trailing commas and a byte-order mark, and explain other errors with the correction."""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<comment>//[^\n]*|\#[^\n]*|/\*.*?\*/)
    | (?P<text>"(?:[^"\\\n]|\\.)*")
    | (?P<single>'(?:[^'\\\n]|\\.)*')
    | (?P<curly>[“”](?:[^“”"\n])*[“”"])
    | (?P<mark>[{}\[\]:,])
    | (?P<wide>[\uff0c\uff1a])
    | (?P<word>[^\s{}\[\]:,\uff0c\uff1a"'“”\#/]+)
    | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_PYTHON_WORDS = {"True": "true", "False": "false", "None": "null"}
_WIDE_MARKS = {"\uff0c": ",", "\uff1a": ":"}
_SHOWN_LINES = 3
_SHOWN_CHARS = 160

SINGLE_QUOTES = "strings need double quotes"
PYTHON_WORDS = "JSON writes true, false and null"
WIDE_MARKS = "quotes, commas and colons must be ASCII"
MISSING_COMMA = "a comma is missing"

PairsHook = Callable[[list[tuple[str, Any]]], Any]


class NotJson(ValueError):
    """Error of invalid JSON; its text gives the place, the reason and the correction."""


class Parsed(NamedTuple):
    """Parsed document.

    Attributes:
        value: its content.
        liberties: names of the accepted deviations from JSON.
    """

    value: Any
    liberties: tuple[str, ...] = ()


class _Repaired(NamedTuple):
    accepted: str
    corrected: str
    liberties: tuple[str, ...]
    faults: dict[int, str]


def parse_json(data: bytes, pairs_hook: PairsHook | None = None) -> Parsed:
    """Parse a configuration file.

    Args:
        data: the file's bytes, in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark.
        pairs_hook: as ``object_pairs_hook`` of :func:`json.loads`.
    Raises:
        NotJson: the data are not JSON, even without comments and trailing commas.
    """
    text = _decode(data)
    try:
        return Parsed(json.loads(text, object_pairs_hook=pairs_hook))
    except json.JSONDecodeError:
        pass
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    repaired = _repair(text)
    try:
        return Parsed(json.loads(repaired.accepted, object_pairs_hook=pairs_hook), repaired.liberties)
    except json.JSONDecodeError as error:
        raise NotJson(_advice(text, repaired, error)) from None
    except RecursionError:
        raise NotJson("it is nested too deeply") from None


def _decode(data: bytes) -> str:
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotJson(f"line {line} has bytes that are not {encoding.upper()}. Save the file as UTF-8") from None


def _repair(text: str) -> _Repaired:
    """Remove comments and trailing commas, and correct other errors whose meaning is clear."""
    accepted: list[str] = []
    corrected: list[str] = []
    liberties: dict[str, None] = {}
    faults: dict[int, str] = {}
    line, comma, ends_value = 1, -1, False
    for match in _TOKEN.finditer(text):
        kind, token = str(match.lastgroup), match.group()
        meant, fault = _meant(kind, token)
        if kind in ("space", "comment"):
            if kind == "comment":
                liberties["comments"] = None
            blank = "".join(each if each == "\n" else " " for each in token)
            accepted.append(blank)
            corrected.append(blank)
            line += token.count("\n")
            continue
        if meant in ("}", "]") and comma >= 0:
            liberties["a comma after the last item"] = None
            accepted[comma] = corrected[comma] = " "
        begins_value = meant not in ("}", "]", ":", ",")
        if ends_value and begins_value:
            fault = fault or MISSING_COMMA
            _insert_comma(corrected)
        if fault:
            faults.setdefault(line, fault)
        accepted.append(token)
        corrected.append(meant)
        comma = len(accepted) - 1 if meant == "," else -1
        ends_value = meant in ("}", "]") or (begins_value and meant not in ("{", "["))
    return _Repaired("".join(accepted), "".join(corrected), tuple(liberties), faults)


def _insert_comma(pieces: list[str]) -> None:
    """Put a comma after the last piece that is not blank."""
    for index in range(len(pieces) - 1, -1, -1):
        if pieces[index].strip():
            pieces[index] += ","
            return


def _meant(kind: str, token: str) -> tuple[str, str]:
    """Return the JSON form of a token, and the reason if the token differs from it, else ""."""
    if kind == "single":
        return json.dumps(re.sub(r"\\(.)", _unescaped, token[1:-1]), ensure_ascii=False), SINGLE_QUOTES
    if kind == "curly":
        return json.dumps(token[1:-1], ensure_ascii=False), WIDE_MARKS
    if kind == "wide":
        return _WIDE_MARKS[token], WIDE_MARKS
    if token in _PYTHON_WORDS:
        return _PYTHON_WORDS[token], PYTHON_WORDS
    return token, ""


def _unescaped(match: "re.Match[str]") -> str:
    return {"n": "\n", "t": "\t", "r": "\r"}.get(match.group(1), match.group(1))


def _advice(text: str, repaired: _Repaired, error: json.JSONDecodeError) -> str:
    """Describe the error, with the corrected lines if the corrected text is valid JSON."""
    lines = text.splitlines()
    try:
        json.loads(repaired.corrected)
    except (ValueError, RecursionError):
        shown = lines[error.lineno - 1].strip()[:_SHOWN_CHARS] if error.lineno <= len(lines) else ""
        return f"{error.msg}, line {error.lineno} column {error.colno}" + (f": {shown}" if shown else "")
    # compare with the accepted text, which has no comments either; a missing comma belongs to the line before the error
    corrected, as_read = repaired.corrected.splitlines(), repaired.accepted.splitlines()
    changed = [index for index, (old, new) in enumerate(zip(as_read, corrected, strict=False)) if old.rstrip() != new.rstrip()]
    shown = " ; ".join(f"line {index + 1} as: {corrected[index].strip()[:_SHOWN_CHARS]}" for index in changed[:_SHOWN_LINES])
    rest = f" ; and {len(changed) - _SHOWN_LINES} more lines in the same way" if len(changed) > _SHOWN_LINES else ""
    reasons = " and ".join(dict.fromkeys(repaired.faults.values()))
    return f"{reasons}. Write {shown}{rest}"
