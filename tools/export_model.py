"""Make inference files: of the default classifier, of a Paddle layer of your own, or of what paddle.jit.save wrote."""

import argparse
import signal
import sys
import time
import traceback
from pathlib import Path

import exports
from default_classifier import DEFAULT_SIZE_PX
from paddle_export import exit_on_sigterm

from hubserve.errors import ConfigError, HubError

ROOT = Path(__file__).resolve().parent.parent
_MIN_SIZE_PX, _MAX_SIZE_PX = 32, 2048
_CLASSIFIER_ONLY = {"image_size": None, "resize_short": None, "fuse_preprocess": False, "check_image": None, "expect_class": None}

_EXAMPLES = """
examples:
  export_model.py                                    the default classifier (EfficientNet-Lite0, ImageNet) -> inference/
  export_model.py --image-size 384 --output big/     the same for pictures of 384 x 384
  export_model.py --fuse-preprocess                  the same, taking uint8 BGR pictures of any size -> inference/fused/
  export_model.py --module nets.mine:build --input-spec x:float32:-1,3,224,224 --params mine.pdparams --output mine/
  export_model.py --checkpoint runs/best --format json --output best/

formats:
  pdmodel   inference.pdmodel + inference.pdiparams: read by Paddle 2 and 3, and by OpenVINO
  json      inference.json + inference.pdiparams: Paddle 3 only; the one that can hold every operator
  both      the two graphs, over the same weights

Weights given with --params, and the code given with --module, can run anything on this machine: use those that you trust.
"""


def main() -> int:
    """Run the command line; the exit status."""
    exit_on_sigterm()
    args = _parser().parse_args()
    try:
        _export(args)
    except HubError as error:
        return _fail(str(error), args.debug)
    except OSError as error:
        where = f" '{error.filename}'" if error.filename else ""
        return _fail(f"cannot write the files:{where} {error.strerror or error}. Look at the folder's permissions and space.", args.debug)
    except KeyboardInterrupt:
        _fail("interrupted; nothing was written", args.debug)
        return 128 + signal.SIGINT
    return 0


def _fail(message: str, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"export_model.py: {message}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for the files (default: inference/ or inference/fused/)")
    parser.add_argument(
        "--format", choices=["pdmodel", "json", "both"], default="pdmodel", help="pdmodel (default), json or both; see below"
    )
    parser.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    default = parser.add_argument_group("the default classifier")
    default.add_argument("--image-size", type=int, metavar="N", help=f"height and width of its input (default: {DEFAULT_SIZE_PX})")
    default.add_argument("--fuse-preprocess", action="store_true", help="resize, crop and normalise inside the graph")
    default.add_argument("--resize-short", type=int, metavar="N", help="short side before the crop (default: 256 for 224, in proportion)")
    default.add_argument("--check-image", type=Path, metavar="FILE", help="photo to check the files on (default: scikit-image's cat)")
    default.add_argument("--expect-class", type=int, metavar="ID", help="class of that photo, 0 to 999 (default: those of the cat)")
    own = parser.add_argument_group("your own")
    own.add_argument("--module", metavar="PACKAGE.MODULE:FUNCTION", help="called without arguments, returns a paddle.nn.Layer")
    own.add_argument("--input-spec", action="append", default=[], metavar="NAME:DTYPE:SHAPE", help="one per input of the layer")
    own.add_argument("--params", type=Path, metavar="FILE", help="the layer's weights, as paddle.save wrote them (.pdparams)")
    own.add_argument("--checkpoint", metavar="PREFIX", help="files that paddle.jit.save wrote: their prefix, or their folder")
    return parser


def _export(args: argparse.Namespace) -> None:
    _check_combination(args)
    say = _Progress()
    if args.module:
        files = exports.export_module(args.module, args.input_spec, args.params, args.output, args.format, say)
    elif args.checkpoint:
        files = exports.export_checkpoint(args.checkpoint, args.output, args.format, say)
    else:
        wanted = exports.Classifier(args.image_size or DEFAULT_SIZE_PX, args.resize_short, args.fuse_preprocess)
        output = args.output or ROOT / "inference" / ("fused" if args.fuse_preprocess else "")
        files = exports.export_classifier(wanted, output, args.format, args.check_image, args.expect_class, say)
    for file in files:
        print(file)


class _Progress:
    """Progress lines on stderr, with the time since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"[{time.monotonic() - self._start:5.1f} s] {line}", file=sys.stderr, flush=True)


def _check_combination(args: argparse.Namespace) -> None:
    if args.module and args.checkpoint:
        raise ConfigError("give --module or --checkpoint, not both")
    if args.module or args.checkpoint:
        for option, unset in _CLASSIFIER_ONLY.items():
            if getattr(args, option) != unset:
                raise ConfigError(
                    f"--{option.replace('_', '-')} is for the default classifier; leave it out with --module and --checkpoint"
                )
        if args.output is None:
            raise ConfigError("say where the files go with --output DIR (inference/ is the default classifier's)")
    if not args.module and (args.input_spec or args.params):
        given = "--input-spec" if args.input_spec else "--params"
        raise ConfigError(f"{given} goes with --module package.module:function")
    _check_sizes(args)


def _check_sizes(args: argparse.Namespace) -> None:
    for option, size in (("--image-size", args.image_size), ("--resize-short", args.resize_short)):
        if size is not None and not _MIN_SIZE_PX <= size <= _MAX_SIZE_PX:
            raise ConfigError(f"{option} must be from {_MIN_SIZE_PX} to {_MAX_SIZE_PX}, got {size}")
    if args.resize_short is not None and args.resize_short < (args.image_size or DEFAULT_SIZE_PX):
        raise ConfigError(f"--resize-short {args.resize_short} is less than --image-size: the crop would not fit into the picture")
    if args.expect_class is not None and not 0 <= args.expect_class < 1000:
        raise ConfigError(f"--expect-class must be from 0 to 999, got {args.expect_class}")


if __name__ == "__main__":
    sys.exit(main())
