"""``/docs``: Swagger UI, which shows ``/openapi.json`` and sends requests from the browser."""

import html

#: the page loads two files of Swagger UI and one of our own, which starts it: its policy allows no scripts inside pages
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>hubserve: requests</title><link rel="icon" href="data:,"><link rel="stylesheet" href="{base}docs/swagger-ui.css">
<link rel="stylesheet" href="{base}docs/docs.css"></head>
<body><noscript>This page needs JavaScript; <a href="{base}openapi.json">openapi.json</a> has the same for programs.</noscript>
<form id="key" hidden><label>This server shows its modules to holders of a key:
<input type="password" name="key" autocomplete="off" required></label>
<button>OK</button> <output></output></form>
<div id="swagger-ui" data-document="{base}openapi.json"></div>
<script src="{base}docs/swagger-ui-bundle.js"></script><script src="{base}docs/initializer.js"></script></body></html>
"""


def docs_page(base: str) -> str:
    """Return the page.

    Args:
        base: path of the server's front page, ending in ``/``; "" to write links relative to it.
    """
    return _PAGE.format(base=html.escape(base))
