"""``/``: the served modules with what they take and an example request each, for people."""

import html
from typing import Any, NamedTuple

from starlette.requests import Request

from hubserve import __version__
from hubserve.errors import one_line
from hubserve.gateway.dataplane import ServedModule
from hubserve.kinds.description import Description, Interface
from hubserve.net.headers import header
from hubserve.pages.examples import KEY_VARIABLE, Example, example_of
from hubserve.pages.languages import LANGUAGES, language_of
from hubserve.protocols import Context
from hubserve.protocols.admin import Forbidden
from hubserve.protocols.browser_links import link_base, module_link
from hubserve.types import TensorSpec

_LONGEST_TEXT = 500
_FEW_MODULES = 20


class _Card(NamedTuple):
    """One module as the page shows it."""

    name: str
    version: str
    kind: str
    summary: str
    state: str
    reason: str
    described: Description
    example: Example | None
    is_default: bool


class FrontPage:
    """The page as one client sees it.

    Args:
        context: of the server's protocols.
        request: the client's.

    Attributes:
        language: of its texts.
    """

    def __init__(self, context: Context, request: Request) -> None:
        scope = request.scope
        self.language = language_of(request.query_params.get("lang", ""), request.headers.get("accept-language", ""))
        self._texts = self.language.texts
        self._base = link_base(scope)
        self._needs_key = context.gate is not None
        self._address = f"{scope['scheme']}://{header(scope, b'host') or 'localhost'}{self._base.rstrip('/')}"
        self._links = [*_links(context, request)]
        self._modules = [(module, context.dataplane.get(module.name) is module) for module in context.dataplane]

    @property
    def is_large(self) -> bool:
        """True if rendering takes longer than the event loop has time for."""
        return len(self._modules) > _FEW_MODULES

    def render(self) -> str:
        """Return the page as HTML; may be called in a thread."""
        t = self._texts
        cards = [self._render(self._card(*each)) for each in self._modules]
        count = len(cards)
        counted = t["module" if count == 1 else "modules"].format(count=count)
        return _PAGE.format(
            tag=self.language.tag,
            title=t["title"],
            base=html.escape(self._base),
            version=html.escape(__version__),
            links=" ".join(f'<a href="{html.escape(self._base + target)}">{t.get(name, name)}</a>' for name, target in self._links),
            languages=" ".join(self._language_link(each.code, each.tag, each.own_name) for each in LANGUAGES),
            counted=counted if count else t["empty"],
            cards="\n".join(cards) if count else self._empty(),
            copy=t["copy"],
            copied=t["copied"],
        )

    def _card(self, module: ServedModule, is_default: bool) -> _Card:
        info, described = module.plan.info, module.description
        state = "ready" if module.ready else "failed" if module.load_error else "unavailable" if module.is_loaded else "loading"
        example = example_of(module, self._address, needs_key=self._needs_key) if module.is_loaded and is_default else None
        summary, reason = (one_line(text)[:_LONGEST_TEXT] for text in (info.summary, module.not_ready_reason))
        return _Card(info.name, info.version, info.kind, summary, state, reason, described, example, is_default)

    def _language_link(self, code: str, tag: str, own_name: str) -> str:
        current = ' aria-current="true"' if code == self.language.code else ""
        return f'<a href="?lang={code}" hreflang="{tag}" lang="{tag}"{current}>{own_name}</a>'

    def _empty(self) -> str:
        return f"<p>{self._texts['empty_hint']}</p>{_command('hub install MODULE && hub serving start -m MODULE')}"

    def _render(self, card: _Card) -> str:
        t = self._texts
        rows = [(t["kind"], html.escape(card.kind)), (t["engine"], _engine(card.described.engine))]
        rows += [(t["takes"], self._takes(card.described)), (t["gives"], self._tensors(card.described.outputs))]
        listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows if value)
        return _CARD.format(
            name=html.escape(card.name),
            version=f"{t['version']} {html.escape(card.version)}" if card.version else "",
            state=card.state,
            summary=f'<p class="summary">{html.escape(card.summary)}</p>' if card.summary else "",
            state_text=t[card.state],
            reason=f'<p class="reason">{html.escape(card.reason)}</p>' if card.reason and card.state != "loading" else "",
            listed=listed,
            rest=self._rest(card),
        )

    def _rest(self, card: _Card) -> str:
        """Return the example, or how to load the module again."""
        t = self._texts
        if card.state == "failed":
            return f"<p>{t['failed_hint']}</p>{_command('hub serving reload')}"
        if card.state == "loading":
            return ""
        note = "" if card.is_default else f'<p class="note">{t["other_version_note"]}</p>'
        if card.described.decoupled:
            return f'{note}<p class="note">{t["grpc_note"]}</p>'
        shown = f"<h3>{t['example']}</h3>{_command(card.example.command)}" if card.example else ""
        if card.example and card.example.sends_picture:
            shown += f'<p class="note">{t["picture_note"]}</p>'
        if card.example and self._needs_key:
            shown += f'<p class="note">{t["key_note"].format(variable=_code(KEY_VARIABLE))}</p>'
        link = f'<p><a href="{html.escape(self._base + module_link(card.name))}">{t["try"]}</a></p>'
        return f"{shown}{note}{link}"

    def _takes(self, described: Description) -> str:
        """Return a list of what a request may hold."""
        t, items = self._texts, []
        if Interface.PICTURE in described.interfaces:
            items.append(t["picture"])
        if described.any_json:
            items.append(t["any_json"])
        elif described.argument_types:
            names = ", ".join(_code(f"{name}: {kind}" if kind else name) for name, kind in described.argument_types.items())
            items.append(f"{t['json']}: {names}")
        elif (
            described.argument_types is not None
            and Interface.JSON in described.interfaces
            and Interface.TENSORS not in described.interfaces
        ):
            items.append(f"{t['json']}: {t['no_arguments']}")
        if described.inputs:
            items.append(self._tensors(described.inputs))
        return "<br>".join(items)

    def _tensors(self, specs: Any) -> str:
        return ", ".join(_code(f"{spec.name}: {spec.dtype}[{self._shape(spec)}]") for spec in specs)

    def _shape(self, spec: TensorSpec) -> str:
        return ", ".join(self._texts["any_length"] if length < 0 else str(length) for length in spec.shape)


def _links(context: Context, request: Request) -> list[tuple[str, str]]:
    """Return the names and addresses of other pages, as far as this client may see them."""
    settings = context.settings
    links = [("docs", "docs"), ("openapi.json", "openapi.json"), ("health", "health/ready")]
    if settings.metrics and (settings.metrics_port is None or context.is_mounted):
        links.append(("metrics", "metrics"))
    if context.admin is None:
        return links
    try:
        context.admin.check(request.scope)
    except Forbidden:
        return links
    return [*links, ("status", "status")]


def _engine(engine: dict[str, Any] | None) -> str:
    if not engine:
        return ""
    name = html.escape(str(engine.get("name", "")))
    reason = one_line(str(engine.get("reason", "")))[:_LONGEST_TEXT]
    return f'<span title="{html.escape(reason)}">{name}</span>' if reason else name


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"


def _command(text: str) -> str:
    return f'<div class="command"><pre tabindex="0"><code>{html.escape(text)}</code></pre></div>'


_CARD = """<article><h2>{name} <small>{version}</small> <span class="state {state}">{state_text}</span></h2>
{summary}{reason}<dl>{listed}</dl>{rest}</article>"""

_PAGE = """<!doctype html>
<html lang="{tag}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>hubserve: {title}</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="{base}docs/front.css"></head>
<body data-copy="{copy}" data-copied="{copied}"><header><h1>hubserve <small>{version}</small></h1>
<nav>{links}</nav><nav class="languages">{languages}</nav></header>
<main><p>{counted}</p>
{cards}
</main><script src="{base}docs/front.js"></script></body></html>
"""
