"""Payloads: complete HTTP requests, built once."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hubserve.errors import ConfigError, InvalidInput, UnsupportedFace
from hubserve.kinds import Interface
from hubserve.types import ANY, TensorSpec, specs_from_json

#: kind -> what it is, for messages
KINDS = {
    "base64": "JSON with a base64 array",
    "raw": "an array's bytes",
    "image": "encoded pictures",
    "json": "a JSON object of arguments",
}

_BOUNDARY = "hub-bench-3f1c9a"
_DEFAULT_WIDTH_PX, _DEFAULT_HEIGHT_PX = 451, 300


class Options(NamedTuple):
    """Options of the payload; unset ones depend on the module.

    Attributes:
        kind: one of :data:`KINDS`, or "".
        data: a JSON object, or ``@FILE`` with one; for ``json``.
        image_file: a picture; for ``image``.
        shape: of one item, without the batch dimension; for arrays whose dimensions may have any length.
        api_key: for a server with keys; "" for none.
    """

    kind: str = ""
    data: str = ""
    image_file: Path | None = None
    shape: tuple[int, ...] = ()
    api_key: str = ""


class Payload(NamedTuple):
    """Request that is ready to send.

    Attributes:
        kind: one of :data:`KINDS`.
        items: how many items it carries; 1 for ``json``.
        request: head and body.
        body_bytes: the length of its body.
    """

    kind: str
    items: int
    request: bytes
    body_bytes: int


def choose_kind(module: dict[str, Any], options: Options) -> str:
    """Return the payload's kind: the requested one, or the first that the module accepts.

    Args:
        module: the server's status of it.
        options: the user's.
    Raises:
        UnsupportedFace: the module does not take what is asked for.
        ConfigError: options contradict each other, or something is missing.
    """
    taken = _taken(module)
    implied = "json" if options.data else "image" if options.image_file else "raw" if options.shape and "base64" not in taken else ""
    kind = options.kind or implied or next(iter(taken), "json")
    if kind not in taken:
        takes = ", ".join(f"{each} ({KINDS[each]})" for each in taken) or "none of these payloads"
        raise UnsupportedFace(f"module '{module['name']}' does not take the payload {kind} ({KINDS[kind]}); it takes {takes}")
    for given, name, belongs in ((options.data, "--data", ["json"]), (options.image_file, "--image_file", ["image"])):
        if given and kind not in belongs:
            raise ConfigError(f"{name} is for the payload {belongs[0]}, and the payload is {kind}; leave one of the two out")
    if options.shape and kind not in ("base64", "raw"):
        raise ConfigError(f"--shape is for the payloads base64 and raw, and the payload is {kind}; leave one of the two out")
    if kind == "json" and not options.data:
        raise ConfigError(
            f"the arguments for module '{module['name']}' are missing: give --data '{{\"text\": \"hello\"}}', or --data @FILE"
        )
    return kind


def _taken(module: dict[str, Any]) -> list[str]:
    faces, inputs = module["faces"], module.get("inputs") or []
    taken = []
    if Interface.TENSORS in faces and len(inputs) == 1:
        taken += ["base64", "raw"] if module.get("json_array") else ["raw"]
    if Interface.PICTURE in faces:
        taken.append("image")
    return [*taken, *(["json"] if Interface.JSON in faces else [])]


def build(module: dict[str, Any], kind: str, batch_size: int, options: Options, host: str) -> Payload:
    """Make one request.

    Args:
        module: the server's status of it.
        kind: of :func:`choose_kind`.
        batch_size: items in it.
        options: the user's.
        host: for the header of that name.
    Raises:
        ConfigError: a file cannot be read, or the data is not a JSON object.
        InvalidInput: the module does not take such an array or picture.
    """
    extra: list[str] = []
    if kind == "json":
        media, body = "application/json", _read_data(options.data)
    elif kind == "image":
        media, body = _pictures(_read_image(options.image_file), batch_size)
    else:
        (array,) = sample_inputs(module, batch_size, options.shape).values()
        media, body, extra = _array_body(array, kind, module)
    if options.api_key:
        extra = [*extra, f"X-API-Key: {options.api_key}"]
    head = [f"POST /predict/{module['name']} HTTP/1.1", f"Host: {host}", f"Content-Type: {media}", f"Content-Length: {len(body)}", *extra]
    request = "\r\n".join([*head, "\r\n"]).encode("utf-8") + body
    return Payload(kind, batch_size, request, len(body))


def sample_inputs(module: dict[str, Any], batch_size: int, shape: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """Return synthetic arrays, equal in every run.

    Args:
        module: the server's status of it.
        batch_size: length of the first dimension.
        shape: of one item of the only input; where it is empty, as the module says.
    Returns:
        Name to array: normally distributed floats, or zeros and ones.
    Raises:
        ConfigError: nothing says how long a dimension is.
        InvalidInput: the module does not take ``shape``.
    """
    arrays = {}
    for spec in specs_from_json(module.get("inputs") or []):
        lengths = tuple(shape) or _item_shape(spec, module.get("picture_item"))
        arrays[spec.name] = _sample(spec.dtype, (batch_size, *lengths))
        spec._replace(shape=(ANY, *spec.shape[1:])).check(arrays[spec.name])
    return arrays


def _item_shape(spec: TensorSpec, picture_item: dict[str, Any] | None) -> tuple[int, ...]:
    lengths = spec.shape[1:]
    if ANY in lengths and picture_item and picture_item["name"] == spec.name and ANY not in picture_item["shape"]:
        return tuple(picture_item["shape"])
    if ANY in lengths:
        shown = ",".join("?" if each == ANY else str(each) for each in lengths)
        raise ConfigError(f"the input '{spec.name}' takes items of any length in [{shown}] (?: any); say which with --shape {shown}")
    return lengths


def _sample(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    chance = np.random.default_rng(0)
    if dtype.startswith("float"):
        return chance.standard_normal(shape, np.float32).astype(dtype)
    return chance.integers(0, 2, shape).astype(dtype)  # small enough to be a label or a token of any module


def _array_body(array: np.ndarray, kind: str, module: dict[str, Any]) -> tuple[str, bytes, list[str]]:
    data = array.tobytes()
    if kind == "raw":
        shape = ",".join(map(str, array.shape))
        return "application/octet-stream", data, [f"X-Hub-Shape: {shape}", f"X-Hub-Dtype: {array.dtype.name}"]
    text_key, about_key = module["json_array"]
    about = {"shape": list(array.shape), "dtype": array.dtype.name}
    body = json.dumps({text_key: base64.b64encode(data).decode("ascii"), about_key: about}, separators=(",", ":"))
    return "application/json", body.encode("ascii"), []


def _read_data(data: str) -> bytes:
    try:
        text = Path(data[1:]).read_text("utf-8") if data.startswith("@") else data
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read --data {data}: {getattr(error, 'strerror', None) or error}. Give the path of a JSON file."
        ) from None
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise ConfigError(f'--data is not valid JSON: {error}. Give an object, such as \'{{"text": "hello"}}\', or @FILE.') from None
    if not isinstance(arguments, dict):
        raise ConfigError('--data must be a JSON object of arguments, such as \'{"text": "hello"}\'')
    return text.encode("utf-8")


def _read_image(path: Path | None) -> bytes:
    if path is None:
        return default_image()
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read --image_file '{path}': {error.strerror}. Give the path of a picture.") from None


def default_image() -> bytes:
    """Return a JPEG of 451 x 300 pixels: colour gradients and a texture of waves, equal in every run."""
    from hubserve.vision.codecs import encode_picture

    y, x = np.mgrid[0:_DEFAULT_HEIGHT_PX, 0:_DEFAULT_WIDTH_PX].astype(np.float32)
    waves = 24 * np.sin(x / 3.1) * np.cos(y / 4.3) + 12 * np.sin((x + 2 * y) / 11)
    blue, green, red = 255 * x / _DEFAULT_WIDTH_PX, 255 * y / _DEFAULT_HEIGHT_PX, 127 + 80 * np.sin((x - y) / 60)
    picture = np.stack([blue + waves, green + waves, red + waves], axis=-1)
    return encode_picture(np.clip(picture, 0, 255).astype(np.uint8), ".jpg", 90)


def _pictures(picture: bytes, count: int) -> tuple[str, bytes]:
    from hubserve.vision.headers import read_header

    media_type = read_header(picture).media_type
    if count == 1:
        return media_type, picture
    if f"--{_BOUNDARY}".encode() in picture:  # a picture that holds a boundary was made to
        raise InvalidInput("the picture cannot be sent several times in one request: it contains the separator that is used between them")
    disposition = 'Content-Disposition: form-data; name="images"; filename="picture"'
    part = f"--{_BOUNDARY}\r\n{disposition}\r\nContent-Type: {media_type}\r\n\r\n".encode() + picture + b"\r\n"
    return f"multipart/form-data; boundary={_BOUNDARY}", part * count + f"--{_BOUNDARY}--\r\n".encode()
