"""Every kind of module is described validly, and every example of the description is answered as it is."""

from multiprocessing.shared_memory import SharedMemory
from typing import Any
from urllib.parse import quote

from openapi_spec_validator import OpenAPIV30SpecValidator, validate

from tests.behaviours.openapi.conftest import ODD
from tests.conftest import Server
from tests.openapi_requests import example_requests


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document, cls=OpenAPIV30SpecValidator)


def test_every_example_is_answered(everything: Server, document: dict[str, Any]) -> None:
    found = list(example_requests(document))
    last = [each for each in found if "unload_model" in each.name]
    region = SharedMemory("example", create=True, size=64)
    try:
        failed = {}
        for each in [each for each in found if each not in last] + last:
            response = each.send(everything.url)
            if response.status_code != 200 or '"status":"1' in response.text[:20] or '"error"' in response.text[:10]:
                failed[each.name] = f"{response.status_code} {response.text[:300]}"
    finally:
        region.close()
        region.unlink()
    assert not failed


def test_every_module_has_an_example_of_each_way_to_ask_it(document: dict[str, Any]) -> None:
    with_examples = {each.name.partition("/")[0] for each in example_requests(document)}
    operations = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(operations) == len(set(operations)) > 150
    assert {each for each in operations if each not in with_examples} == set()


def test_odd_names_are_escaped(document: dict[str, Any]) -> None:
    once, twice = quote(ODD, safe=""), quote(ODD.replace("%", "%25"), safe="")
    assert {f"/predict/{twice}", f"/v2/models/{once}", f"/v2/models/{once}/infer"} <= set(document["paths"])
    assert all("{" not in path or path.startswith("/v2/") for path in document["paths"])


def test_a_module_that_no_path_can_name_is_left_out(document: dict[str, Any]) -> None:
    assert "with/slash" not in [each["name"] for each in document["tags"]]
