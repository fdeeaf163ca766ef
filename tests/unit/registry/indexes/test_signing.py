"""Signatures: who is trusted, for which index, and what is refused."""

import base64
import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat

from hubserve.errors import ConfigError, InstallError
from hubserve.registry import configuration
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.indexes import keys, signatures, trusted_keys
from hubserve.registry.indexes.build import build, publish
from hubserve.registry.indexes.format import Release
from hubserve.registry.installed import Installed
from hubserve.registry.installer import Installer
from tests.unit.registry.toys import write_module
from tests.unit.registry.web import served

SETTINGS = InstallSettings()


@pytest.fixture
def installer(home: Path) -> Installer:
    return Installer(home)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    keys.generate(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def signed(tmp_path: Path, home: Path, key: Path) -> Path:
    """An index with a signed toy 1.0.0."""
    publish(write_module(tmp_path / "src"), tmp_path / "signed", SETTINGS, key=key)
    return tmp_path / "signed"


def trust(installer: Installer, key: Path, name: str = "ada", index: object = "") -> None:
    trusted_keys.trust(installer.home, name, keys.parse_public(str(keys.public_path(key))), str(index))


def install(installer: Installer, index: Path, text: str = "toy") -> Installed:
    return installer.install(text, check=False, indexes=[str(index)])


def refuse(installer: Installer, index: Path, *words: str) -> None:
    with pytest.raises(InstallError) as caught:
        install(installer, index)
    assert all(word in caught.value.message for word in words), caught.value.message
    assert installer.installed.all() == []
    assert not list(installer.home.glob("cache/downloads/*/data")), "it is refused before it is fetched"


def change(index: Path, **fields: Any) -> None:
    path = index / "modules" / "toy.json"
    document = json.loads(path.read_text())
    document["versions"][0].update(fields)
    path.write_text(json.dumps(document))


def signature(index: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((index / "modules" / "toy.json").read_text())["versions"][0]["signature"]
    return found


def test_what_a_trusted_key_signed_is_installed_and_says_so(installer: Installer, signed: Path, key: Path) -> None:
    trust(installer, key)
    provenance = install(installer, signed).manifest.provenance or {}
    assert provenance["signed_by"] == "ada"
    assert provenance["key"] == signature(signed)["key"]


def test_without_trusted_keys_nothing_is_asked_for_and_nothing_claimed(installer: Installer, signed: Path) -> None:
    assert "signed_by" not in (install(installer, signed).manifest.provenance or {})


def test_an_unsigned_version_is_refused_once_a_key_is_trusted(installer: Installer, tmp_path: Path, home: Path, key: Path) -> None:
    publish(write_module(tmp_path / "src"), tmp_path / "index", SETTINGS)
    trust(installer, key)
    refuse(installer, tmp_path / "index", "it is not signed", "hub publish --key")


def test_another_key_is_refused_by_its_identifier(installer: Installer, signed: Path, key: Path, tmp_path: Path) -> None:
    keys.generate(tmp_path / "other")
    trust(installer, tmp_path / "other", "bob")
    refuse(installer, signed, signature(signed)["key"], "not trusted", "bob")


@pytest.mark.parametrize("what", ["other key's identifier", "changed", "short", "no base64", "algorithm", "another version's"])
def test_a_wrong_signature_is_refused(installer: Installer, signed: Path, key: Path, tmp_path: Path, what: str) -> None:
    trust(installer, key)
    right = signature(signed)
    value = base64.b64decode(right["value"])
    if what == "other key's identifier":
        private = Ed25519PrivateKey.generate()
        release = Release("1.0.0", "x", "0" * 64, 1)
        wrong = {**right, "value": signatures.sign(private, "toy", release).value}
    elif what == "another version's":
        own = signatures.sign(keys.load_private(key), "toy", Release("0.9.0", "x", "0" * 64, 1))
        wrong = {"key": own.key, "value": own.value}
    else:
        values = {
            "changed": base64.b64encode(value[:-1] + bytes([value[-1] ^ 1])).decode(),
            "short": base64.b64encode(value[:40]).decode(),
            "no base64": "!!!",
            "algorithm": right["value"],
        }
        wrong = {**right, "value": values[what], "algorithm": "none" if what == "algorithm" else "ed25519"}
    change(signed, signature=wrong)
    refuse(installer, signed, "its signature by ada", "is not valid")


@pytest.mark.parametrize("fields", [{"version": "1.0.1"}, {"sha256": "0" * 64}, {"size_bytes": 7}])
def test_a_signature_holds_for_one_archive_alone(installer: Installer, signed: Path, key: Path, fields: dict[str, Any]) -> None:
    trust(installer, key)
    change(signed, **fields)
    refuse(installer, signed, "key is not valid")


def test_a_signature_of_one_module_is_none_of_another(installer: Installer, signed: Path, key: Path) -> None:
    trust(installer, key)
    document = json.loads((signed / "modules" / "toy.json").read_text())
    (signed / "modules" / "wanted.json").write_text(json.dumps({**document, "name": "wanted"}))
    (signed / "index.json").write_text('{"schema_version": 1, "modules": {"wanted": {}}}')
    with pytest.raises(InstallError, match="key is not valid"):
        install(installer, signed, "wanted")


def test_a_key_of_one_index_says_nothing_of_another(installer: Installer, signed: Path, key: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    publish(write_module(tmp_path / "src2", version="0.5.0"), plain, SETTINGS)
    trust(installer, key, index=signed)
    assert install(installer, plain).info.version == "0.5.0"
    assert (install(installer, signed).manifest.provenance or {})["signed_by"] == "ada"


def test_an_index_is_the_same_however_its_place_is_written(installer: Installer, tmp_path: Path, home: Path, key: Path) -> None:
    publish(write_module(tmp_path / "src"), tmp_path / "index", SETTINGS)
    (tmp_path / "link").symlink_to(tmp_path / "index")
    trust(installer, key, index=f"{tmp_path}/link/")
    refuse(installer, tmp_path / "index", "it is not signed")
    with served() as web:
        web.folder = tmp_path / "index"
        trust(installer, key, "bob", f"http://LocalHost:{web.port}/")
        for host, path in (
            ("ada@localhost", ""),
            ("127.1", "/"),
            ("2130706433", "/./x/.."),
            ("0x7f.0.0.1", "//"),
            ("LOCALHOST", "/%2e"),
            ("[::ffff:127.0.0.1]", "?token"),
        ):
            with pytest.raises(InstallError, match="it is not signed"):
                installer.install("toy", check=False, indexes=[f"HTTP://{host}:{web.port}{path}"])
        with pytest.raises(ConfigError, match="trusted already"):
            trust(installer, key, "bob", f"http://127.0.0.1:{web.port}")


def test_where_signatures_are_required_a_home_without_keys_installs_nothing_from_an_index(
    installer: Installer, signed: Path, key: Path
) -> None:
    configuration.change(installer.home, "install.require_signature", "true")
    refuse(installer, signed, "no key is trusted", "hub key trust")
    trust(installer, key)
    assert install(installer, signed).info.name == "toy"


def test_signatures_outlive_a_build_with_the_archives_that_they_were_made_for(
    installer: Installer, signed: Path, key: Path, tmp_path: Path
) -> None:
    before = (signed / "modules" / "toy.json").read_bytes()
    build(signed, SETTINGS)
    assert (signed / "modules" / "toy.json").read_bytes() == before
    publish(write_module(tmp_path / "src"), signed, SETTINGS, force=True)
    assert (signed / "modules" / "toy.json").read_bytes() == before, "the same archive keeps its signature"
    publish(write_module(tmp_path / "src", more__txt="x"), signed, SETTINGS, force=True)
    trust(installer, key)
    refuse(installer, signed, "it is not signed")
    publish(tmp_path / "src", signed, SETTINGS, key=key)
    assert install(installer, signed).info.name == "toy"


def test_what_is_signed_is_canonical() -> None:
    release = Release("1.0", "archives/x", "ab" * 32, 12, summary="not signed")
    expected = '{"name":"caf\\u00e9","purpose":"hubserve module 1","sha256":"' + "ab" * 32 + '","size_bytes":12,"version":"1.0"}'
    assert signatures.signed_text("café", release) == expected.encode()
    assert signatures.signed_text("café", msgspec.structs.replace(release, archive="y", summary="")) == expected.encode()


def test_a_private_key_is_its_owners_alone_and_never_overwritten(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    with pytest.raises(ConfigError, match="never overwritten"):
        keys.generate(key)
    assert key.read_bytes() == before


def test_a_public_key_is_taken_as_text_as_file_and_as_pem(key: Path, tmp_path: Path) -> None:
    text = keys.public_path(key).read_text().strip()
    pem = tmp_path / "pem"
    pem.write_bytes(keys.load_private(key).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert {keys.parse_public(each) for each in (text, f" {text} ada@example.invalid\n", str(pem), str(keys.public_path(key)))} == {text}


@pytest.mark.parametrize("text", ["ed25519:", "ed25519:AAAA", "ed25519:" + "!" * 44, "gone", "{private}", "{elliptic}"])
def test_only_public_keys_are_trusted(key: Path, tmp_path: Path, text: str) -> None:
    elliptic = tmp_path / "elliptic"
    public = generate_private_key(SECP256R1()).public_key()
    elliptic.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ConfigError, match="key") as caught:
        keys.parse_public(text.format(private=key, elliptic=elliptic))
    assert "BEGIN" not in caught.value.message
    assert ("private key, which must be kept secret" in caught.value.message) == (text == "{private}")


def test_only_private_keys_sign(tmp_path: Path, key: Path, home: Path) -> None:
    encrypted = keys.load_private(key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (encrypted, other, keys.public_path(key).read_bytes(), b""):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(ConfigError, match="no unencrypted Ed25519 private key"):
            publish(write_module(tmp_path / "src"), tmp_path / "index", SETTINGS, key=tmp_path / "bad")
    with pytest.raises(ConfigError, match="cannot read"):
        keys.load_private(tmp_path / "gone")
    assert not (tmp_path / "index").exists()


def test_keys_are_listed_and_removed_by_name_or_identifier_and_outlive_a_reset(installer: Installer, key: Path, tmp_path: Path) -> None:
    trust(installer, key)
    keys.generate(tmp_path / "second")
    trust(installer, tmp_path / "second", "bob", "https://example.invalid/index")
    with pytest.raises(ConfigError, match="already"):
        trust(installer, tmp_path / "second", "ada")
    configuration.reset(installer.home)
    assert [(each.name, each.scope) for each in trusted_keys.trusted_keys(installer.home)] == [
        ("ada", ""),
        ("bob", "https://example.invalid/index"),
    ]
    trusted_keys.distrust(installer.home, trusted_keys.trusted_keys(installer.home)[0].identifier)
    trusted_keys.distrust(installer.home, "bob")
    assert trusted_keys.trusted_keys(installer.home) == []
    with pytest.raises(ConfigError, match="no key of 'bob'"):
        trusted_keys.distrust(installer.home, "bob")


def test_a_damaged_key_in_the_settings_stops_an_install(installer: Installer, signed: Path, key: Path) -> None:
    configuration.write_list(installer.home, "trusted_keys", [{"name": "ada", "key": "ed25519:AAAA"}])
    with pytest.raises(ConfigError):
        install(installer, signed)
    assert installer.installed.all() == []
