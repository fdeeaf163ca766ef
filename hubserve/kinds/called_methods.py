"""Call a module's method with a client's arguments, and distinguish wrong arguments from faults of the module."""

import inspect
import json
import re
from difflib import get_close_matches
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from hubserve.errors import WrongArguments, safe_text, shown
from hubserve.kinds.description import Argument

_UNEXPECTED = re.compile(r"(\w+)\(\) got an unexpected keyword argument '(\w+)'")
_MISSING = re.compile(r"\w+\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.+)")
_LONGEST_USAGE = 1000
_LONGEST_DEFAULT = 60
#: of what is sent to the gateway for the description of the server
_MOST_ARGUMENTS, _LONGEST_NAME, _LONGEST_ANNOTATION, _LONGEST_JSON, _LONGEST_DOC = 256, 200, 300, 2000, 8000
#: the values of an example, by a part of the argument's name
_EXAMPLES: Tuple[Tuple[str, Any], ...] = (
    ("images", ["<base64 of a picture>"]),
    ("image", "<base64 of a picture>"),
    ("texts", ["some text"]),
    ("text", "some text"),
    ("sentences", ["some text"]),
    ("paths", ["<path>"]),
    ("path", "<path>"),
)
_OF_TYPE: Mapping[Any, Any] = {"str": "some text", "int": 1, "float": 0.5, "bool": True, "list": ["..."], "dict": {}}
_NAMES: Mapping[type, str] = {bool: "bool", int: "int", float: "float", str: "str", list: "list", tuple: "list", dict: "dict"}
_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class CalledMethod:
    """A method that is called with clients' arguments.

    Args:
        method: bound to the module.
        given: the number of positional arguments that come from the server itself.
        usage: its arguments, in words; "" to derive them from its signature.

    Attributes:
        types: name of each argument -> "bool", "int", "float", "str", "list" or "dict" by its annotation, its default or its
            name ("images"); "" if none of them says.
        usage: its arguments, in words, with an example.
        arguments: for the description of the server.
        takes_any: whether it takes arguments by further names.
        doc: its docstring; "" for none.
    """

    def __init__(self, method: Callable[..., Any], given: int = 0, usage: str = "") -> None:
        self._method = method
        own = _parameters(method, given, follow_wrapped=False)
        # a wrapped function may take other arguments than its wrapper: only a call shows it
        self._is_certain = own is not None
        parameters = list((own or _parameters(method, given, follow_wrapped=True) or {}).values())
        self._takes_any = own is None or any(each.kind is each.VAR_KEYWORD for each in parameters)
        self._named = {each.name: each for each in parameters if each.kind in _KINDS}
        self.types = {name: _type_of(each) for name, each in self._named.items()}
        self.arguments = [_argument(each) for name, each in self._named.items() if len(name) <= _LONGEST_NAME][:_MOST_ARGUMENTS]
        self.takes_any = self._takes_any
        self.doc = _characters(safe_text(method, lambda each: inspect.getdoc(each) or ""))[:_LONGEST_DOC]
        self.usage = usage[:_LONGEST_USAGE] if usage or (own is None and not self._named) else self._describe()

    def __call__(self, arguments: Mapping[str, Any], *given: Any) -> Any:
        """Call the method with a client's arguments.

        Raises:
            WrongArguments: an argument is missing or unknown.
        """
        wrong = self._mismatch(arguments)
        if wrong:
            raise WrongArguments(wrong)
        try:
            return self._method(*given, **arguments)
        except TypeError as error:
            wrong = self._mismatch_in(error, arguments)
            if not wrong:
                raise
        raise WrongArguments(wrong)

    def _mismatch(self, arguments: Mapping[str, Any]) -> str:
        """Name the arguments that are missing or unknown; "" if there are none."""
        if not self._is_certain:
            return ""
        missing = [name for name, each in self._named.items() if each.default is each.empty and name not in arguments]
        unknown = [] if self._takes_any else [name for name in arguments if name not in self._named]
        parts = [_listed("is missing", "are missing", missing)] if missing else []
        if unknown:
            close = get_close_matches(unknown[0], list(self._named), n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            parts.append(_listed("is not known", "are not known", unknown) + hint)
        return ", and ".join(parts)

    def _mismatch_in(self, error: TypeError, arguments: Mapping[str, Any]) -> str:
        """Name the wrong arguments that a TypeError from within the method reports; "" if it has another cause."""
        text = safe_text(error)
        unexpected = _UNEXPECTED.search(text)
        if unexpected and self._takes_any and unexpected[2] in arguments and unexpected[2] not in self._named:
            return f"the argument '{unexpected[2]}' is not known{self._passed_on_to(unexpected[1])}"
        missing = _MISSING.search(text)
        if missing and self._takes_any and _is_raised_in(error, self._method):
            return _listed("is missing", "are missing", re.findall(r"'(\w+)'", missing[1]))
        return ""

    def _passed_on_to(self, name: str) -> str:
        """Name the arguments of the method that gets the rest of a client's arguments."""
        inner = getattr(getattr(self._method, "__self__", None), name, None)
        found = (
            [each for each in (_parameters(inner, 0, follow_wrapped=True) or {}) if each not in ("args", "kwargs")]
            if callable(inner)
            else []
        )
        rest = [each for each in found if each not in self._named]
        return f"; further ones are {', '.join(rest[:20])}" if rest else ""

    def _describe(self) -> str:
        required = [name for name, each in self._named.items() if each.default is each.empty]
        optional = [f"{name} ({_default(each.default)})" for name, each in self._named.items() if each.default is not each.empty]
        parts = [", ".join(required)] if required else []
        if optional:
            parts.append("optionally " + ", ".join(optional))
        if not parts:
            return "" if self._takes_any else "no arguments: send {}"
        example = json.dumps({name: _example(self._named[name]) for name in required}, ensure_ascii=False)
        return f"the JSON arguments {'; '.join(parts)[:_LONGEST_USAGE]}; for example {example[:_LONGEST_USAGE]}"


def _parameters(method: Any, given: int, *, follow_wrapped: bool) -> Optional[Dict[str, inspect.Parameter]]:
    """Return the parameters that clients' arguments may fill; None if it takes any arguments, or its signature is unknown."""
    try:
        found = list(inspect.signature(method, follow_wrapped=follow_wrapped).parameters.values())
    except (TypeError, ValueError):
        return None
    kinds = {each.kind for each in found}
    if {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= kinds and not kinds & set(_KINDS):
        return None
    return {each.name: each for each in found[given:]}


def _argument(parameter: inspect.Parameter) -> Argument:
    annotation = parameter.annotation
    if annotation is parameter.empty:
        text = ""
    elif isinstance(annotation, type) and not hasattr(annotation, "__origin__"):  # list[int] is a type as well before Python 3.11
        text = annotation.__name__
    else:
        text = safe_text(annotation)
    is_required = parameter.default is parameter.empty
    text = _characters(text) if len(text) <= _LONGEST_ANNOTATION else ""
    return Argument(parameter.name, text, is_required, "" if is_required else as_json(parameter.default, _LONGEST_JSON))


def as_json(value: Any, longest: int) -> str:
    """Return a value as JSON text; "" if JSON cannot hold it, or the text is longer than ``longest`` characters."""
    try:
        text = json.dumps(value, allow_nan=False)
    except Exception:  # a class of the module's own may do anything
        return ""
    return text if len(text) <= longest else ""


def _characters(text: str) -> str:
    """Return a text without halves of characters, which no JSON can carry."""
    return text.encode("utf-8", "replace").decode()


def _type_of(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    found = re.match(r"(?:typing\.)?(?:(?:Optional|Union)\[)?(?:typing\.)?(\w+)", name)
    wanted = found[1].lower() if found and annotation is not parameter.empty else ""
    if wanted in _OF_TYPE:
        return wanted
    usual = next((value for part, value in _EXAMPLES if part in parameter.name.lower()), None)
    return _NAMES.get(type(parameter.default), "list" if isinstance(usual, list) else "")


def _example(parameter: inspect.Parameter) -> Any:
    wanted = _type_of(parameter)
    for part, value in _EXAMPLES:
        if part in parameter.name.lower():
            return [value] if wanted == "list" and not isinstance(value, list) else value
    return _OF_TYPE.get(wanted, "...")


def _default(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float, str)):
        return json.dumps(value, ensure_ascii=False)[:_LONGEST_DEFAULT]
    return safe_text(value, lambda each: shown(each, _LONGEST_DEFAULT))  # its class is the module's


def _listed(one: str, several: str, names: Sequence[str]) -> str:
    quoted: List[str] = [f"'{name[:80]}'" for name in names[:8]]
    return f"the argument {quoted[0]} {one}" if len(quoted) == 1 else f"the arguments {', '.join(quoted)} {several}"


def _is_raised_in(error: BaseException, method: Any) -> bool:
    """Return True if the error was raised by a call in the method itself, not deeper."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    codes = []
    while method is not None:
        codes.append(getattr(method, "__code__", None))
        method = getattr(method, "__wrapped__", None)
    return trace is not None and trace.tb_frame.f_code in codes
