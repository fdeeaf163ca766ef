"""Accepted and refused lines of requirements.txt."""

from pathlib import Path

import pytest

from hubserve.errors import InstallError
from hubserve.registry.environments.requirements import Requirements, read_requirements
from tests.unit.registry.environments.wheelhouse import write_wheel


def read(folder: Path, text: str, allow_urls: bool = False, **others: str) -> Requirements:
    folder.mkdir(exist_ok=True)
    (folder / "requirements.txt").write_text(text)
    for name, content in others.items():
        (folder / f"{name}.txt").write_text(content)
    return read_requirements(folder, allow_urls=allow_urls)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n   # at all\n", "\ufeff# with a mark\n"])
def test_an_empty_file_is_like_a_missing_one(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == Requirements()
    assert read_requirements(tmp_path / "elsewhere") == Requirements()


def test_pips_syntax_is_read(tmp_path: Path) -> None:
    text = 'a>=1,<2  # why\nb[x] ; python_version < "3.9"\nc\\\n==1.0\n-r more.txt\n--constraint=limits.txt\n--pre\na>=1,<2\n'
    found = read(tmp_path, text, more="d~=1.0\n", limits="e<5\n")
    assert found.lines == ("a<2,>=1", 'b[x]; python_version < "3.9"', "c==1.0", "d~=1.0")
    assert (found.constraints, found.options) == (("e<5",), ("--pre",))


@pytest.mark.parametrize("line", ["paddlehub", "paddlehub>=2.0.0", "PaddleHub == 2.1.0", 'paddlehub; python_version < "4"'])
def test_paddlehub_counts_as_installed(tmp_path: Path, line: str) -> None:
    found = read(tmp_path, f"{line}\nsix\n-r more.txt\n-c limits.txt\n", more=f"{line}\ntqdm\n", limits="paddlehub<3\n")
    assert (found.lines, found.constraints) == (("six", "tqdm"), ())
    assert read(tmp_path, "paddlehub-extras\n").lines == ("paddlehub-extras",), "only the package itself"


@pytest.mark.parametrize("line", ["tencent-tiinfer", "tencent_tiinfer==0.1.5", "Tencent.TIInfer>=0.1"])
def test_tiinfer_counts_as_installed(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, f"{line}\nsix\n").lines == ("six",)
    assert read(tmp_path, "tencent-tiinfer-extras\n").lines == ("tencent-tiinfer-extras",), "only the package itself"


def test_a_folder_of_packages_inside_the_module_is_used_and_its_content_counts(tmp_path: Path) -> None:
    write_wheel(tmp_path / "wheels", "a", "1.0")
    found = read(tmp_path, "--find-links wheels\na==1.0\n")
    assert found.links == ((tmp_path / "wheels").resolve(),)
    before = found.links_digest()
    write_wheel(tmp_path / "wheels", "a", "1.0", filling_bytes=1)
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
        ("./a-1.0.whl", "not a usable requirement"),
        ("a==1.0 --hash=sha256:00", "not a usable requirement"),
        ("${SECRET}", "not a usable requirement"),
        ("a @ file:///etc/passwd", "outside"),
        ("a @ https://example.org/a.whl", "--allow-urls"),
        ("git+https://example.org/a", "NAME @ ADDRESS"),
        ("--extra-index-url https://example.org", "--allow-urls"),
        ("--index-url=https://example.org", "--allow-urls"),
        ("-i https://example.org", "--allow-urls"),
        ("--install-option=x", "--install-option"),
        ("a=1", "not a usable requirement"),
        ("--no-index --find-links http://example.org", "--allow-urls"),
        ("--pre --index-url http://example.org", "--allow-urls"),
        ("--prefer-binary --extra-index-url=http://example.org", "--allow-urls"),
        ("--pre -ihttp://example.org", "--allow-urls"),
        ("-fhttp://example.org", "--allow-urls"),
        ("--find-links //example.org/share", "--allow-urls"),
        ("--index https://example.org", "--index is not supported"),
        ("--find=wheels", "the option --find=wheels is not supported"),
        ("--trusted-host example.org", "--trusted-host is not supported"),
        ("--use-feature fast-deps", "--use-feature is not supported"),
        ("--pre=1", "is not supported"),
        ("--pre fine2", "'fine2' after an option"),
        ("--only-binary", "needs a value"),
        ("--no-binary --pre", "needs a value"),
        ("--only-binary ../x", ":all:"),
        ('--find-links "wheels', "quotation"),
        ("-r folder", "no file 'folder'"),
        ("-c missing.txt", "no file"),
        ("a ; platform_version == 'x --config-settings=y'", "option"),
        ("a ; platform_version == '-ihttp://example.org'", "option"),
        ("a===http://example.org/a.whl", "option"),
        ("a @ ./a.whl", "--allow-urls"),
        ("a @ GIT+FILE:///opt/a", "outside"),
        ("a==1.0 ; python_version > '${X}'", "variable"),
        ("a\u00a0--pre", "printable ASCII"),
        ("a\x00b", "printable ASCII"),
        ("\uff41", "printable ASCII"),
        ("-r loop.txt", "without end"),
    ],
)
def test_a_line_that_reaches_outside_or_is_unclear_is_refused_with_its_number(tmp_path: Path, line: str, word: str) -> None:
    (tmp_path / "module" / "folder").mkdir(parents=True)
    with pytest.raises(InstallError) as failed:
        read(tmp_path / "module", f"fine\n{line}\n", loop="-r loop.txt\n")
    assert word in failed.value.message
    assert "line 2" in failed.value.message or "loop" in line


def test_addresses_are_accepted_if_the_user_allows_them_but_files_never(tmp_path: Path) -> None:
    text = "--extra-index-url https://example.org\na @ https://example.org/a.whl\n"
    found = read(tmp_path, text, allow_urls=True)
    assert (found.options, found.lines) == (("--extra-index-url https://example.org",), ("a @ https://example.org/a.whl",))
    with pytest.raises(InstallError, match="outside"):
        read(tmp_path, "--extra-index-url file:///opt\n", allow_urls=True)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"\xff\xfea\x00")
    with pytest.raises(InstallError, match="UTF-8"):
        read_requirements(tmp_path)


def test_a_name_that_looks_like_a_file_is_a_name(tmp_path: Path) -> None:
    assert read(tmp_path, "Evil-1.0-py3-none-any.whl\nA_b.C\n").lines == ("evil-1-0-py3-none-any-whl", "a-b-c")


def test_several_options_in_one_line_are_each_read(tmp_path: Path) -> None:
    (tmp_path / "my wheels").mkdir(parents=True)
    found = read(tmp_path, "--pre --no-index --find-links 'my wheels' --only-binary A.b,:all:\n-rmore.txt --prefer-binary\n", more="a\n")
    assert found.options == ("--pre", "--no-index", "--only-binary a-b,:all:", "--prefer-binary")
    assert (found.lines, found.links) == (("a",), ((tmp_path / "my wheels").resolve(),))


def test_files_that_include_one_another_are_not_read_forever(tmp_path: Path) -> None:
    others = {f"f{number}": f"-r f{number + 1}.txt\n" * 9 for number in range(8)}
    with pytest.raises(InstallError, match="without end"):
        read(tmp_path, "-r f0.txt\n", **others, f8="a\n")


def test_a_wheel_of_the_module_that_needs_a_package_from_an_address_is_refused(tmp_path: Path) -> None:
    write_wheel(tmp_path / "wheels", "a", "1.0", needs=("b @ https://example.org/b.whl",))
    with pytest.raises(InstallError, match=r"line 1.*a-1\.0-py3-none-any\.whl.*--allow-urls"):
        read(tmp_path, "--find-links wheels\na\n")
    assert read(tmp_path, "--find-links wheels\na\n", allow_urls=True).links
    (tmp_path / "wheels" / "a-1.0-py3-none-any.whl").write_text("no archive")
    with pytest.raises(InstallError, match="not a readable wheel"):
        read(tmp_path, "--find-links wheels\n")


@pytest.mark.parametrize(
    "address", ["ftp://example.org/x", "https://", "https://-x/", "git+ssh://-oProxyCommand=x/r", "https://h/a'b", "ssh://h/r"]
)
def test_an_allowed_address_must_be_that_of_a_web_server_or_git(tmp_path: Path, address: str) -> None:
    with pytest.raises(InstallError, match="not a supported address"):
        read(tmp_path, f"a @ {address}\n", allow_urls=True)
