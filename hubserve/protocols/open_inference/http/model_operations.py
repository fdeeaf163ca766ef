"""Describe the protocol's paths of one model for ``/openapi.json``, with its inputs and outputs."""

from collections.abc import Callable
from typing import Any

from hubserve.access.keys import Need
from hubserve.gateway.dataplane import ServedModule
from hubserve.protocols.open_inference.core.datatypes import DATATYPE_OF, DTYPE_OF
from hubserve.protocols.open_inference.core.signatures import ARGUMENTS, PICTURES, Signature
from hubserve.protocols.open_inference.http.operation_parts import NAME, PARAMETERS, a_list, an_object, errors, segment
from hubserve.protocols.open_inference.http.server_operations import statistics_schema
from hubserve.protocols.open_inference.http.warm_up_examples import warm_up_inputs
from hubserve.protocols.openapi.arguments import as_text, request_of
from hubserve.protocols.openapi.document import EVENTS, JSON, DescribedModule, Document, answer, operation, with_examples
from hubserve.protocols.openapi.examples import PICTURE, nested, shape_of_one, zeros
from hubserve.protocols.openapi.texts import block, paragraphs, plain
from hubserve.types import TensorSpec

_LENGTHS = a_list({"type": "integer", "format": "int64", "minimum": 0})
_INFER_ERRORS = (400, 404, 408, 413, 429, 500, 501, 503, 504)


def describe_model(document: Document, each: DescribedModule, signature_of: Callable[[ServedModule], Signature]) -> None:
    """Add the operations of one model, and of each of its versions if it has several.

    Args:
        document: to add to.
        each: the model.
        signature_of: returns the inputs and outputs of one version.
    """
    _describe(document, each, signature_of(each.module))
    for version, described in each.versions.items():
        _describe(document, described, signature_of(described.module), version)


def _describe(document: Document, each: DescribedModule, signature: Signature, version: str = "") -> None:
    if "/" in each.name or "/" in version:  # the protocol's paths cannot name such
        return
    described = _Model(document, each, signature, version)
    described.add_descriptions()
    if not signature.module.description.decoupled:
        described.add_infer()
    described.add_generate()


class _Model:
    """The operations of one model.

    Args:
        document: to add to.
        each: the model, or one version of it.
        signature: of that.
        version: "" for the default version.
    """

    def __init__(self, document: Document, each: DescribedModule, signature: Signature, version: str) -> None:
        self._document, self._signature = document, signature
        self._tag = document.tag_of(each)
        self._id = each.id
        self._path = f"/v2/models/{segment(each.name)}" + (f"/versions/{segment(version)}" if version else "")
        self._which = f"{each.name} version {version}" if version else each.name
        self._described = signature.module.description
        self._arguments = request_of(signature.module) if ARGUMENTS.name in signature.inputs else None

    # --- descriptions ---

    def add_descriptions(self) -> None:
        """Add the metadata, configuration, statistics and readiness."""
        tensor = an_object(name=NAME, datatype=NAME, shape=a_list({"type": "integer", "format": "int64"}))
        tensor_schema = self._document.component("schemas", "TensorMetadata", tensor)
        metadata = an_object(name=NAME, versions=a_list(NAME), platform=NAME, inputs=a_list(tensor_schema), outputs=a_list(tensor_schema))
        schema = self._document.component("schemas", "ModelMetadata", metadata)
        self._get("", "metadata", "Metadata", answer("Inputs and outputs.", schema))
        config = self._document.component("schemas", "ModelConfig", {"type": "object", "description": "The JSON of inference.ModelConfig."})
        self._get("/config", "config", "Configuration", answer("The configuration.", config))
        self._get("/stats", "statistics", "Statistics", answer("Counts and times.", statistics_schema(self._document)))
        ready = an_object(name=NAME, ready={"type": "boolean"})
        why = an_object(name=NAME, ready={"type": "boolean"}, error=NAME)
        responses = {"200": answer("It is.", ready), "400": answer("`error` says why not.", why)}
        self._document.add(
            "get", self._path + "/ready", operation(f"v2_ready_{self._id}", f"Is {self._which} ready?", self._tag, responses), Need.METADATA
        )

    def _get(self, rest: str, what: str, title: str, response: dict[str, Any]) -> None:
        responses = {"200": response, **errors(self._document, 404, 503)}
        made = operation(f"v2_{what}_{self._id}", f"{title} of {self._which}", self._tag, responses)
        self._document.add("get", self._path + rest, made, Need.METADATA)

    # --- inference ---

    def add_infer(self) -> None:
        """Add the operation for tensors."""
        inputs = [self._input_schema(spec) for spec in self._signature.inputs.values()]
        items = {"anyOf": inputs} if len(inputs) > 1 else (inputs or [{}])[0]
        output = an_object(name={"type": "string", "enum": list(self._signature.outputs)})
        output["properties"]["parameters"] = PARAMETERS
        body = {
            "type": "object",
            "properties": {"id": NAME, "parameters": PARAMETERS, "inputs": a_list(items), "outputs": a_list(output)},
            "required": [] if self._signature.may_lack_inputs else ["inputs"],
        }
        if not body["required"]:
            del body["required"]
        schema = self._document.component("schemas", f"InferRequest_{self._id}", body)
        content = {JSON: with_examples(schema, self._infer_examples())}
        self._post("infer", "Infer", content, answer(self._outputs_text(), self._result_schema()))

    def _input_schema(self, spec: TensorSpec) -> dict[str, Any]:
        datatypes = [DATATYPE_OF[spec.dtype]]
        if self._signature.takes_pictures and self._signature.has_tensors:
            datatypes.append("BYTES")
        text = _about(spec, self._signature.shape_of(spec))
        schema = an_object(name={"type": "string", "enum": [spec.name]}, datatype={"type": "string", "enum": datatypes}, shape=_LENGTHS)
        also = " As BYTES: one picture per element, as base64." if len(datatypes) > 1 else ""
        schema["properties"]["data"] = {"type": "array", "items": {}, "description": "The elements in C order, flat or nested." + also}
        schema["properties"]["parameters"] = PARAMETERS
        return {**schema, "description": text}

    def _outputs_text(self) -> str:
        return "Outputs: " + ", ".join(_about(spec, self._signature.shape_of(spec)) for spec in self._signature.outputs.values())

    def _result_schema(self) -> dict[str, Any]:
        tensor = an_object(name=NAME, datatype={"type": "string", "enum": list(DTYPE_OF)}, shape=_LENGTHS)
        tensor["properties"]["data"] = {"type": "array", "items": {}, "description": "The elements in C order, flat."}
        tensor["properties"]["parameters"] = PARAMETERS
        result = an_object(model_name=NAME, model_version=NAME, outputs=a_list(self._document.component("schemas", "OutputTensor", tensor)))
        result["properties"].update(id=NAME, parameters=PARAMETERS)
        return self._document.component("schemas", "InferResponse", result)

    def _infer_examples(self) -> dict[str, tuple[str, Any]]:
        if not self._signature.has_tensors:
            return {
                "arguments": ("arguments of the module's method", self._texts(ARGUMENTS, self._argument_text())),
                **({"picture": ("a small picture", self._texts(PICTURES, PICTURE))} if PICTURES.name in self._signature.inputs else {}),
            }
        examples: dict[str, tuple[str, Any]] = {}
        if self._signature.takes_pictures:
            spec = next(iter(self._signature.inputs.values()))
            examples["picture"] = ("a small picture", self._texts(spec, PICTURE))
        sample = warm_up_inputs(self._signature)
        if sample is not None:
            examples["sample"] = ("the model's warm-up sample", {"inputs": sample, **self._sequence()})
            return examples
        inputs = []
        for spec, shape in self._example_shapes():
            data = zeros(spec.dtype, shape)
            if data is None:
                return examples
            inputs.append({"name": spec.name, "datatype": DATATYPE_OF[spec.dtype], "shape": shape, "data": data})
        examples["zeros"] = ("zeros", {"inputs": inputs, **self._sequence()})
        return examples

    def _texts(self, spec: TensorSpec, text: str | None) -> Any:
        if text is None:
            return None
        return {"inputs": [{"name": spec.name, "datatype": "BYTES", "shape": [1], "data": [text]}], **self._sequence()}

    def _argument_text(self) -> str | None:
        return as_text(self._arguments.example) if self._arguments is not None and self._arguments.example is not None else None

    def _example_shapes(self) -> list[tuple[TensorSpec, list[int]]]:
        """Return the inputs of an example and their shapes; those that may be left out are, unless all may."""
        signature = self._signature
        needed = [spec for spec in signature.inputs.values() if spec.name not in signature.optional] or list(signature.inputs.values())
        exact = self._described.picture_item
        shapes = []
        for spec in needed:
            shape = shape_of_one(signature.shape_of(spec))
            if exact is not None and len(needed) == 1:
                shape = [*([1] if signature.is_batched else []), *exact.shape]
            shapes.append((spec, shape))
        return shapes

    def _sequence(self) -> dict[str, Any]:
        """Return the parameters of a sequence of one request, for models that take sequences."""
        if self._signature.module.plan.sequences is None:
            return {}
        return {"parameters": {"sequence_id": 1, "sequence_start": True, "sequence_end": True}}

    # --- generate ---

    def add_generate(self) -> None:
        """Add the operations for flat JSON objects."""
        properties: dict[str, Any] = {
            spec.name: {"description": _about(spec, self._signature.shape_of(spec)) + ", nested lists or one element"}
            for spec in self._signature.inputs.values()
        }
        properties = {"id": NAME, "parameters": PARAMETERS, **properties}
        required = [] if self._signature.optional else list(self._signature.inputs)
        body = {"type": "object", "properties": properties, "additionalProperties": True, **({"required": required} if required else {})}
        schema = self._document.component("schemas", f"GenerateRequest_{self._id}", body)
        content = {JSON: with_examples(schema, self._generate_examples())}
        result = an_object(model_name=NAME, model_version=NAME)
        result["additionalProperties"] = True
        response = self._document.component("schemas", "GenerateResponse", result)
        if not self._described.decoupled:
            self._post("generate", "Generate from", content, answer(self._outputs_text() + ", each under its name.", response))
        events = answer("An event of such JSON for each response: " + self._outputs_text(), {"type": "string"}, EVENTS)
        self._post("generate_stream", "Generate a stream from", content, events)

    def _generate_examples(self) -> dict[str, tuple[str, Any]]:
        examples: dict[str, tuple[str, Any]] = {}
        for name, (summary, example) in self._infer_examples().items():
            if example is not None:
                values = {
                    each["name"]: each["data"][0]
                    if each["datatype"] == "BYTES" and len(each["data"]) == 1
                    else nested(each["data"], each["shape"])
                    for each in example["inputs"]
                }
                examples[name] = (summary, {**values, **example.get("parameters", {})})
        return examples

    def _post(self, what: str, title: str, content: dict[str, Any], response: dict[str, Any]) -> None:
        info = self._signature.module.plan.info
        made = operation(
            f"v2_{what.removeprefix('generate_')}_{self._id}",  # a model may be called stream
            f"{title} {self._which}",
            self._tag,
            {"200": response, **errors(self._document, *_INFER_ERRORS)},
            description=paragraphs(plain(info.summary), block(self._described.doc)),
            content=content,
        )
        self._document.add("post", f"{self._path}/{what}", made, Need.INFER, self._signature.name)


def _about(spec: TensorSpec, shape: list[int]) -> str:
    return f"{plain(spec.name)}: {DATATYPE_OF[spec.dtype]} {shape}".replace("[", "\\[")
