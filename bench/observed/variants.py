"""Variants of a server: what each observes, and how it is guarded."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

TRACED_SHARE = 0.01


class Place(NamedTuple):
    """Files and endpoints that the variants' settings name.

    Attributes:
        folder: of one variant, for what it writes.
        collector: address of the OTLP endpoint.
        keys: file of API keys.
        certificate, private_key: of TLS.
    """

    folder: Path
    collector: str
    keys: str
    certificate: str
    private_key: str

    @property
    def access_log(self) -> Path:
        """File of the access log."""
        return self.folder / "access.log"


class Variant(NamedTuple):
    """One variant.

    Attributes:
        about: what it has, for the table.
        settings: of its server.
        has_keys: whether clients need a key.
        has_tls: whether connections are encrypted.
        needs: packages without which it cannot run.
    """

    about: str
    settings: Callable[[Place], dict[str, Any]]
    has_keys: bool = False
    has_tls: bool = False
    needs: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [each for each in self.needs if not _is_installed(each)]


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # a parent of it is missing
        return False


def _metrics(_: Place) -> dict[str, Any]:
    return {"metrics": True}


def _log(place: Place) -> dict[str, Any]:
    return {"access_log": "json", "access_log_file": str(place.access_log)}


def _traces(place: Place) -> dict[str, Any]:
    return {"trace_endpoint": place.collector, "trace_protocol": "http", "trace_ratio": TRACED_SHARE}


def _keys(place: Place) -> dict[str, Any]:
    return {"access_keys": place.keys}


def _tls(place: Place) -> dict[str, Any]:
    return {
        "tls_cert": place.certificate,
        "tls_key": place.private_key,
        "grpc_tls_cert": place.certificate,
        "grpc_tls_key": place.private_key,
    }


def _everything(place: Place) -> dict[str, Any]:
    return {**_metrics(place), **_log(place), **_traces(place), **_keys(place), **_tls(place)}


def _with_metrics(of: Callable[[Place], dict[str, Any]]) -> Callable[[Place], dict[str, Any]]:
    return lambda place: {**_metrics(place), **of(place)}


_TRACES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
BARE, ALL = "bare", "all"
VARIANTS: dict[str, Variant] = {
    BARE: Variant("no metrics", lambda _: {}),
    "metrics": Variant("metrics", _metrics),
    "log": Variant("metrics, access log in JSON", _with_metrics(_log)),
    "traces": Variant(f"{TRACED_SHARE:.0%} of requests traced", _traces, needs=_TRACES),
    "keys": Variant("API keys", _keys, has_keys=True),
    "tls": Variant("TLS", _tls, has_tls=True),
    ALL: Variant("all of these", _everything, has_keys=True, has_tls=True, needs=_TRACES),
}
