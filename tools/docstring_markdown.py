"""A griffe extension: docstrings with reStructuredText roles and literal blocks, as the Markdown that mkdocstrings renders."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|data|func|meth|mod|exc|attr):`~?\.?([^`]+)`")
_LITERAL = re.compile(r"::$", re.MULTILINE)


def markdown(text: str) -> str:
    """Return a docstring's text with roles as code, and ``::`` before a block as a colon."""
    return _LITERAL.sub(":", _ROLE.sub(r"`\1`", text)).replace("``", "`")


class DocstringMarkdown(griffe.Extension):
    """Extension that rewrites each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
