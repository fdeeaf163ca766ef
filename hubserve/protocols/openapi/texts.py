"""Texts of modules' authors in the document: its readers show them as Markdown, in which they must stay plain text."""

import re

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
#: begin a link, code, emphasis or HTML; the last two end comments of generated code
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "[": "\\[", "`": "\\`", "*": "\\*"}
_LONGEST_LINE = 300


def characters(text: str) -> str:
    """Return a text without control characters and halves of characters."""
    return _CONTROL.sub(" ", text.encode("utf-8", "replace").decode())


def line(text: str) -> str:
    """Return a text as one line, for names and summaries, which are not Markdown."""
    joined = " ".join(characters(text).split())
    return joined if len(joined) <= _LONGEST_LINE else joined[:_LONGEST_LINE] + "..."


def plain(text: str) -> str:
    """Return a text as one line of Markdown that shows it as it is."""
    return "".join(_MARKUP.get(each, each) for each in line(text))


def block(text: str) -> str:
    """Return a text of several lines as an indented block of Markdown, which nothing in it can end; "" for none."""
    lines = [each.rstrip() for each in characters(text.replace("\r\n", "\n")).strip().split("\n")]
    return "\n".join("    " + each if each else "" for each in lines) if any(lines) else ""


def paragraphs(*parts: str) -> str:
    """Join those parts of a description that are not empty."""
    return "\n\n".join(each for each in parts if each)
