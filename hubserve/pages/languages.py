"""The languages of the front page, and the one that a browser asks for."""

from typing import NamedTuple

from hubserve.net.preferences import preferences


class Language(NamedTuple):
    """One language and its texts.

    Attributes:
        code: in ``?lang=``.
        tag: of HTML and HTTP.
        own_name: as its readers call it.
        texts: by their names in :mod:`hubserve.pages.front_page`.
    """

    code: str
    tag: str
    own_name: str
    texts: dict[str, str]


_ENGLISH = {
    "title": "Served modules",
    "docs": "Try requests",
    "metrics": "Metrics",
    "health": "Health",
    "status": "Status",
    "module": "{count} module is served",
    "modules": "{count} modules are served",
    "ready": "ready",
    "loading": "loading",
    "failed": "failed to load",
    "unavailable": "not available",
    "version": "version",
    "engine": "Engine",
    "kind": "Kind",
    "takes": "Takes",
    "gives": "Gives",
    "picture": "a picture (JPEG, PNG, WebP, ...)",
    "any_json": "any JSON value",
    "json": "JSON arguments",
    "no_arguments": "no arguments",
    "any_length": "n",
    "example": "Example",
    "picture_note": "This sends an example picture of the server; for one of yours: --data-binary @photo.jpg",
    "key_note": "{variable} holds your key.",
    "grpc_note": "It answers a request with any number of responses: ask it by a stream over gRPC.",
    "other_version_note": "Without a version in the address, another version answers.",
    "try": "Try it in the browser",
    "copy": "Copy",
    "copied": "Copied",
    "empty": "No modules are served.",
    "empty_hint": "Install one and start the server with it:",
    "failed_hint": "Correct that, and load the module again:",
}
_CHINESE = {
    "title": "已部署的模型",
    "docs": "在线试用",
    "metrics": "监控指标",
    "health": "健康状态",
    "status": "运行状态",
    "module": "正在服务 {count} 个模型",
    "modules": "正在服务 {count} 个模型",
    "ready": "就绪",
    "loading": "加载中",
    "failed": "加载失败",
    "unavailable": "不可用",
    "version": "版本",
    "engine": "推理引擎",
    "kind": "类型",
    "takes": "输入",
    "gives": "输出",
    "picture": "图片（JPEG、PNG、WebP 等）",
    "any_json": "任意 JSON 值",
    "json": "JSON 参数",
    "no_arguments": "无参数",
    "any_length": "n",
    "example": "示例",
    "picture_note": "此命令发送服务器自带的示例图片；发送自己的图片：--data-binary @photo.jpg",
    "key_note": "{variable} 为您的密钥。",
    "grpc_note": "该模型对一个请求可返回任意多个响应：请通过 gRPC 流调用。",
    "other_version_note": "地址中不写版本时，由另一个版本应答。",
    "try": "在浏览器中试用",
    "copy": "复制",
    "copied": "已复制",
    "empty": "当前没有已部署的模型。",
    "empty_hint": "安装一个模型，并用它启动服务：",
    "failed_hint": "排除原因后，重新加载模型：",
}
ENGLISH = Language("en", "en", "English", _ENGLISH)
CHINESE = Language("zh", "zh-CN", "中文", _CHINESE)
LANGUAGES = (ENGLISH, CHINESE)


def language_of(asked: str, accepted: str) -> Language:
    """Return the language of a page.

    Args:
        asked: ``lang`` of the page's address; "" if it has none.
        accepted: the header ``Accept-Language``.
    """
    wanted = [(asked, 2.0), *preferences(accepted).items()]
    weights = {each: max((weight for name, weight in wanted if _is(name, each)), default=0.0) for each in (ENGLISH.code, CHINESE.code)}
    return CHINESE if weights[CHINESE.code] > weights[ENGLISH.code] else ENGLISH


def _is(name: str, code: str) -> bool:
    """Return True for a language itself and its regional forms, such as ``zh-Hant-TW``."""
    return name.lower().partition("-")[0] == code
