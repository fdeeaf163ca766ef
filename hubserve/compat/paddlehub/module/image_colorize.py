"""``ImageColorizeModule``: grey pictures to coloured ones."""

from typing import Any, Dict, List

import numpy as np
from paddlehub.module.batches import computing, in_batches
from paddlehub.module.command_line import CommandLine, as_bool
from paddlehub.module.image_serving import ImageServing
from paddlehub.module.not_trained import NotTrained
from paddlehub.module.run_module import RunModule
from paddlehub.module.saved_pictures import new_path
from paddlehub.utils.utils import base64_to_cv2, cv2_to_base64
from paddlehub.vision.checks import read_bgr
from paddlehub.vision.color import LAB2RGB

from hubserve.module import runnable, serving


class ImageColorizeModule(NotTrained, RunModule, CommandLine, ImageServing):
    """A layer that finds the colours of a grey picture.

    It has ``transforms(picture) -> LAB (3, H, W)``, ``preprocess(batch) -> {"A": lightness, "B": colours, "hint_B", "mask_B"}``,
    all of them tensors, and ``forward(A, hint_B, mask_B) -> (classes, colours)``.
    """

    transforms: Any
    preprocess: Any

    def predict(
        self, images: List[Any], visualization: bool = True, batch_size: int = 1, save_path: str = "colorization"
    ) -> List[Dict[str, np.ndarray]]:
        """Colour pictures.

        Args:
            images: BGR arrays, or paths.
            visualization: save the coloured pictures.
            batch_size: the number of pictures computed at once.
            save_path: the folder to save them in.
        Returns:
            For each, uint8 RGB pictures ``gray``, ``hint``, ``real`` and ``fake_reg``, the coloured one.
        """
        results = []
        with computing(self):
            for batch in in_batches(images, batch_size):
                made = self._color(np.array([self.transforms(image) for image in batch]))
                results += made
                if visualization:
                    for image, each in zip(batch, made):
                        _save(image, each["fake_reg"], save_path)
        return results

    def _color(self, prepared: np.ndarray) -> List[Dict[str, np.ndarray]]:
        inputs = self.preprocess(prepared)
        colors = self(inputs["A"], inputs["hint_B"], inputs["mask_B"])[1].numpy()
        known = {
            "gray": np.zeros(colors.shape, colors.dtype),
            "hint": inputs["hint_B"].numpy(),
            "real": inputs["B"].numpy(),
            "fake_reg": colors,
        }
        pictures = {name: _to_rgb(inputs["A"].numpy(), each) for name, each in known.items()}
        return [{name: each[index] for name, each in pictures.items()} for index in range(len(colors))]

    @serving
    def serving_method(self, images: List[str], visualization: bool = False, **settings: Any) -> Dict[str, Any]:
        """Colour pictures in base64: return ``{"data": [{"gray", "hint", "real", "fake_reg"}, ...]}``, JPEGs of the same size."""
        import cv2

        pictures = [base64_to_cv2(image) for image in images]
        data = []
        for picture, made in zip(pictures, self.predict(images=pictures, visualization=visualization, **settings)):
            size = (picture.shape[1], picture.shape[0])
            data.append({name: cv2_to_base64(cv2.resize(each[:, :, ::-1], size)) for name, each in made.items()})
        return {"data": data}

    @runnable
    def run_cmd(self, argvs: List[str]) -> Any:
        """Answer ``hub run``."""
        args = self.parse_command(argvs)
        return self.predict(images=[args.input_path], visualization=args.visualization, save_path=args.output_dir)

    def add_module_config_arg(self) -> None:
        """Declare ``--output_dir`` and ``--visualization``."""
        self.arg_config_group.add_argument("--output_dir", default="colorization", help="save visualization result.")
        self.arg_config_group.add_argument("--visualization", type=as_bool, default=True, help="whether to save output as images.")


def _to_rgb(lightness: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Convert scaled (N, 1, H, W) and (N, 2, H, W) to uint8 (N, H, W, 3)."""
    rgb = LAB2RGB()(np.concatenate((lightness, colors), axis=1))
    return (np.clip(np.transpose(rgb, (0, 2, 3, 1)), 0, 1) * 255).astype(np.uint8)


def _save(image: Any, colored: np.ndarray, folder: str) -> None:
    import cv2

    height, width = read_bgr(image).shape[:2]
    cv2.imwrite(new_path(folder, "fake_"), cv2.resize(colored[:, :, ::-1], (width, height)))
