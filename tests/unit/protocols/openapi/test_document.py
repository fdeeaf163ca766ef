"""Identifiers, and what readers may see."""

from hubserve.access.keys import Need
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.kinds.base import ModuleInfo
from hubserve.protocols.openapi.document import Document, answer, operation
from hubserve.protocols.openapi.reader import Reader


def document(*modules: "tuple[str, str]", reader: Reader = Reader()) -> Document:  # noqa: B008 - it cannot be changed
    found: dict[str, list] = {}
    for each in DataPlane([ModulePlan(ModuleInfo(name, version, "paddlehub"), []) for name, version in modules]):
        found.setdefault(each.name, []).append(each)
    return Document(found, reader)


def test_identifiers_differ_in_more_than_case_and_underscores() -> None:
    names = ["a-b", "a_b", "AB", "a b", "模型", "图", "x_version_1", "x", "stream_x", "module"]
    made = document(*((name, "1") for name in names), ("x", "2"))
    ids = [each.id for each in made.modules] + [each.id for module in made.modules for each in module.versions.values()]
    assert len({each.replace("_", "").lower() for each in ids}) == len(ids) == len(names) + 2
    assert all(each.isascii() and each.replace("_", "").isalnum() for each in ids)
    assert [each.versions.keys() for each in made.modules if each.versions] == [{"1": 0, "2": 0}.keys()]


def test_operations_that_a_reader_may_not_use_are_left_out_with_their_groups() -> None:
    made = document(("a", "1"), ("b", "1"), reader=Reader(True, frozenset((Need.OPEN, Need.INFER)), frozenset("b")))
    for each in made.modules:
        made.add("post", f"/{each.name}", operation(each.id, "Ask", made.tag_of(each), {"200": answer("")}), Need.INFER, each.name)
    made.add("get", "/open", operation("open", "Open", "server", {"200": answer("")}), Need.OPEN)
    made.add("get", "/status", operation("status", "Status", "server", {"200": answer("")}), Need.ADMIN)
    written = made.to_json()
    assert written["paths"].keys() == {"/a", "/open"}
    assert [each["name"] for each in written["tags"]] == ["a"]
    assert written["paths"]["/open"]["get"]["security"] == []
    assert set(written["paths"]["/a"]["post"]["responses"]) == {"200", "401", "403", "429"}
