"""``ImageSegmentationModule``: pictures to masks."""

import os
from typing import Any, List

import numpy as np
from paddlehub.module.batches import computing, in_batches
from paddlehub.module.command_line import CommandLine, as_bool
from paddlehub.module.image_serving import ImageServing
from paddlehub.module.not_trained import NotTrained
from paddlehub.module.run_module import RunModule
from paddlehub.module.saved_pictures import new_path
from paddlehub.utils.utils import base64_to_cv2, cv2_to_base64
from paddlehub.vision import utils
from paddlehub.vision.checks import read_bgr

from hubserve.module import runnable, serving


class ImageSegmentationModule(NotTrained, ImageServing, RunModule, CommandLine):
    """Layer with ``transform(picture) -> ((3, H, W), None)``, ``transforms``, and ``forward(batch) -> [(N, classes, h, w), ...]``."""

    transform: Any
    transforms: Any

    def predict(
        self, images: List[Any], batch_size: int = 1, visualization: bool = True, save_path: str = "seg_result"
    ) -> List[np.ndarray]:
        """Find the class of every pixel.

        Args:
            images: BGR arrays, or paths.
            batch_size: the number of pictures computed at once.
            visualization: save the masks, and the pictures with their masks on top.
            save_path: the folder to save them in.
        Returns:
            For each picture a mask, uint8 (H, W).
        """
        import paddle

        masks: List[np.ndarray] = []
        with computing(self):
            for batch in in_batches(images, batch_size):
                prepared = np.array([self.transform(image)[0] for image in batch], dtype="float32")
                scores = self(paddle.to_tensor(prepared))[0]
                classes = paddle.argmax(scores, axis=1, keepdim=True, dtype="int32")
                for index, image in enumerate(batch):
                    picture = read_bgr(image)
                    mask = utils.reverse_transform(classes[index : index + 1], picture.shape[:2], self.transforms.transforms)
                    masks.append(mask.numpy()[0, 0].astype("uint8"))
                    if visualization:
                        _save(picture, masks[-1], save_path)
        return masks

    @serving
    def serving_method(self, images: List[str], visualization: bool = False, **settings: Any) -> List[str]:
        """Return the masks of pictures in base64, as grey JPEGs in base64."""
        pictures = [base64_to_cv2(image) for image in images]
        return [cv2_to_base64(mask) for mask in self.predict(images=pictures, visualization=visualization, **settings)]

    @runnable
    def run_cmd(self, argvs: List[str]) -> Any:
        """Answer ``hub run``."""
        args = self.parse_command(argvs)
        return self.predict(images=[args.input_path], visualization=args.visualization, save_path=args.output_dir)

    def add_module_config_arg(self) -> None:
        """Declare ``--output_dir`` and ``--visualization``."""
        self.arg_config_group.add_argument("--output_dir", default="seg_result", help="The directory to save output images.")
        self.arg_config_group.add_argument("--visualization", type=as_bool, default=True, help="whether to save output as images.")


def _save(picture: np.ndarray, mask: np.ndarray, folder: str) -> None:
    import cv2

    cv2.imwrite(new_path(os.path.join(folder, "image")), utils.visualize(picture, mask, weight=0.6))
    utils.get_pseudo_color_map(mask).save(new_path(os.path.join(folder, "mask")))
