"""Decisions of the origin policy that need more than one server to test."""

import asyncio
from typing import Any

import pytest

from hubserve.errors import ConfigError
from hubserve.net.hosts import Hosts
from hubserve.net.http1.request_cycle import INTERNAL_ERROR_BODY
from hubserve.net.origin_policy import CorsRequest, OriginPolicy, Refusal
from hubserve.settings import ServerSettings, parse_settings

PAGE = "https://app.example.com"


def judge(policy: OriginPolicy, method: str = "POST", **headers: str) -> Any:
    return policy.check(scope(method, **headers))


def scope(method: str = "POST", **headers: str) -> dict[str, Any]:
    sent = {"host": "localhost:8866", **headers}
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": "/predict/m",
        "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in sent.items()],
    }


def policy(**settings: Any) -> OriginPolicy:
    made = ServerSettings(modules_info={}, **settings)
    return OriginPolicy(made, Hosts(made))


def answer(verdict: CorsRequest, app: Any, method: str = "POST", **headers: str) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError

    asyncio.run(verdict.answer(app, scope(method, **headers), receive, send))
    return sent


@pytest.mark.parametrize("origins", [["*"], ["https://APP.example.com:443"], ["null", PAGE]])
def test_an_origin_is_allowed_however_it_is_written(origins: list[str]) -> None:
    assert isinstance(judge(policy(cors_origins=origins), origin=PAGE), CorsRequest)
    assert isinstance(
        judge(policy(cors_origins=origins), origin="https://app.example.com:8443"), CorsRequest if origins == ["*"] else Refusal
    )


def test_a_wildcard_allows_all_origins_and_null_must_be_named() -> None:
    sent = answer(judge(policy(cors_origins=["*"]), origin="null"), None, "OPTIONS", access_control_request_method="POST")
    assert (b"access-control-allow-origin", b"*") in sent[0]["headers"]
    assert isinstance(judge(policy(cors_origins=["null"]), origin="null"), CorsRequest)
    assert isinstance(judge(policy(cors_origins=[PAGE]), origin="null"), Refusal)
    assert judge(policy(cors_origins=["*"]), sec_fetch_site="cross-site") is None


@pytest.mark.parametrize("wanted", ["x\r\ny: z", "", "a" * 2000, "<script>"])
def test_preflights_with_malformed_header_names_do_not_get_them_back(wanted: str) -> None:
    verdict = judge(policy(cors_origins=[PAGE]), origin=PAGE)
    sent = answer(verdict, None, "OPTIONS", access_control_request_method="POST", access_control_request_headers=wanted)
    assert b"access-control-allow-headers" not in dict(sent[0]["headers"])


def test_a_page_can_read_that_the_server_failed() -> None:
    async def app(*_: Any) -> None:
        raise RuntimeError("injected")

    sent = answer(judge(policy(cors_origins=[PAGE]), origin=PAGE), app)
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"access-control-allow-origin"]) == (500, PAGE.encode())
    assert sent[1]["body"] == INTERNAL_ERROR_BODY


def test_the_cache_of_host_names_is_bounded() -> None:
    made = policy(host="0.0.0.0")
    for number in range(1000):
        assert judge(made, host=f"host-{number}.example") is None
    assert len(made._accepted) <= 256


@pytest.mark.parametrize(
    ("key", "value"),
    [("allowed_hosts", each) for each in ("http://a.example", "a.example:80", "a.example/", "", "a*b", "*.", "a b")]
    + [
        ("cors_origins", each)
        for each in ("app.example.com", "https://", "https://a.example/", "https://*.example.com", "https://u@a.example", "")
    ],
)
def test_a_setting_that_could_never_match_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} has '"):
        parse_settings({"modules_info": {"m": {}}, key: [value]}, "config.json")
