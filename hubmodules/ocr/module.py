"""Read the text in pictures, with PP-OCRv4 or other models of the same three forms."""

import argparse
from pathlib import Path

from hubserve.engines import AUTO, EngineOptions, load_engine
from hubserve.errors import ConfigError, InvalidInput, LoadFailed
from hubserve.module import ANY, decode_base64, find_file, find_folder, instance_threads, moduleinfo, pictures, runnable, serving
from hubserve.vision.codecs import decode_picture, encode_picture
from hubserve.vision.ocr import CtcDecoder, read_characters
from hubserve.vision.ocr.polygons import pyclipper

from .drawing import draw
from .params import OPTIONS, read_params
from .reader import Networks, TextReader

#: network -> the setting of its largest batch, and the shape of a typical item
_NETWORKS = {
    "det": ("", (3, 640, 480)),
    "cls": ("cls_batch_num", (3, 48, 192)),
    "rec": ("rec_batch_num", (3, 48, 480)),
}


@moduleinfo(
    name="ocr_system",
    version="1.0.0",
    author="hubserve",
    summary="Reads text in pictures: Chinese, English and digits, with the place of each line",
    type="cv/text_recognition",
)
class OcrSystem:
    """Text recognition; see params.py for its settings."""

    def _initialize(self, use_gpu=None, enable_mkldnn=None, **settings):
        given = {"use_gpu": use_gpu, "enable_mkldnn": enable_mkldnn, **settings}
        self.settings = _with({key: value for key, value in given.items() if value is not None}, read_params(), read_params())
        pyclipper()  # reports a missing package before the first request
        for name in ("cls_batch_num", "rec_batch_num", "max_images"):
            if not isinstance(self.settings[name], int) or self.settings[name] < 1:
                raise ConfigError(f"{name} must be a whole number from 1 up, got {self.settings[name]!r}")
        self.engines = self._load_all()
        self.decoder = CtcDecoder(read_characters(find_file(self.settings["rec_char_dict_path"], self.directory)))
        self._check_dictionary()
        self.networks = Networks(*(_call(self.engines[name]) for name in _NETWORKS))
        self.engine_info = _described(self.engines)
        self.reader = TextReader(self.networks, self.decoder, self.settings)

    def _load_all(self):
        wanted = self.settings["engine"]
        detect, recognize = self._load("det", wanted), self._load("rec", wanted)
        if wanted != AUTO:
            return {"det": detect, "cls": self._load("cls", wanted), "rec": recognize}
        # The angle network takes a twentieth of the time: it does not justify the memory of a second engine.
        try:
            angle = self._load("cls", recognize.name)
            angle.reason = "the recognition network's, so that one engine serves both"
        except LoadFailed:
            angle = self._load("cls", AUTO)
        return {"det": detect, "cls": angle, "rec": recognize}

    def _load(self, name, engine):
        batch, shape = _NETWORKS[name]
        options = {key: self.settings[key] for key in EngineOptions._fields if key in self.settings}
        options["cpu_num_threads"] = self.settings["cpu_num_threads"] or instance_threads()
        folder = find_folder(self.settings[f"{name}_model_dir"], self.directory)
        options.update(max_batch_size=self.settings.get(batch, 1), sample_shape=shape)
        return load_engine(folder, engine, EngineOptions(**options))

    def _check_dictionary(self):
        classes = self.engines["rec"].outputs[0].shape[-1]
        if classes not in (ANY, self.decoder.classes):
            raise ConfigError(
                f"the recognition model has {classes} classes, and the dictionary '{self.settings['rec_char_dict_path']}' has "
                f"{self.decoder.classes}. Set rec_char_dict_path to the dictionary of the model."
            )

    @serving
    def serving_method(self, images, **options):
        """Read pictures: a list of base64 texts of encoded pictures, or one text, with any of params.py's OPTIONS."""
        images = [images] if isinstance(images, str) and images else images
        if not isinstance(images, list) or not images:
            raise InvalidInput("images must be a list of one or more base64 texts, each of an encoded picture")
        self._check_count(images)
        return self._read(_decoded(images), options)

    @pictures
    def read(self, images, **options):
        """Read pictures, uint8 (H, W, 3) BGR: for each a list of {"text", "confidence", "text_region"}, in reading order."""
        self._check_count(images)
        return self._read(images, options)

    def _check_count(self, images):
        most = self.settings["max_images"]
        if len(images) > most:
            raise InvalidInput(f"a request may hold {most} pictures, and this one holds {len(images)}: send several, or raise max_images")

    def _read(self, images, options):
        reader = self._reader(options)
        return [[line.to_json() for line in reader(picture)] for picture in images]

    def _reader(self, options):
        if not options:
            return self.reader
        known = {key: self.settings[key] for key in OPTIONS}
        try:
            return TextReader(self.networks, self.decoder, {**self.settings, **_with(options, known, known)})
        except ConfigError as error:
            raise InvalidInput(error.message) from None

    @runnable
    def run_cmd(self, argvs):
        """Answer ``hub run ocr_system --input_path PAGE [PAGE ...]``."""
        parser = argparse.ArgumentParser(prog="hub run ocr_system")
        parser.add_argument("--input_path", "--image_file", nargs="+", required=True, type=Path, help="pictures to read")
        parser.add_argument("--visualization", action="store_true", help="write pictures of the results")
        parser.add_argument("--output_dir", type=Path, default=Path("ocr_result"), help="folder for them (default: %(default)s)")
        parser.add_argument("--font", type=Path, help="a .ttf or .otf file with the characters to draw (default: one of this machine's)")
        args = parser.parse_args(argvs)
        return [self._run_one(path, args) for path in args.input_path]

    def _run_one(self, path, args):
        picture = read_picture(path)
        lines = self.reader(picture)
        if args.visualization:
            args.output_dir.mkdir(parents=True, exist_ok=True)
            target = args.output_dir / f"{path.stem}.png"
            target.write_bytes(encode_picture(draw(picture, lines, args.font), ".png"))
        return [line.to_json() for line in lines]


def read_picture(path):
    """Read a picture file as uint8 [H, W, 3] BGR.

    Raises:
        InvalidInput: it cannot be read or is not a picture.
    """
    try:
        return decode_picture(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"cannot read '{path}': {error.strerror}. Give the path of a picture.") from None
    except InvalidInput as error:
        raise type(error)(f"cannot read '{path}': {error.message}") from None


def _decoded(images):
    """Yield each picture when it is needed; an error has its number."""
    for number, text in enumerate(images, 1):
        try:
            data = decode_base64(text)
            yield decode_picture(data)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"picture {number} of {len(images)} is not valid base64: {error}") from None
        except InvalidInput as error:
            raise type(error)(f"picture {number} of {len(images)}: {error.message}") from None


def _with(given, defaults, known):
    for key in given:
        if key not in known:
            raise InvalidInput(f"ocr_system has no setting '{key}' here; there are {', '.join(known)}")
    return {**defaults, **given}


def _call(engine):
    name = engine.inputs[0].name
    return lambda array: engine.run({name: array})[0]


def _described(engines):
    described = {name: engine.describe() for name, engine in engines.items()}
    names = dict.fromkeys(each["name"] for each in described.values())
    reasons = "; ".join(f"{name}: {_why(each)}" for name, each in described.items())
    return {"name": ", ".join(names), "reason": reasons, "models": described}


def _why(engine):
    """Return the reason for an engine: the measured times, if engines were compared. The models' descriptions have the details."""
    times = {name: each["ms_per_item"] for name, each in engine.get("measured", {}).get("engines", {}).items() if each["ms_per_item"]}
    measured = ", ".join(f"{name} {min(each.values()):.3g}" for name, each in times.items())
    return f"{engine['name']}, measured in ms per item: {measured}" if measured else f"{engine['name']}, {engine['reason']}"
