"""The description of a loaded module, which its instance sends to the gateway."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from hubserve.module import JsonArray
from hubserve.types import ANY, TensorSpec, specs_from_json, specs_to_json


class Interface:
    """Names of the three forms of request."""

    TENSORS = "tensors"
    JSON = "json"
    PICTURE = "picture"


class Argument(NamedTuple):
    """One argument of the method behind a module's JSON interface.

    Attributes:
        name: of the argument.
        annotation: the text of its annotation, such as "List[int]"; "" for none.
        required: whether a request must have it.
        default: its default as JSON text; "" if it has none, or one that JSON cannot hold.
    """

    name: str
    annotation: str = ""
    required: bool = True
    default: str = ""


class Description(NamedTuple):
    """The requests that a loaded module answers; its instance sends it to the gateway.

    Attributes:
        interfaces: those of :class:`Interface` that it supports.
        inputs, outputs: of the tensors interface.
        json_array: the keys under which a JSON request may carry the tensors; None if it may not.
        picture_item: dtype and shape of the item that one picture becomes; None for a module without a picture interface or without items.
        max_batch_size: the most items in one call; 1 if requests cannot be merged.
        engine: the engine, for people to read: ``{"name", "reason", ...}``.
        batched: whether the first dimension of its tensors is the batch; False: each request is computed as it is.
        raw_requests: whether it receives requests (:meth:`hubserve.kinds.base.LoadedModule.call_requests`) rather than merged arrays.
        decoupled: whether it may answer one request with any number of responses; see :meth:`hubserve.gateway.dataplane.DataPlane.stream`.
        concurrent: whether it may receive further requests before it has answered; only with ``raw_requests``.
        optional: names of inputs that a request may leave out; only with ``raw_requests``.
        ragged: names of inputs whose shapes may differ between the requests of a batch; only with ``raw_requests``.
        config: the completed configuration of a Triton model, in the JSON form of ``inference.ModelConfig``; None for other kinds.
        labels: output name -> names of its classes, by index; None for a module without labels.
        json_pictures: the key under which a JSON request may carry pictures as base64, as items of a batch; "" for none.
        usage: the form of JSON requests, in words and examples, for messages; "" if unknown.
        argument_types: of JSON arguments, by name: "bool", "int", "float", "str", "list", "dict", or "" if unknown.
        any_json: whether a JSON request may be any JSON value; otherwise it is an object of arguments.
        merges_json: whether JSON requests are computed together, up to ``max_batch_size`` of them; see
            :meth:`hubserve.kinds.base.LoadedModule.call_jsons`.
        arguments: of the method behind JSON requests, for the description of the server; empty if they are unknown.
        takes_any: whether that method takes further arguments by names that are unknown.
        doc: what that method does, as its author wrote it; "" if unknown.
        example: JSON text of a request that the module's author, or its kind, knows to be right; "" for none.
    """

    interfaces: Sequence[str]
    inputs: Sequence[TensorSpec] = ()
    outputs: Sequence[TensorSpec] = ()
    json_array: Optional[JsonArray] = None
    picture_item: Optional[TensorSpec] = None
    max_batch_size: int = 1
    engine: Optional[Dict[str, Any]] = None
    batched: bool = True
    raw_requests: bool = False
    decoupled: bool = False
    concurrent: bool = False
    optional: Sequence[str] = ()
    ragged: Sequence[str] = ()
    config: Optional[Dict[str, Any]] = None
    labels: Optional[Dict[str, List[str]]] = None
    json_pictures: str = ""
    usage: str = ""
    argument_types: Optional[Dict[str, str]] = None
    any_json: bool = False
    merges_json: bool = False
    arguments: Sequence[Argument] = ()
    takes_any: bool = False
    doc: str = ""
    example: str = ""

    def item_shapes(self) -> Optional[Dict[str, Tuple[str, Tuple[int, ...]]]]:
        """Return input name -> dtype and shape of one item, without the batch dimension; None for modules without tensors.

        A picture's item has exact lengths where the input's specification may leave them open.
        """
        if Interface.TENSORS not in self.interfaces:
            return None
        if self.picture_item is not None and len(self.inputs) == 1:
            return {self.inputs[0].name: (self.picture_item.dtype, tuple(self.picture_item.shape))}
        return {spec.name: (spec.dtype, tuple(spec.shape[1:])) for spec in self.items_first()}

    def items_first(self) -> List[TensorSpec]:
        """Return the inputs as they cross the wire: with items as first dimension, also for a module that is not :attr:`batched`."""
        return list(self.inputs) if self.batched else [spec._replace(shape=(ANY, *spec.shape)) for spec in self.inputs]

    def to_json(self) -> Dict[str, Any]:
        """Return the description as a JSON object, for the wire."""
        return {
            "interfaces": list(self.interfaces),
            "inputs": specs_to_json(self.inputs),
            "outputs": specs_to_json(self.outputs),
            "json_array": self.json_array and list(self.json_array),
            "picture_item": self.picture_item and self.picture_item.to_json(),
            "max_batch_size": self.max_batch_size,
            "engine": self.engine,
            "batched": self.batched,
            "raw_requests": self.raw_requests,
            "decoupled": self.decoupled,
            "concurrent": self.concurrent,
            "optional": list(self.optional),
            "ragged": list(self.ragged),
            "config": self.config,
            "labels": self.labels,
            "json_pictures": self.json_pictures,
            "usage": self.usage,
            "argument_types": self.argument_types,
            "any_json": self.any_json,
            "merges_json": self.merges_json,
            "arguments": [list(each) for each in self.arguments],
            "takes_any": self.takes_any,
            "doc": self.doc,
            "example": self.example,
        }

    @classmethod
    def from_json(cls, described: Dict[str, Any]) -> "Description":
        """Rebuild a description from :meth:`to_json`."""
        return cls(
            interfaces=described["interfaces"],
            inputs=specs_from_json(described["inputs"]),
            outputs=specs_from_json(described["outputs"]),
            json_array=described["json_array"] and JsonArray(*described["json_array"]),
            picture_item=described["picture_item"] and TensorSpec.from_json(described["picture_item"]),
            max_batch_size=described["max_batch_size"],
            engine=described["engine"],
            batched=described["batched"],
            raw_requests=described["raw_requests"],
            decoupled=described["decoupled"],
            concurrent=described["concurrent"],
            optional=described["optional"],
            ragged=described["ragged"],
            config=described["config"],
            labels=described["labels"],
            json_pictures=described.get("json_pictures", ""),
            usage=described.get("usage", ""),
            argument_types=described.get("argument_types"),
            any_json=described.get("any_json", False),
            merges_json=described.get("merges_json", False),
            arguments=[Argument(*each) for each in described.get("arguments", ())],
            takes_any=described.get("takes_any", False),
            doc=described.get("doc", ""),
            example=described.get("example", ""),
        )
