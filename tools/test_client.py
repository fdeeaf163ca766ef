"""Classify pictures through a server and print what it answers.

python tools/test_client.py --server_url http://127.0.0.1:8866/predict/clas_system --image_file PHOTO_OR_FOLDER --batch_size 8
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# A picture that cannot be read is reported here, once; OpenCV would log it as well. It reads this when it is imported.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")

from hubserve.client import Client, ServerError
from hubserve.errors import HubError, InvalidInput
from hubserve.vision import ClassificationPreprocess, decode_picture, read_header

IMAGE_SUFFIXES = (".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_FIRST_KEYS = ("class_ids", "scores", "label_names")


class Totals:
    """Sums from which the averages are computed."""

    def __init__(self) -> None:
        self.images = 0
        self.failed_requests = 0
        self.prediction_s = 0.0
        self.wall_s = 0.0
        self.top1_scores = 0.0

    def report(self) -> None:
        """Print the averages per image."""
        print(f"The average time of prediction cost: {self.prediction_s / self.images:.3f} s/image")
        print(f"The average time cost: {self.wall_s / self.images:.3f} s/image")
        print(f"The average top-1 score: {self.top1_scores / self.images:.3f}")


class Prepared(NamedTuple):
    """One readable picture: its file, and what is sent of it (an array, or the encoded bytes)."""

    path: Path
    content: Any


def true_or_false(text: str) -> bool:
    """Read ``True`` or ``False`` in any case."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"must be True or False, got '{text}'")
    return text.lower() == "true"


def from_one_up(text: str) -> int:
    """Read a whole number from 1 up."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 up, got '{text}'")
    return int(text)


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server_url", required=True, help="http://host:port/predict/module")
    parser.add_argument("--image_file", "--image_path", required=True, type=Path, help="a picture, or a folder of pictures")
    parser.add_argument("--batch_size", type=from_one_up, default=1, help="pictures in one request (default: 1)")
    parser.add_argument("--resize_short", type=from_one_up, default=256, help="scale the short side to this many pixels (default: 256)")
    parser.add_argument("--crop_size", type=from_one_up, default=224, help="crop the centre to this many pixels (default: 224)")
    parser.add_argument("--normalize", type=true_or_false, default=True, help="normalise with ImageNet's mean and std (default: True)")
    parser.add_argument("--to_chw", type=true_or_false, default=True, help="put the channels first (default: True)")
    parser.add_argument(
        "--send",
        choices=("array", "pictures"),
        default="array",
        help="prepare the pictures here and send arrays (default), or send the files: then the server prepares them, its own way",
    )
    parser.add_argument("--api_key", "--api-key", help="for a server with keys (default: the environment variable HUB_API_KEY)")
    parser.add_argument(
        "--cacert", default="", help="of an https server: PEM file of the authorities to trust (default: those of requests)"
    )
    parser.add_argument("--cert", default="", help="PEM file of a certificate to present")
    parser.add_argument("--key", default="", help="PEM file of its private key (default: it is in --cert)")
    parser.add_argument("--insecure", action="store_true", help="accept any certificate")
    return parser.parse_args(argv)


def find_images(path: Path) -> list[Path]:
    """Return the file itself, or a folder's pictures in order of name, without those of sub-folders.

    Raises:
        InvalidInput: there is nothing at ``path``, or no picture in it.
    """
    if not path.exists():
        raise InvalidInput(f"there is no file or folder '{path}': give the path of a picture or of a folder of pictures")
    if not path.is_dir():
        return [path]
    images = sorted(each for each in path.iterdir() if each.suffix.lower() in IMAGE_SUFFIXES and each.is_file())
    if not images:
        raise InvalidInput(f"the folder '{path}' holds no picture: it has no file that ends in {', '.join(IMAGE_SUFFIXES)}")
    return images


class Sender:
    """Client that prepares pictures and sends them in the form of ``--send``."""

    def __init__(self, client: Client, arguments: argparse.Namespace) -> None:
        self._client = client
        self._as_pictures = arguments.send == "pictures"
        self._preprocess = (
            None
            if self._as_pictures
            else ClassificationPreprocess(arguments.resize_short, arguments.crop_size, arguments.normalize, arguments.to_chw)
        )

    def prepare(self, path: Path) -> Prepared:
        """Read one picture; raise InvalidInput or OSError if it cannot be used."""
        data = path.read_bytes()
        if self._preprocess is None:
            read_header(data)
            return Prepared(path, data)
        return Prepared(path, self._preprocess(decode_picture(data)))

    def send(self, batch: Sequence[Prepared]) -> Any:
        """Send one request and return its results."""
        contents = [each.content for each in batch]
        return self._client.predict_pictures(contents) if self._as_pictures else self._client.predict(contents)


def batches(paths: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    """Split into runs of ``size``."""
    for start in range(0, len(paths), size):
        yield paths[start : start + size]


def read_batch(sender: Sender, paths: Sequence[Path]) -> list[Prepared]:
    """Prepare the readable pictures, and warn of the rest."""
    readable = []
    for path in paths:
        try:
            readable.append(sender.prepare(path))
        except (InvalidInput, OSError) as error:
            print(f"Warning: skipped {path}: {error}", file=sys.stderr)
    return readable


def check_answer(results: Any, expected: int) -> tuple[list[dict[str, Any]], float]:
    """Return each image's prediction, and the seconds that the server took.

    Raises:
        ServerError: the answer is not that of a classification module, or does not hold one prediction per image.
    """
    try:
        predictions, elapse_s = list(results["prediction"]), float(results["elapse"])
        for prediction in predictions:
            float(prediction["scores"][0])
    except (TypeError, KeyError, IndexError, ValueError):
        raise ServerError(f"the answer is not that of a classification module: {str(results)[:200]}") from None
    if len(predictions) != expected:
        raise ServerError(f"{expected} images were sent, but {len(predictions)} predictions came back")
    return predictions, elapse_s


def show(name: str, prediction: dict[str, Any]) -> None:
    """Print one image's prediction."""
    keys = [key for key in _FIRST_KEYS if key in prediction] + [key for key in prediction if key not in _FIRST_KEYS]
    print(f"File:{name}, The result(s): " + ", ".join(f"{key}: {prediction[key]}" for key in keys))


def classify(sender: Sender, paths: Sequence[Path], batch_size: int) -> Totals:
    """Send every picture, print each answer, and report what fails without stopping."""
    totals = Totals()
    for group in batches(paths, batch_size):
        started_s = time.perf_counter()
        batch = read_batch(sender, group)
        if not batch:
            continue
        try:
            predictions, elapse_s = check_answer(sender.send(batch), len(batch))
        except HubError as error:
            names = ", ".join(each.path.name for each in batch)
            print(f"Error: the request for {names} failed: {error}", file=sys.stderr)
            totals.failed_requests += 1
            continue
        totals.wall_s += time.perf_counter() - started_s
        totals.prediction_s += elapse_s
        totals.images += len(batch)
        for each, prediction in zip(batch, predictions, strict=True):
            totals.top1_scores += float(prediction["scores"][0])
            show(each.path.name, prediction)
    return totals


def main(argv: Sequence[str]) -> int:
    """Run the command line; 0 if every picture that could be read was answered."""
    arguments = parse_arguments(argv)
    try:
        paths = find_images(arguments.image_file)
        tls = {name: getattr(arguments, name) for name in ("cacert", "cert", "key", "insecure")}
        with Client(arguments.server_url, **tls, api_key=arguments.api_key) as client:
            totals = classify(Sender(client, arguments), paths, arguments.batch_size)
    except HubError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    if totals.images:
        totals.report()
    elif not totals.failed_requests:
        print(f"Error: no picture in '{arguments.image_file}' could be read", file=sys.stderr)
        return 1
    return 1 if totals.failed_requests else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
