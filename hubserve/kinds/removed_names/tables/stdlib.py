"""Names that newer Pythons removed from the standard library."""

from collections import abc
from typing import Dict

_OWN = "hubserve.kinds.removed_names.replacements.stdlib"

NAMES: Dict[str, str] = {
    **{f"collections.{name}": f"collections.abc:{name}" for name in abc.__all__},
    "base64.decodestring": "base64:decodebytes",
    "base64.encodestring": "base64:encodebytes",
    "cgi.escape": "html:escape",
    "fractions.gcd": "math:gcd",
    "inspect.formatargspec": f"{_OWN}:formatargspec",
    "inspect.getargspec": f"{_OWN}:getargspec",
    "os.errno": "errno:",
    "os.getcwdu": "os:getcwd",
    "platform.dist": f"{_OWN}:linux_distribution",
    "platform.linux_distribution": f"{_OWN}:linux_distribution",
    "string.letters": "string:ascii_letters",
    "string.lowercase": "string:ascii_lowercase",
    "string.uppercase": "string:ascii_uppercase",
    "string.maketrans": "builtins:str.maketrans",
    "sys.maxint": "sys:maxsize",
    "time.clock": "time:perf_counter",
}

METHODS: Dict[str, str] = {
    "array.array.fromstring": f"{_OWN}:array_fromstring",
    "array.array.tostring": f"{_OWN}:array_tostring",
    "html.parser.HTMLParser.unescape": f"{_OWN}:unescape",
    "threading.Thread.isAlive": f"{_OWN}:is_alive",
    "xml.etree.ElementTree.Element.getchildren": f"{_OWN}:getchildren",
    "xml.etree.ElementTree.Element.getiterator": f"{_OWN}:getiterator",
}

#: removed modules, for environments that have the replacement
MODULES: Dict[str, str] = {
    "distutils": "setuptools._distutils",
    "imp": "hubserve.kinds.removed_names.replacements.old_imp",
}

PACKAGES = frozenset(name.split(".")[0] for name in (*NAMES, *METHODS, *MODULES))
