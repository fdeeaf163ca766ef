"""``hub convert``."""

import argparse
import json
from pathlib import Path
from typing import Any

from hubserve.cli.output import add_json_option, print_json
from hubserve.errors import ConfigError

HELP = "make a module from a model's files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", type=Path, nargs="?", metavar="MODEL", help="the model: a file, or a folder that holds one or is one")
    parser.add_argument("--model_dir", "-d", type=Path, metavar="DIR", help="folder of the model's files, in place of MODEL")
    parser.add_argument("--module_name", "-n", metavar="NAME", help="name of the module; default: from the name of MODEL")
    parser.add_argument("--module_version", "-v", nargs="?", const="1.0.0", default="1.0.0", metavar="VERSION", help="default: 1.0.0")
    parser.add_argument(
        "--output_dir", "-o", type=Path, default=Path(), metavar="DIR", help="where to create the module's folder; default: ."
    )
    parser.add_argument("--archive", action="store_true", help="also pack it into NAME.tar.gz there")
    parser.add_argument("--summary", default="", metavar="TEXT", help="one line that describes the module")
    parser.add_argument("--model_filename", metavar="NAME", help="the model, if the folder holds several")
    parser.add_argument("--params_filename", metavar="NAME", help="the weights, if their name differs from the model's")
    parser.add_argument("--batch_size", type=int, metavar="N", help="maximum items per batch; default: 8 if items are independent")
    _add_picture_arguments(parser.add_argument_group("for a classifier of pictures (an inference.yml beside the model is read, too)"))
    add_json_option(parser)


def _add_picture_arguments(group: Any) -> None:
    group.add_argument("--image_size", type=int, metavar="PX", help="width and height of the model's input; default: from the model")
    group.add_argument("--resize_short", type=int, metavar="PX", help="short side of a picture before the centre crop")
    group.add_argument("--mean", nargs="+", metavar="M", help="three numbers, for red, green and blue from 0 to 1; default: ImageNet's")
    group.add_argument("--std", nargs="+", metavar="S", help="as --mean")
    group.add_argument("--scale", metavar="F", help="factor applied before mean and std; default: 1/255")
    group.add_argument("--layout", choices=("NCHW", "NHWC"), help="order of the model's dimensions; default: from its input's shape")
    group.add_argument("--labels", type=Path, metavar="FILE", help="names of the classes: one per line, or '<class id> <name>'")
    group.add_argument("--topk", type=int, metavar="K", help="number of classes in an answer; default: 5")
    group.add_argument("--softmax", action="store_true", help="turn the model's scores into probabilities")


def run(args: argparse.Namespace) -> int:
    """Write the module and print the next commands."""
    from hubserve.authoring.convert import Request, convert
    from hubserve.authoring.model_files import find_model
    from hubserve.authoring.pictures import picture_settings
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.archives.packing import pack

    _check_numbers(args)
    model, name = _model_and_name(args)
    files = find_model(model, args.model_filename, args.params_filename)
    pictures = picture_settings(files.graph.parent, _preprocess_options(args), _topk_options(args), args.labels)
    summary = " ".join(args.summary.split()) or f"{'Classifies pictures with' if pictures else 'Computes'} {files.graph.name}"
    request = Request(name, args.module_version, summary, args.output_dir, args.batch_size, pictures)
    with shown_progress() as progress:
        made = convert(request, files, progress)
        archive = pack(made.folder, made.folder.parent / f"{name}.tar.gz", progress) if args.archive else None
    if args.json:
        signature = {"inputs": [each.to_json() for each in made.inputs], "outputs": [each.to_json() for each in made.outputs]}
        about = {"name": name, "version": args.module_version, "folder": str(made.folder), "archive": archive and str(archive)}
        print_json({**about, **signature, "pictures": pictures is not None, "batch_size": made.batch_size, "notes": list(made.notes)})
        return 0
    print(f"Made {name} {args.module_version} in {made.folder}")
    for title, specs in (("takes", made.inputs), ("gives", made.outputs)):
        print(f"  {title} " + ", ".join(f"{each.name} {each.dtype} {list(each.shape)}" for each in specs))
    print(f"  answers JSON{', pictures' if pictures else ''} and tensors, up to {made.batch_size} at once")
    for note in made.notes:
        print(f"  {note}")
    print(f"Next: hub install {archive or made.folder} && hub serving start -m {name}")
    return 0


def _model_and_name(args: argparse.Namespace) -> tuple[Path, str]:
    from hubserve.kinds.model_file import card_of

    if (args.model is None) == (args.model_dir is None):
        raise ConfigError("hub convert needs one model: give its file or folder, as in 'hub convert model.mge', or --model_dir DIR")
    model = (args.model or args.model_dir).expanduser()
    if not model.exists():
        raise ConfigError(f"there is no '{model}'. Give the file or folder of a model.")
    if not args.module_name and args.model is None:
        raise ConfigError("hub convert needs a name for the module: give it with --module_name NAME")
    return model, args.module_name or card_of(model.absolute()).name


def _check_numbers(args: argparse.Namespace) -> None:
    for name in ("image_size", "resize_short", "topk", "batch_size"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} must be a whole number from 1 up, got {value}. Leave it out for the default.")


def _preprocess_options(args: argparse.Namespace) -> dict[str, Any]:
    given = {
        "crop_size": args.image_size,
        "resize_short": args.resize_short,
        "mean": args.mean and _three("--mean", args.mean),
        "std": args.std and _three("--std", args.std),
        "scale": args.scale,
        "layout": args.layout,
    }
    return {key: value for key, value in given.items() if value is not None}


def _topk_options(args: argparse.Namespace) -> dict[str, Any]:
    given = {"topk": args.topk, "softmax": args.softmax or None}
    return {key: value for key, value in given.items() if value is not None}


def _three(option: str, words: list[str]) -> list[float]:
    """``0.5 0.5 0.5``, ``0.5,0.5,0.5`` or ``[0.5, 0.5, 0.5]``."""
    try:
        numbers = json.loads("[" + ",".join(" ".join(words).strip("[] ").replace(",", " ").split()) + "]")
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in numbers):
        raise ConfigError(f"{option} must be three numbers, such as {option} 0.485 0.456 0.406, got {' '.join(words)!r}")
    return [float(each) for each in numbers]
