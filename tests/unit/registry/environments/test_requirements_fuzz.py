"""No requirements file, however it is written, has pip or uv look where it says."""

from pathlib import Path

from hypothesis import example, given, settings

from tests.unit.registry.environments.requirements_fuzz import ENCODINGS, TEXTS, make_module, reaches


@settings(deadline=None)
@given(TEXTS, ENCODINGS)
@example("--no-index --find-links http://planted.example/simple\na\n", "utf-8")
@example("--pre --index-url http://planted.example/simple\na\n", "utf-8")
@example("--find-links wheels\na\n", "utf-8")
@example("a ; platform_version == '1 --global-option=planted'\n", "utf-8")
def test_no_address_and_no_path_of_a_requirements_file_reaches_a_command(tmp_path_factory: object, text: str, encoding: str) -> None:
    folder: Path = tmp_path_factory.mktemp("module")  # type: ignore[attr-defined]
    scratch: Path = tmp_path_factory.mktemp("scratch")  # type: ignore[attr-defined]
    make_module(folder)
    (folder / "requirements.txt").write_bytes(text.encode(encoding, "surrogatepass"))
    assert reaches(folder, scratch) in ("refused", "taken")
