"""``ImageClassifierModule``: pictures to classes and their probabilities."""

from typing import Any, Dict, List

import numpy as np
from paddlehub.module.batches import computing, in_batches
from paddlehub.module.command_line import CommandLine
from paddlehub.module.image_serving import ImageServing
from paddlehub.module.not_trained import NotTrained
from paddlehub.module.run_module import RunModule
from paddlehub.utils.utils import base64_to_cv2

from hubserve.module import runnable, serving


class ImageClassifierModule(NotTrained, RunModule, CommandLine, ImageServing):
    """Layer with ``labels``, ``transforms(picture) -> (3, H, W)`` and ``forward(batch) -> (scores, features)``."""

    labels: Any
    transforms: Any

    def predict(self, images: List[Any], batch_size: int = 1, top_k: int = 1) -> List[Dict[str, float]]:
        """Classify pictures.

        Args:
            images: BGR arrays, or paths.
            batch_size: the number of pictures computed at once.
            top_k: the number of classes per picture.
        Returns:
            For each picture, label to probability, the best first.
        """
        import paddle
        import paddle.nn.functional

        results = []
        with computing(self):
            for batch in in_batches(images, batch_size):
                prepared = np.array([self.transforms(image) for image in batch], dtype="float32")
                scores, _ = self(paddle.to_tensor(prepared))
                for row in paddle.nn.functional.softmax(scores, axis=1).numpy():
                    best = np.argsort(row)[::-1][:top_k]
                    results.append({self.labels[int(index)]: row[index] for index in best})
        return results

    @serving
    def serving_method(self, images: List[str], top_k: int = 1, **settings: Any) -> Dict[str, Any]:
        """Classify pictures in base64: return ``{"data": [{label: probability, ...}, ...]}``."""
        pictures = [base64_to_cv2(image) for image in images]
        found = self.predict(images=pictures, top_k=int(top_k), **settings)
        return {"data": [{label: float(probability) for label, probability in each.items()} for each in found]}

    @runnable
    def run_cmd(self, argvs: List[str]) -> Any:
        """Answer ``hub run``."""
        args = self.parse_command(argvs)
        return self.predict(images=[args.input_path], top_k=args.top_k)

    def add_module_config_arg(self) -> None:
        """Declare ``--top_k``."""
        self.arg_config_group.add_argument("--top_k", type=int, default=1, help="top_k classification result.")
