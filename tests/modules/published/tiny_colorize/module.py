"""A colorization: everything becomes reddish, as light as it was."""

import paddle
import paddle.nn as nn
import paddlehub.vision.transforms as T
from paddlehub.module.cv_module import ImageColorizeModule
from paddlehub.module.module import moduleinfo


@moduleinfo(name="tiny_colorize", type="CV/image_editing", summary="Colours.", version="1.0.0", meta=ImageColorizeModule)
class TinyColorize(nn.Layer):
    def transforms(self, images):
        return T.Compose([T.Resize((24, 24), interpolation="NEAREST"), T.RGB2LAB()], to_rgb=True)(images)

    def preprocess(self, inputs):
        lab = paddle.to_tensor(inputs.astype("float32"))
        a, b = lab[:, :1], lab[:, 1:]
        return {"A": a, "B": b, "hint_B": paddle.zeros_like(b), "mask_B": paddle.zeros_like(a)}

    def forward(self, input_A, input_B, mask_B):
        reddish = paddle.to_tensor([60 / 110, 20 / 110], dtype="float32").reshape([1, 2, 1, 1])
        return None, paddle.zeros_like(input_B) + reddish
