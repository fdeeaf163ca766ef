"""What is read of a requirements.txt, and what is refused."""

from pathlib import Path

import pytest

from hubserve.errors import InstallError
from hubserve.registry.environments.requirements import Requirements, read_requirements


def read(folder: Path, text: str, allow_urls: bool = False, **others: str) -> Requirements:
    folder.mkdir(exist_ok=True)
    (folder / "requirements.txt").write_text(text)
    for name, content in others.items():
        (folder / f"{name}.txt").write_text(content)
    return read_requirements(folder, allow_urls=allow_urls)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n   # at all\n", "\ufeff# with a mark\n"])
def test_a_file_that_asks_for_nothing_is_as_none(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Requirements()
    assert read_requirements(tmp_path / "elsewhere") == Requirements()


def test_pips_syntax_is_read(tmp_path: Path) -> None:
    text = 'a>=1,<2  # why\nb[x] ; python_version < "3.9"\nc\\\n==1.0\n-r more.txt\n--constraint=limits.txt\n--pre\na>=1,<2\n'
    found = read(tmp_path, text, more="d~=1.0\n", limits="e<5\n")
    assert found.lines == ("a>=1,<2", 'b[x] ; python_version < "3.9"', "c==1.0", "d~=1.0")
    assert (found.constraints, found.options) == (("e<5",), ("--pre",))


def test_a_folder_of_packages_inside_the_module_is_used_and_what_lies_there_counts(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a-1.0-py3-none-any.whl").write_text("one")
    found = read(tmp_path, "--find-links wheels\na==1.0\n")
    assert found.links == ((tmp_path / "wheels").resolve(),)
    before = found.links_digest()
    (tmp_path / "wheels" / "a-1.0-py3-none-any.whl").write_text("another")
    assert found.links_digest() != before
    assert Requirements().links_digest() == ""


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("-r ../outside.txt", "outside"),
        ("-r /etc/passwd", "outside"),
        ("-c https://example.org/c.txt", "outside"),
        ("--find-links /opt", "outside"),
        ("--find-links missing", "folder"),
        ("-e .", "-e"),
        ("./a-1.0.whl", "no requirement"),
        ("a==1.0 --hash=sha256:00", "no requirement"),
        ("${SECRET}", "no requirement"),
        ("a @ file:///etc/passwd", "outside"),
        ("a @ https://example.org/a.whl", "--allow-urls"),
        ("git+https://example.org/a", "NAME @ ADDRESS"),
        ("--extra-index-url https://example.org", "--allow-urls"),
        ("--index-url=https://example.org", "--allow-urls"),
        ("-i https://example.org", "--allow-urls"),
        ("--install-option=x", "--install-option"),
        ("a=1", "no requirement"),
        ("-r loop.txt", "without end"),
    ],
)
def test_a_line_that_reaches_elsewhere_or_says_nothing_clear_is_refused_with_its_number(tmp_path: Path, line: str, word: str) -> None:
    with pytest.raises(InstallError) as failed:
        read(tmp_path / "module", f"fine\n{line}\n", loop="-r loop.txt\n")
    assert word in failed.value.message
    assert "line 2" in failed.value.message or "loop" in line


def test_addresses_are_taken_where_the_user_allows_them_but_files_never(tmp_path: Path) -> None:
    text = "--extra-index-url https://example.org\na @ https://example.org/a.whl\n"
    found = read(tmp_path, text, allow_urls=True)
    assert (found.options, found.lines) == (("--extra-index-url https://example.org",), ("a @ https://example.org/a.whl",))
    with pytest.raises(InstallError, match="outside"):
        read(tmp_path, "--extra-index-url file:///opt\n", allow_urls=True)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfea\x00")
    with pytest.raises(InstallError, match="UTF-8"):
        read_requirements(tmp_path)
