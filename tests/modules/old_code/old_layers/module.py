import paddle
import paddle.nn as nn
from paddle.nn import AdaptiveAvgPool2d, Conv2d, MaxPool2d
from paddle.nn.initializer import MSRA
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(name="old_layers", version="1.0.0", type="CV/test", author="x", author_email="", summary="layers of the betas of Paddle 2")
class OldLayers(nn.Layer):
    def __init__(self, **kwargs):
        super().__init__()
        self.conv = Conv2d(1, 2, 3, padding=1, weight_attr=paddle.ParamAttr(initializer=MSRA()))
        self.pool = MaxPool2d(kernel_size=2, stride=2)
        self.average = AdaptiveAvgPool2d(1)

    @serving
    def serving_method(self, size):
        picture = paddle.ones([1, 1, size, size])
        sides = paddle.elementwise_add(x=self.conv(picture), y=self.conv(picture), act="relu")
        small = nn.functional.pool2d(self.pool(sides), pool_size=2, pool_type="avg", pool_stride=2)
        return [list(small.shape), list(self.average(nn.functional.hard_swish(small)).shape)]
