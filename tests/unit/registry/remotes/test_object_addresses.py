"""Addresses of buckets and SSH servers, as Triton and fsspec write them."""

import json
from pathlib import Path

import pytest

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.remotes import is_remote, open_remote
from hubserve.registry.remotes.object_address import Location, parse_location
from hubserve.registry.remotes.secrets import masked

SECRET = "planted/secret-of-test"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AZURE_STORAGE_ACCOUNT",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_CONNECTION_STRING",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("TRITON_CLOUD_CREDENTIAL_PATH", "GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "OSS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def parsed(text: str, *, allow_http: bool = False) -> Location:
    return parse_location(text, allow_http=allow_http, timeout_s=30)


@pytest.mark.parametrize(
    ("text", "protocol", "path", "endpoint"),
    [
        ("s3://bucket/path/to/models", "s3", "bucket/path/to/models", ""),
        ("s3://localhost:9000/bucket/models/", "s3", "bucket/models", "http://localhost:9000"),
        ("s3://https://minio.example.com:9000/bucket/models", "s3", "bucket/models", "https://minio.example.com:9000"),
        ("s3://http://127.0.0.1:9000/bucket", "s3", "bucket", "http://127.0.0.1:9000"),
        ("s3://[::1]:9000/bucket", "s3", "bucket", "http://[::1]:9000"),
        ("gs://bucket/models", "gs", "bucket/models", ""),
        ("as://account/container/models", "abfs", "container/models", ""),
        ("az://container/models", "abfs", "container/models", ""),
        ("abfs://container@account.dfs.core.windows.net/models", "abfs", "container/models", ""),
        ("ssh://me@server:2222/srv/models", "ssh", "/srv/models", ""),
        ("sftp://server/srv/models/", "ssh", "/srv/models", ""),
    ],
)
def test_addresses(text: str, protocol: str, path: str, endpoint: str) -> None:
    assert is_remote(text)
    assert parsed(text)[:3] == (protocol, path, endpoint)


@pytest.mark.parametrize(
    "text",
    [
        f"s3://AKIAKEY:{SECRET}@bucket/models",
        f"s3://http://AKIAKEY:{SECRET}@127.0.0.1:9000/bucket",
        f"ssh://me:{SECRET}@server/models",
        f"gs://bucket/models?key={SECRET}",
        f"az://container/models#{SECRET}",
    ],
)
def test_credentials_in_addresses_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InstallError, match="Keep credentials in the environment") as caught:
        open_remote(text, InstallSettings())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["s3://", "s3://localhost:9000/", "gs:///", "as://account", "s3://bucket/../other", "ssh:///models"])
def test_addresses_without_a_place_are_refused(text: str) -> None:
    with pytest.raises(InstallError):
        parsed(text)


def test_other_machines_are_not_asked_over_http() -> None:
    with pytest.raises(InstallError, match="over http://"):
        parsed("s3://minio.example.com:9000/bucket")
    assert parsed("s3://minio.example.com:9000/bucket", allow_http=True).endpoint == "http://minio.example.com:9000"


def test_the_longest_name_in_tritons_file_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials.json"
    file.write_text(
        json.dumps(
            {
                "s3": {
                    "": {"secret_key": "secret-1", "key_id": "key-1", "region": "eu-west-1", "session_token": "", "profile": ""},
                    "s3://special": {"secret_key": SECRET, "key_id": "key-2", "region": "us-east-2", "session_token": "token-2"},
                },
                "gs": {"": "/keys/google.json"},
                "as": {
                    "": {"account_str": "account", "account_key": "key-3"},
                    "as://other": {"account_str": "other", "account_key": "key-4"},
                },
            }
        )
    )
    monkeypatch.setenv("TRITON_CLOUD_CREDENTIAL_PATH", str(file))
    assert parsed("s3://any/models").credentials() == {
        "key": "key-1",
        "secret": "secret-1",
        "client_kwargs": {"region_name": "eu-west-1"},
    }
    special = parsed("s3://special/models").credentials()
    assert (special["key"], special["secret"], special["token"]) == ("key-2", SECRET, "token-2")
    assert parsed("gs://bucket/models").credentials() == {"token": "/keys/google.json"}
    assert parsed("as://account/container/models").credentials() == {"account_name": "account", "account_key": "key-3"}
    assert parsed("as://other/container/models").credentials() == {"account_name": "other", "account_key": "key-4"}
    assert masked(f"refused for {SECRET}\n at https://host/x?Signature=abc and https://u:p@host/") == (
        "refused for *** at https://host/x and https://***@host/"
    )


def test_tritons_variables_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account")
    monkeypatch.setenv("AZURE_STORAGE_KEY", SECRET)
    assert parsed("az://container/models").credentials() == {"account_name": "account", "account_key": SECRET}
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/keys/google.json")
    assert parsed("gs://bucket/models").credentials() == {"token": "/keys/google.json"}
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-north-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    assert parsed("s3://bucket/models").credentials() == {"client_kwargs": {"region_name": "eu-north-1"}}


@pytest.mark.parametrize("text", ["model.onnx", "./s3", "s3:bucket", "name==1.0", "folder/hf:x", "git+https://h/r"])
def test_what_is_no_remote_address(text: str) -> None:
    assert not is_remote(text)
