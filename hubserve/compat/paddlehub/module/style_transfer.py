"""``StyleTransferModule``: pictures in the style of another one."""

from typing import Any, ClassVar, Dict, List

import numpy as np
from paddlehub.module.batches import computing, in_batches
from paddlehub.module.command_line import CommandLine, as_bool
from paddlehub.module.image_serving import ImageServing
from paddlehub.module.not_trained import NotTrained
from paddlehub.module.run_module import RunModule
from paddlehub.module.saved_pictures import new_path
from paddlehub.utils.utils import base64_to_cv2, cv2_to_base64

from hubserve.kinds.example_picture import PICTURE
from hubserve.module import runnable, serving


class StyleTransferModule(NotTrained, RunModule, CommandLine, ImageServing):
    """Layer with ``transform(picture) -> (3, H, W)``, ``setTarget(style)`` and ``forward(batch) -> (N, 3, H, W)``, 0 to 255."""

    transform: Any
    setTarget: Any  # noqa: N815 - the published name
    serving_example: ClassVar[Dict[str, Any]] = {"images": [[PICTURE], PICTURE]}

    def predict(
        self,
        origin: List[Any],
        style: Any,
        batch_size: int = 1,
        visualization: bool = True,
        save_path: str = "style_tranfer",
    ) -> List[np.ndarray]:
        """Draw pictures in another style.

        Args:
            origin: BGR arrays, or paths.
            style: the picture with that style, an array or a path.
            batch_size: the number of pictures computed at once.
            visualization: save the results.
            save_path: the folder to save them in.
        Returns:
            For each, uint8 (H, W, 3) BGR.
        """
        import cv2
        import paddle

        drawn: List[np.ndarray] = []
        with computing(self):
            self.setTarget(paddle.to_tensor(self.transform(style).astype("float32")).unsqueeze(0))
            for batch in in_batches(origin, batch_size):
                prepared = np.array([self.transform(image) for image in batch], dtype="float32")
                output = self(paddle.to_tensor(prepared)).numpy()
                drawn += list(np.clip(output.transpose(0, 2, 3, 1), 0, 255).astype(np.uint8))
        if visualization:
            for each in drawn:
                cv2.imwrite(new_path(save_path, "style_"), each)
        return drawn

    @serving
    def serving_method(self, images: List[Any], visualization: bool = False, **settings: Any) -> Dict[str, List[str]]:
        """Answer ``[[picture, ...], style]`` in base64 with ``{"data": [picture, ...]}``, JPEGs in base64."""
        pictures, style = [base64_to_cv2(image) for image in images[0]], base64_to_cv2(images[1])
        drawn = self.predict(origin=pictures, style=style, visualization=visualization, **settings)
        return {"data": [cv2_to_base64(each) for each in drawn]}

    @runnable
    def run_cmd(self, argvs: List[str]) -> Any:
        """Answer ``hub run``."""
        args = self.parse_command(argvs)
        return self.predict([args.input_path], args.style_path, visualization=args.visualization, save_path=args.output_dir)

    def add_module_config_arg(self) -> None:
        """Declare ``--output_dir`` and ``--visualization``."""
        self.arg_config_group.add_argument("--output_dir", default="style_tranfer", help="The directory to save output images.")
        self.arg_config_group.add_argument("--visualization", type=as_bool, default=True, help="whether to save output as images.")

    def add_module_input_arg(self) -> None:
        """Declare ``--input_path`` and ``--style_path``."""
        super().add_module_input_arg()
        self.arg_input_group.add_argument("--style_path", type=str, required=True, help="path to style image.")
