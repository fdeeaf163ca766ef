"""Plain English in docstrings, comments, messages and pages: the phrases that readers had to translate stay out."""

import ast
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

#: phrase -> what to write instead
PHRASES = {
    r"\bmend(s|ed|ing)?\b": "fix, repair",
    r"\bwho(so)?ever\b|\bwhoso\b": "name the actor: the user, the client, the caller",
    r"\b(nobody|somebody|somebody's)\b": "name the actor",
    r"\btold\b|\btells?\b(?! \w+ apart)": "report, say, pass",
    r"(?<!there )(?<!There )\b(is|are|was|were) no (?!longer\b|more\b|less\b|later\b|earlier\b)": "is not a ...",
    r"\b(is|are|was|were) to be\b": "must be, should be, will be",
    r"\bso much\b(?! (more|less|faster|slower))": "say how much",
    r"\bnone any more\b|(?<!there )\bis none\b": "say what there is instead",
}
#: how a docstring that describes instead of saying what the code does begins
RIDDLE = re.compile(r"(What|Who|Whose|Whom|Where|Whether|How|Which|When|It|Nowhere|Why|That)\b")
SOURCES = ("hubserve", "bench", "tools", "hubmodules")
PAGES = ("*.md", "docs")


def tracked(*paths: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / each for each in listed.split("\0") if each and (ROOT / each).is_file()]


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each comment and each string that is prose."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT or (token.type in STRINGS and " " in token.string):
                yield token.start[0], token.string


STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
CODE = [path for path in tracked(*SOURCES) if path.suffix == ".py"]
PROSE = [path for path in tracked(*PAGES) if path.suffix == ".md" and path.name != "CHANGELOG.md"]


def test_there_is_something_to_check() -> None:
    assert len(CODE) > 400
    assert len(PROSE) > 40


def findings(path: Path) -> list[str]:
    texts = texts_of(path) if path.suffix == ".py" else enumerate(path.read_text("utf-8").splitlines(), 1)
    return [
        f"{path.relative_to(ROOT)}:{line}: '{found[0]}'; better: {better}"
        for line, text in texts
        for phrase, better in PHRASES.items()
        for found in re.finditer(phrase, text)
    ]


@pytest.mark.parametrize("path", [*CODE, *PROSE], ids=lambda path: str(path.relative_to(ROOT)))
def test_phrases_that_readers_had_to_translate_stay_out(path: Path) -> None:
    assert not findings(path), "\n".join(findings(path))


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_say_what_the_code_does(path: Path) -> None:
    nodes = (
        node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )
    riddles = [
        f"{path.relative_to(ROOT)}:{each.lineno}: {found}" for each in nodes if (found := ast.get_docstring(each)) and RIDDLE.match(found)
    ]
    assert not riddles, "\n".join(riddles)
