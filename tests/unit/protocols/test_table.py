"""The table of protocols."""

import pytest

from hubserve import protocols
from hubserve.errors import ConfigError


def test_no_protocol_of_the_table_hides_another() -> None:
    assert {name: cls.__name__ for name, cls in protocols.protocol_classes().items()} == {
        name: target.rpartition(":")[2] for name, target in protocols.PROTOCOLS.items()
    }


@pytest.mark.parametrize("prefix", ["/predict/", "/predict/mine/", "/predict/mine"])
def test_a_prefix_that_another_protocol_answers_is_an_error_at_start(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    class Mine(protocols.Protocol):
        prefixes = (prefix,)

    monkeypatch.setattr(f"{__name__}.Mine", Mine, raising=False)
    monkeypatch.setitem(protocols.PROTOCOLS, "mine", f"{__name__}:Mine")
    with pytest.raises(ConfigError, match="'mine' never gets a request for .* because 'paddlehub', above it in PROTOCOLS, answers"):
        protocols.protocol_classes()
