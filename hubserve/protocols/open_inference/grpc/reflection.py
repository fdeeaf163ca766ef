"""Server reflection of gRPC, by which tools such as grpcurl list and describe the services of a server.

``grpc.reflection.v1`` and ``v1alpha`` have the same messages; they are described here because none of the server's dependencies has both.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from hubserve.net.grpc.call import Call
from hubserve.net.grpc.status import Status
from hubserve.protocols.open_inference.grpc.call_errors import check_small
from hubserve.protocols.open_inference.grpc.codec import parse
from hubserve.protocols.open_inference.grpc.long_calls import LongCalls

_VERSIONS = ("v1", "v1alpha")
_MAX_CALLS = 100

_FIELD = descriptor_pb2.FieldDescriptorProto
_TEXT, _NUMBER, _BYTES, _MESSAGE = _FIELD.TYPE_STRING, _FIELD.TYPE_INT32, _FIELD.TYPE_BYTES, _FIELD.TYPE_MESSAGE
_REQUEST, _RESPONSE = "message_request", "message_response"
#: message -> its fields: name, number, type, message type, is repeated, oneof
_MESSAGES: dict[str, list[tuple[str, int, Any, str, bool, str]]] = {
    "ExtensionRequest": [("containing_type", 1, _TEXT, "", False, ""), ("extension_number", 2, _NUMBER, "", False, "")],
    "ServerReflectionRequest": [
        ("host", 1, _TEXT, "", False, ""),
        ("file_by_filename", 3, _TEXT, "", False, _REQUEST),
        ("file_containing_symbol", 4, _TEXT, "", False, _REQUEST),
        ("file_containing_extension", 5, _MESSAGE, "ExtensionRequest", False, _REQUEST),
        ("all_extension_numbers_of_type", 6, _TEXT, "", False, _REQUEST),
        ("list_services", 7, _TEXT, "", False, _REQUEST),
    ],
    "FileDescriptorResponse": [("file_descriptor_proto", 1, _BYTES, "", True, "")],
    "ExtensionNumberResponse": [("base_type_name", 1, _TEXT, "", False, ""), ("extension_number", 2, _NUMBER, "", True, "")],
    "ServiceResponse": [("name", 1, _TEXT, "", False, "")],
    "ListServiceResponse": [("service", 1, _MESSAGE, "ServiceResponse", True, "")],
    "ErrorResponse": [("error_code", 1, _NUMBER, "", False, ""), ("error_message", 2, _TEXT, "", False, "")],
    "ServerReflectionResponse": [
        ("valid_host", 1, _TEXT, "", False, ""),
        ("original_request", 2, _MESSAGE, "ServerReflectionRequest", False, ""),
        ("file_descriptor_response", 4, _MESSAGE, "FileDescriptorResponse", False, _RESPONSE),
        ("all_extension_numbers_response", 5, _MESSAGE, "ExtensionNumberResponse", False, _RESPONSE),
        ("list_services_response", 6, _MESSAGE, "ListServiceResponse", False, _RESPONSE),
        ("error_response", 7, _MESSAGE, "ErrorResponse", False, _RESPONSE),
    ],
}


class Reflection:
    """Handler of the reflection service, which describes a server's services and itself.

    Args:
        files: descriptors of the files that define the services.
        services: their full names.

    Attributes:
        names: full names of the reflection services.
    """

    def __init__(self, files: Iterable[Any], services: Iterable[str]) -> None:
        self.names = [f"grpc.reflection.{version}.ServerReflection" for version in _VERSIONS]
        pool = descriptor_pool.DescriptorPool()
        for version in _VERSIONS:
            pool.AddSerializedFile(_file(version).SerializeToString())
        own = [pool.FindFileByName(_file_name(version)) for version in _VERSIONS]
        self._services = sorted([*services, *self.names])
        self._files = {each.name: each for file in (*files, *own) for each in _with_dependencies(file)}
        kinds = [own[0].message_types_by_name[name] for name in ("ServerReflectionRequest", "ServerReflectionResponse")]
        self._request, self._response = map(message_factory.GetMessageClass, kinds)
        self._calls = LongCalls(_MAX_CALLS, "ServerReflectionInfo")

    async def answer(self, call: Call) -> None:
        """Answer one request of a call after the other."""
        with self._calls.open():
            while (data := await self._calls.wait(call.read())) is not None:
                check_small(data)
                call.send([self._answer(parse(self._request, data)).SerializeToString()])
                await self._calls.wait(call.flushed())

    def close(self) -> None:
        """End every call, because the server is being stopped."""
        self._calls.close()

    def _answer(self, request: Any) -> Any:
        response = self._response(valid_host=request.host, original_request=request)
        kind = request.WhichOneof(_REQUEST)
        if kind == "list_services":
            for name in self._services:
                response.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            self._add_file(response, self._files.get(request.file_by_filename), f"file '{request.file_by_filename[:200]}'")
        elif kind == "file_containing_symbol":
            symbol = request.file_containing_symbol
            self._add_file(response, self._defining(symbol), f"symbol '{symbol[:200]}'")
        elif kind == "all_extension_numbers_of_type" and self._defining(request.all_extension_numbers_of_type):
            response.all_extension_numbers_response.base_type_name = request.all_extension_numbers_of_type
        elif kind:
            self._add_file(response, None, "such extension")
        else:
            _set_error(response, Status.INVALID_ARGUMENT, "the request asks for nothing; set one of the fields of message_request")
        return response

    def _add_file(self, response: Any, file: Any, what: str) -> None:
        if file is None:
            _set_error(response, Status.NOT_FOUND, f"there is no {what} here; list_services lists what can be described")
            return
        response.file_descriptor_response.file_descriptor_proto.extend(each.serialized_pb for each in _with_dependencies(file))

    def _defining(self, symbol: str) -> Any:
        """Return the file that defines a symbol, or None."""
        for file in self._files.values():
            inside = symbol[len(file.package) + 1 :] if symbol.startswith(file.package + ".") else symbol if not file.package else ""
            name, _, rest = inside.partition(".")
            if name in file.message_types_by_name and _is_in_message(file.message_types_by_name[name], rest):
                return file
            if name in file.services_by_name and (not rest or rest in file.services_by_name[name].methods_by_name):
                return file
            if name in file.enum_types_by_name and not rest:
                return file
        return None


def without_methods(file: Any, names: Collection[str]) -> Any:
    """Return the descriptor of a file without some methods of its services, and without the messages that only these have."""
    pool = descriptor_pool.DescriptorPool()
    for each in reversed([*_with_dependencies(file)]):
        if each is not file:
            pool.AddSerializedFile(each.serialized_pb)
    proto = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
    messages: set[str] = set()
    for service in proto.service:
        for method in [each for each in service.method if each.name in names]:
            messages |= {each.rpartition(".")[2] for each in (method.input_type, method.output_type)}
            service.method.remove(method)
    for message in [each for each in proto.message_type if each.name in messages]:
        proto.message_type.remove(message)
    return pool.AddSerializedFile(proto.SerializeToString())


def _is_in_message(message: Any, symbol: str) -> bool:
    name, _, rest = symbol.partition(".")
    if not name:
        return True
    if name in message.nested_types_by_name:
        return _is_in_message(message.nested_types_by_name[name], rest)
    return not rest and any(name in each for each in (message.fields_by_name, message.enum_types_by_name, message.oneofs_by_name))


def _set_error(response: Any, code: Status, text: str) -> None:
    response.error_response.error_code = int(code)
    response.error_response.error_message = text


def _with_dependencies(file: Any) -> Iterator[Any]:
    """Yield a file and its dependencies, each once."""
    found: dict[str, Any] = {}
    waiting = [file]
    while waiting:
        each = waiting.pop()
        if each.name not in found:
            found[each.name] = each
            waiting += each.dependencies
    yield from found.values()


def _file_name(version: str) -> str:
    return f"grpc/reflection/{version}/reflection.proto"


def _file(version: str) -> Any:
    """Return the file that defines one version of the service."""
    package = f"grpc.reflection.{version}"
    file = descriptor_pb2.FileDescriptorProto(name=_file_name(version), package=package, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        oneofs = list(dict.fromkeys(oneof for *_, oneof in fields if oneof))
        for oneof in oneofs:
            message.oneof_decl.add(name=oneof)
        for field, number, kind, of, is_list, oneof in fields:
            added = message.field.add(name=field, number=number, type=kind)
            added.label = _FIELD.LABEL_REPEATED if is_list else _FIELD.LABEL_OPTIONAL
            if of:
                added.type_name = f".{package}.{of}"
            if oneof:
                added.oneof_index = oneofs.index(oneof)
    file.service.add(name="ServerReflection").method.add(
        name="ServerReflectionInfo",
        input_type=f".{package}.ServerReflectionRequest",
        output_type=f".{package}.ServerReflectionResponse",
        client_streaming=True,
        server_streaming=True,
    )
    return file
