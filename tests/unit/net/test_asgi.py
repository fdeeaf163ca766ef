"""Responses of ASGI applications."""

import asyncio
from typing import Any

from hubserve.net.asgi import respond


def sent(*arguments: Any, **options: Any) -> list[Any]:
    messages: list[Any] = []

    async def send(message: Any) -> None:
        messages.append(message)

    asyncio.run(respond(send, *arguments, **options))
    return messages


def test_a_response_is_json_unless_it_names_another_content_type() -> None:
    start, body = sent(200, b"{}")
    assert start["headers"] == [(b"content-type", b"application/json"), (b"content-length", b"2")]
    assert body["body"] == b"{}"
    start, _ = sent(503, b"later", content_type="text/plain", retry_after=5)
    assert start["headers"] == [(b"content-type", b"text/plain"), (b"content-length", b"5"), (b"retry-after", b"5")]


def test_a_body_may_be_a_view_of_what_was_read() -> None:
    start, body = sent(200, memoryview(b'"x"'))
    assert (dict(start["headers"])[b"content-length"], body["body"]) == (b"3", b'"x"')
