"""The three exports: write to a staging folder, check the files as a user would run them, then move them into place."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import default_classifier
import own_model
import paddle_export
from default_classifier import LABEL_FILE
from paddle_export import GRAPHS, WEIGHTS

from hubserve.types import ANY, TensorSpec

Say = Callable[[str], None]

#: Files and layer run different kernels.
_SCORE_TOLERANCE = 1e-4
#: A few pixels in ten thousand are rounded another way inside the graph than by OpenCV, by one step of 255.
_FUSED_SCORE_TOLERANCE = 5e-3


class Classifier(NamedTuple):
    """Form of the default classifier.

    Attributes:
        size_px: height and width of what the network sees.
        short_px: length of the short side before the crop; None: in proportion.
        fused: take whole pictures.
    """

    size_px: int
    short_px: int | None
    fused: bool

    @property
    def resize_px(self) -> int:
        """The length of the short side before the crop."""
        return self.short_px or default_classifier.short_side_px(self.size_px)

    @property
    def spec(self) -> TensorSpec:
        """The input of the exported files."""
        if self.fused:
            return TensorSpec("image", "uint8", (ANY, ANY, ANY, 3))
        return TensorSpec("x", "float32", (ANY, 3, self.size_px, self.size_px))


def export_classifier(wanted: Classifier, output: Path, form: str, photo: Path | None, expect_class: int | None, say: Say) -> list[Path]:
    """Export the default classifier and its label file.

    Args:
        wanted: which form of it.
        output: folder for the files.
        form: ``pdmodel``, ``json`` or ``both``.
        photo: what to check the files on; None: scikit-image's cat, where it is installed.
        expect_class: the photo's class; None: those of the cat.
        say: shows one line of progress.

    Raises:
        HubError: something is missing or damaged, or the files do not answer as they must; nothing was written.
    """
    labels = default_classifier.label_lines()
    network = _build(wanted.size_px, form, say)
    with paddle_export.staging(output) as staged:
        say(f"writing {_named(form)}")
        paddle_export.save_layer(_fuse(network, wanted) if wanted.fused else network, [wanted.spec], staged, form)
        (staged / LABEL_FILE).write_text("\n".join(labels) + "\n", "utf-8")
        photo = photo or default_classifier.cat_photo()
        if photo is None:
            say("not checked: scikit-image and its photo are not installed. Run: pip install scikit-image, or give --check-image FILE")
        else:
            _check(network, wanted, [staged / graph for graph in GRAPHS[form]], photo, expect_class, labels, say)
        return paddle_export.publish(staged, output, [LABEL_FILE, WEIGHTS, *GRAPHS[form]])


def _build(size_px: int, form: str, say: Say) -> Any:
    from torch_file import read_state_dict

    say("reading the published weights")
    arrays = read_state_dict(default_classifier.weights_file())
    say("starting Paddle")
    paddle_export.import_paddle(form)
    from efficientnet_lite0 import EfficientNetLite0, load_published

    say(f"building EfficientNet-Lite0 for {size_px} x {size_px}")
    network = EfficientNetLite0(size_px)
    load_published(network, arrays)
    network.eval()
    return network


def _fuse(network: Any, wanted: Classifier) -> Any:
    from fused_preprocess import FusedPreprocess

    return FusedPreprocess(network, wanted.size_px, wanted.resize_px)


def _check(
    network: Any, wanted: Classifier, graphs: Sequence[Path], photo: Path, expect_class: int | None, labels: list[str], say: Say
) -> None:
    import paddle

    picture = default_classifier.read_photo(photo)
    prepared = default_classifier.prepare(picture, wanted.size_px, wanted.resize_px)
    reference = network(paddle.to_tensor(prepared)).numpy()[0]
    array = picture[None] if wanted.fused else prepared
    if expect_class is not None:
        expected = [expect_class]
    else:
        # the cat's order is known for the standard preprocessing only; otherwise the network itself says what is right
        is_standard = (wanted.size_px, wanted.resize_px) == (default_classifier.DEFAULT_SIZE_PX, 256)
        expected = default_classifier.CAT_CLASSES if is_standard else []
    tolerance = _FUSED_SCORE_TOLERANCE if wanted.fused else _SCORE_TOLERANCE
    for graph in graphs:
        for onednn in (False, True):
            say(f"checking {graph.name} on {photo.name}, {'with' if onednn else 'without'} oneDNN")
            (scores,) = paddle_export.Predictor(graph, onednn).run({wanted.spec.name: array})
            default_classifier.check_scores(scores[0], reference, expected, tolerance)
        difference = abs(scores[0] - reference).max()
        say(f"{graph.name} is right; its scores differ from the network's by at most {difference:.1e}")
    for number in default_classifier.best_classes(reference):
        say(f"  {scores[0][number]:.5f}  {labels[number]}")


def export_module(target: str, spec_texts: Sequence[str], params: Path | None, output: Path, form: str, say: Say) -> list[Path]:
    """Export a person's own layer.

    Args:
        target: ``package.module:function``.
        spec_texts: one ``name:dtype:lengths`` per input.
        params: its weights, or None.
        output: folder for the files.
        form: ``pdmodel``, ``json`` or ``both``.
        say: shows one line of progress.

    Raises:
        HubError: the layer cannot be made or exported; nothing was written.
    """
    specs = own_model.parse_input_specs(spec_texts)
    say("starting Paddle")
    paddle_export.import_paddle(form)
    say(f"making the layer of {target}")
    layer = own_model.load_layer(target, params, specs)
    with paddle_export.staging(output) as staged:
        say(f"writing {_named(form)}")
        paddle_export.save_layer(layer, specs, staged, form)
        for graph in GRAPHS[form]:
            own_model.compare(layer, specs, staged / graph, say)
        return paddle_export.publish(staged, output, [WEIGHTS, *GRAPHS[form]])


def export_checkpoint(given: str, output: Path, form: str, say: Say) -> list[Path]:
    """Export what ``paddle.jit.save`` wrote.

    Args:
        given: its prefix or folder.
        output: folder for the files.
        form: ``pdmodel``, ``json`` or ``both``.
        say: shows one line of progress.

    Raises:
        HubError: it cannot be read or exported; nothing was written.
    """
    checkpoint = own_model.find_checkpoint(given)
    say("starting Paddle")
    paddle_export.import_paddle(form)
    with paddle_export.staging(output) as staged:
        say(f"writing {_named(form)} from {checkpoint.graph}")
        own_model.export_checkpoint(checkpoint, staged, form)
        for name in GRAPHS[form]:
            predictor = paddle_export.Predictor(staged / name, onednn=False)
            say(f"{name} loads: inputs {', '.join(predictor.inputs)}; outputs {', '.join(predictor.outputs)}")
        return paddle_export.publish(staged, output, [WEIGHTS, *GRAPHS[form]])


def _named(form: str) -> str:
    return " and ".join(GRAPHS[form])
