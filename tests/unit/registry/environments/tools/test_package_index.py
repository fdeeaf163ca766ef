"""pip's configuration also applies to uv."""

from pathlib import Path

import pytest

from hubserve.registry.environments.tools.package_index import index_settings, only_folder


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CONFIG_FILE", "INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "TRUSTED_HOST", "NO_INDEX", "CERT", "PROXY"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    for name in ("SSL_CERT_FILE", "ALL_PROXY", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_STRATEGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "nothing"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))


def configure(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_files_and_variables_are_read_as_pip_does_the_later_over_the_earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path / ".pip" / "pip.conf", "[global]\nindex-url = https://one\ncert = /certs\n")
    configure(tmp_path / "config" / "pip" / "pip.conf", "[global]\nindex-url = https://two\n[install]\nfind-links =\n  /a\n  /b\n")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://three https://four")
    found = index_settings()
    assert (found.index_url, found.cert, found.find_links) == ("https://two", "/certs", ("/a", "/b"))
    assert found.extra_index_urls == ("https://three", "https://four")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    assert index_settings().index_url == ""


def test_both_tools_are_told_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path / "config" / "pip" / "pip.conf", "[global]\nindex-url = https://one\nextra-index-url = https://two\ncert = /certs\n")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "inner")
    monkeypatch.setenv("PIP_FIND_LINKS", "/a")
    found = index_settings()
    variables = found.uv_environ()
    assert (variables["UV_INDEX_URL"], variables["UV_EXTRA_INDEX_URL"], variables["SSL_CERT_FILE"]) == (
        "https://one",
        "https://two",
        "/certs",
    )
    assert variables["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert found.uv_options() == ["--find-links", "/a", "--allow-insecure-host", "inner"]
    assert found.pip_environ()["PIP_INDEX_URL"] == "https://one"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://mine")
    assert "UV_INDEX_URL" not in found.uv_environ(), "what was said to uv itself counts"


def test_a_folder_alone_needs_no_index() -> None:
    assert only_folder(Path("/w")).uv_options() == ["--find-links", "/w", "--no-index"]
    assert only_folder(Path("/w")).pip_environ() == {"PIP_FIND_LINKS": "/w", "PIP_NO_INDEX": "1"}
