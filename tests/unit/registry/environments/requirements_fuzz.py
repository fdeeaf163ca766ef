"""Fuzz requirements files with hostile content: no address or path that they name may reach pip or uv.

Run it: python -m tests.unit.registry.environments.requirements_fuzz [--files N]; prints the outcomes, and exits with 1 if an address
or a path of one got through. In a process of its own: once pip is imported, setuptools no longer provides distutils, which Paddle imports.
"""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pip._internal.req.req_file import RequirementsFileParser, get_line_parser

from hubserve.errors import InstallError
from hubserve.registry.environments.requirements import read_requirements
from hubserve.registry.environments.tools.base import Order
from hubserve.registry.environments.tools.pip import Pip
from hubserve.registry.progress import silent
from tests.unit.registry.environments.wheelhouse import write_wheel

PLANTED = ("planted", "://", "..", "/", "\\", "$", "@", "-e", "--config", "--global", "--trusted", "--index", "--extra", "--hash", "--use")

_ADDRESSES = (
    "http://planted.example/simple",
    "https://planted.example/a.whl",
    "HTTP:planted",
    "//planted/share",
    "git+https://planted/r",
    "file:///planted",
)
_PATHS = (
    "../planted",
    "/planted",
    "./planted",
    "planted/../../planted",
    "C:\\planted",
    "~/planted",
    "planted.whl",
    "wheels",
    "more.txt",
    "sub/deep.txt",
)
_PLACES = st.sampled_from(_ADDRESSES + _PATHS)
_NAMES = (
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-f",
    "--find-links",
    "-i",
    "--index-url",
    "--extra-index-url",
    "--pypi-url",
    "-e",
    "--editable",
)
_OPTIONS = st.sampled_from(
    (*_NAMES, "--trusted-host", "--no-binary", "--only-binary", "--use-feature", "--hash", "--config-settings", "--global-option")
)
_FLAGS = st.sampled_from(("--pre", "--prefer-binary", "--no-index", "--require-hashes", "--pr", "--no-i"))
_SEPARATORS = st.sampled_from((" ", "=", "", "  ", "\t", " = ", "\\\n", "\u00a0", "\u2003", " '", ' "'))
_SHORTENED = st.builds(lambda name, length: name[: max(2, length)], _OPTIONS, st.integers(2, 12))
_OPTION = st.builds(lambda name, separator, place: name + separator + place, _OPTIONS | _SHORTENED, _SEPARATORS, _PLACES)
_MARKERS = st.sampled_from(("python_version", "platform_version", "extra", "sys_platform"))
_QUOTED = st.builds(
    lambda quote, text: quote + text + quote, st.sampled_from("\"'"), _OPTION | _PLACES | st.sampled_from(("3.9", "linux", "", '"'))
)
_MARKER = st.builds(lambda name, value: f" ; {name} == {value}", _MARKERS, _QUOTED)
_PACKAGE = st.builds(
    lambda name, version, rest: name + version + rest,
    st.sampled_from(("numpy", "a-1.0-py3-none-any.whl", "planted.zip", "a[x]", "a[-e]", "a", "-a", ".")),
    st.sampled_from(
        (
            "",
            "==1",
            ">=1,<2",
            "===/planted",
            "===-e",
            "=== --pre",
            " @ http://planted/a",
            " @ ./planted",
            "==${planted}",
            "==1 --hash=sha256:0",
        )
    ),
    st.just("") | _MARKER,
)
_PIECE = st.one_of(
    _PACKAGE,
    _OPTION,
    _FLAGS,
    _PLACES,
    st.sampled_from(("# planted", "#", "\\", "\ufeff", "\x00", "${planted}", "%planted%")),
    st.text(max_size=6),
)
_LINE = st.builds(
    lambda pieces, gap: gap.join(pieces), st.lists(_PIECE, min_size=1, max_size=3), st.sampled_from((" ", "", " ; ", "\t", "\x0b", "\\\n"))
)
_ENDS = st.sampled_from(("\n", "\r\n", "\r", "\x0c", "\x85", "\u2028", "\\\n", "\\\r"))
_HONEST = st.sampled_from(
    (
        "numpy>=1",
        "a; python_version > '3'",
        "--pre",
        "--find-links wheels",
        "-r more.txt",
        "-c sub/deep.txt",
        "--only-binary :all:",
        "# planted",
    )
)
TEXTS = st.lists(st.builds(lambda line, end: line + end, _HONEST | _LINE, _ENDS), max_size=4).map("".join)
ENCODINGS = st.sampled_from(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-7"))


def make_module(folder: Path) -> None:
    """Write what the files may name: packages, more files, and a page that a tool must not read."""
    write_wheel(folder / "wheels", "a", "1.0")
    (folder / "wheels" / "page.html").write_text('<a href="http://planted.example/a-2.0-py3-none-any.whl">a</a>')
    (folder / "sub").mkdir()
    (folder / "more.txt").write_text("b==1\n-r sub/deep.txt\n")
    (folder / "sub" / "deep.txt").write_text("c; python_version > '3'\n")


def reaches(folder: Path, scratch: Path) -> str:
    """Read a module's requirements and hand them to pip as an install does; return "refused", "taken", or what got through."""
    try:
        found = read_requirements(folder)
    except InstallError:
        return "refused"
    tool = Pip(scratch, scratch, silent)
    words = tool.write_files(Order([*found.options, *found.lines], found.constraints, found.links))
    for word, path in zip(words[::2], map(Path, words[1::2]), strict=True):
        if word not in ("-r", "-c"):
            return f"the option {word}"
        for problem in (
            _written(path.read_text("utf-8")),
            *map(_as_pip_reads, RequirementsFileParser(None, get_line_parser(None)).parse(str(path), word == "-c")),
        ):
            if problem:
                return problem
    pages = [each.name for each in scratch.rglob("*") if each.is_file() and each.suffix not in (".txt", ".whl")]
    return f"the file {pages[0]}" if pages else "taken"


def _written(text: str) -> str:
    """Return what a file written by hubserve must not contain, if anything; only its own package folder is allowed."""
    rest = text.replace("--find-links packages0\n", "").replace("planted-zip", "").replace("planted-whl", "")
    return next((f"{each!r} in {text!r}" for each in PLANTED if each in rest), "")


def _as_pip_reads(line: object) -> str:
    """Return options that pip itself finds in a line and that are not allowed."""
    options = {key: value for key, value in vars(line.opts).items() if value}  # type: ignore[attr-defined]
    harmless = {"find_links", "pre", "prefer_binary", "no_index", "format_control", "release_control"}
    if line.is_editable or options.get("find_links", ["packages0"]) != ["packages0"] or not harmless >= set(options):  # type: ignore[attr-defined]
        return f"pip reads {options}"
    return ""


def main(argv: list[str] | None = None) -> int:
    """Generate and check the given number of files; see the module's docstring."""
    parser = argparse.ArgumentParser(description="requirements files that mean harm")
    parser.add_argument("--files", type=int, default=5_000)
    files = parser.parse_args(argv).files
    became: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as made:
        make_module(Path(made))
        _fuzz(Path(made), files, became)
    bad = sum(count for outcome, count in became.items() if outcome not in ("refused", "taken"))
    print(f"{became.total()} requirements files: {became['refused']} refused, {became['taken']} taken and harmless, {bad} got through")
    return int(bool(bad) or not became["taken"])


def _fuzz(folder: Path, files: int, became: Counter[str]) -> None:
    @settings(
        max_examples=files, deadline=None, database=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(TEXTS, ENCODINGS)
    @example("--no-index --find-links http://planted.example/simple\na\n", "utf-8")
    @example("--pre --index-url http://planted.example/simple\na\n", "utf-8")
    @example("--find-links wheels\na\n", "utf-8")
    @example("a ; platform_version == '1 --global-option=planted'\n", "utf-8")
    def one(text: str, encoding: str) -> None:
        (folder / "requirements.txt").write_bytes(text.encode(encoding, "surrogatepass"))
        with tempfile.TemporaryDirectory() as scratch:
            outcome = reaches(folder, Path(scratch))
        became[outcome] += 1
        if outcome not in ("refused", "taken"):
            print(f"GOT THROUGH: {text!r} as {encoding}: {outcome}", flush=True)

    one()


if __name__ == "__main__":
    sys.exit(main())
