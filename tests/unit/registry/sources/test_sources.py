"""The table of sources, and what holds for whatever text anybody types."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubserve.errors import HubError
from hubserve.registry.archives.extraction import safe_parts
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.downloads.addresses import without_secrets
from hubserve.registry.indexes.format import read_module_document
from hubserve.registry.indexes.select import Requirement, best, parse_requirement
from hubserve.registry.sources import SOURCES, Request, find_source, get_source
from hubserve.registry.sources.base import Source
from hubserve.registry.sources.git import parse_repository
from tests.examples import examples

SAMPLES = {
    "git": "git+https://example.invalid/toy.git@v1#subdirectory=a",
    "remote": "hf:organisation/toy",
    "url": "https://example.invalid/toy.tar.gz#sha256=0",
    "index": "toy>=1",
    "model": "{folder}/net.onnx",
    "folder": "{folder}/empty",
    "archive": "{folder}/toy.tar.gz",
}


@pytest.mark.parametrize("name", SOURCES)
def test_each_kind_of_source_recognises_what_is_its_own(name: str, tmp_path: Path) -> None:
    source = get_source(name)
    assert isinstance(source, Source)
    assert source.name == name
    (tmp_path / "net.onnx").touch()
    (tmp_path / "empty").mkdir()
    request = Request(SAMPLES[name].format(folder=tmp_path), tmp_path, InstallSettings())
    assert find_source(request).name == name


@settings(max_examples=examples(300))
@given(st.text(max_size=60), st.sampled_from(["git+https://h/r", "git+file:///r", "git+ssh://h/r", "git+", "git+https://"]))
def test_nothing_that_git_gets_starts_like_an_option(text: str, start: str) -> None:
    try:
        repository = parse_repository(start + text, allow_http=False)
    except HubError:
        return
    assert not repository.url.startswith("-")
    assert not repository.ref.startswith("-")
    assert not any(each.isspace() or not each.isprintable() for each in repository.url + repository.ref)


@settings(max_examples=examples(200))
@given(st.text("abc@:/?#[]%-", max_size=20), st.text("xyz/?#", max_size=10))
def test_a_password_is_shown_nowhere(noise: str, path: str) -> None:
    for url in (f"https://ada:geheim@host{noise}/{path}", f"https://ada:geheim@host/{path}?token=geheim"):
        try:
            shown = without_secrets(url)
        except HubError as error:
            shown = error.message
        assert "geheim" not in shown, url


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3)
)
ENTRY = {"version": "1.0", "archive": "archives/x.tar.gz", "sha256": "a" * 64, "size_bytes": 3}


@settings(max_examples=examples(300))
@given(
    st.sampled_from([*ENTRY, "signature", "yanked", "summary", "kind"]),
    JSON | st.text("./\\:%ab", max_size=12) | st.from_regex(r"\A(\.\./|/|a/)*[a-z]{1,3}\Z"),
)
def test_an_entry_is_refused_with_a_reason_or_leads_into_the_index_alone(key: str, value: Any) -> None:
    body = json.dumps({"schema_version": 1, "name": "toy", "versions": [{**ENTRY, key: value}]})
    try:
        document = read_module_document(body.encode("utf-8", "surrogatepass"), "toy", "the-index")
    except HubError as error:
        document, message = None, error.message
    if document is None:
        assert "the-index" in message
        return
    release = document.versions[0]
    assert Path("/index").joinpath(*safe_parts(release.archive)).is_relative_to("/index/")
    assert ".." not in release.archive.split("/")
    assert not release.archive.startswith("/")
    assert best([release], Requirement("toy", f"=={release.version}")) == release


@settings(max_examples=examples(300))
@given(st.text(max_size=30) | st.from_regex(r"\A[a-z_-]{1,5} ?(==|>=|<|~=|!=|===|@|,)[0-9.*a-z,<> ]{0,8}\Z"))
def test_a_text_is_a_requirement_or_none_or_refused_with_a_reason(text: str) -> None:
    try:
        requirement = parse_requirement(text)
    except HubError:
        return
    if requirement:
        assert parse_requirement(str(requirement)) == requirement
        assert best([], requirement) is None
