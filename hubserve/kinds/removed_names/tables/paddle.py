"""Names that Paddle removed in 2.0 to 3.x."""

from typing import Dict

_OWN = "hubserve.kinds.removed_names.replacements.paddle"

#: layers whose names ended in a small d in the betas of 2.0
_LAYERS = {
    "123": ["AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool", "BatchNorm", "Conv", "InstanceNorm", "MaxPool"],
    "23": ["Dropout"],
}

_ELEMENTWISE = ("add", "sub", "mul", "div", "max", "min", "pow", "mod", "floordiv")

NAMES: Dict[str, str] = {
    **{
        f"paddle.nn.{name}{number}d": f"paddle.nn:{name}{number}D"
        for numbers, names in _LAYERS.items()
        for number in numbers
        for name in names
    },
    **{f"paddle.nn.ConvTranspose{number}d": f"paddle.nn:Conv{number}DTranspose" for number in "123"},
    **{
        f"paddle.elementwise_{name}": f"{_OWN}:elementwise_{name}"
        for name in ["add", "sub", "mul", "div", "max", "min", "pow", "mod", "floordiv"]
    },
    **{f"paddle.reduce_{name}": f"{_OWN}:reduce_{name}" for name in ["sum", "mean", "max", "min", "prod", "all", "any"]},
    **{f"paddle.{name}": f"paddle.static:{name}" for name in ["Executor", "Program", "CompiledProgram"]},
    **{f"paddle.{name}": f"paddle.static:{name}" for name in ["default_main_program", "default_startup_program"]},
    **{f"paddle.{name}": f"paddle.static:{name}" for name in ["global_scope", "scope_guard", "program_guard", "name_scope"]},
    "paddle.crop_tensor": "paddle:crop",
    "paddle.disable_dygraph": "paddle:enable_static",
    "paddle.enable_dygraph": "paddle:disable_static",
    "paddle.enable_imperative": "paddle:disable_static",
    "paddle.disable_imperative": "paddle:enable_static",
    "paddle.in_dygraph_mode": "paddle:in_dynamic_mode",
    "paddle.in_imperative_mode": "paddle:in_dynamic_mode",
    "paddle.fill_constant": f"{_OWN}:fill_constant",
    "paddle.manual_seed": "paddle:seed",
    "paddle.to_variable": f"{_OWN}:to_variable",
    "paddle.nn.HSigmoid": f"{_OWN}:hard_sigmoid_layer",
    "paddle.nn.ReflectionPad2d": f"{_OWN}:reflection_pad",
    "paddle.nn.SiLU": "paddle.nn:Silu",
    "paddle.nn.UpSample": "paddle.nn:Upsample",
    "paddle.nn.functional.bce_loss": "paddle.nn.functional:binary_cross_entropy",
    "paddle.nn.functional.hard_shrink": "paddle.nn.functional:hardshrink",
    "paddle.nn.functional.hard_sigmoid": f"{_OWN}:hard_sigmoid",
    "paddle.nn.functional.hard_swish": f"{_OWN}:hard_swish",
    "paddle.nn.functional.l2_normalize": f"{_OWN}:l2_normalize",
    "paddle.nn.functional.logsigmoid": "paddle.nn.functional:log_sigmoid",
    "paddle.nn.functional.pool2d": f"{_OWN}:pool2d",
    "paddle.nn.functional.tanh_shrink": "paddle.nn.functional:tanhshrink",
    "paddle.nn.initializer.MSRA": f"{_OWN}:msra",
    "paddle.nn.initializer.MSRAInitializer": f"{_OWN}:msra",
    "paddle.nn.initializer.NormalInitializer": "paddle.nn.initializer:Normal",
    "paddle.nn.initializer.UniformInitializer": "paddle.nn.initializer:Uniform",
    "paddle.nn.initializer.Xavier": f"{_OWN}:xavier",
    "paddle.nn.initializer.XavierInitializer": f"{_OWN}:xavier",
    # the predictor of Paddle 1, which still exists under another name
    **{f"paddle.inference.{name}": f"paddle.base.core:{name}" for name in ["AnalysisConfig", "PaddleBuf", "PaddleDType", "PaddleTensor"]},
    "paddle.inference.create_paddle_predictor": "paddle.base.core:create_paddle_predictor",
    # the programming interface of Paddle 1
    "paddle.fluid": "",
}

WRAPPED: Dict[str, str] = {"paddle.inference.Config": "hubserve.kinds.removed_names.replacements.paddle_inference:config"}

#: The parts of ``paddle.fluid`` that still exist, since Paddle 2.6 under another name. They do not replace it: programs that were written
#: with it need more. Packages such as ``ppgan`` need a name or two of it, and no more is available where Paddle 1 cannot be installed.
LEFT_OVER: Dict[str, str] = {
    "paddle.fluid": "paddle.base",
    "paddle.fluid.dataloader": "paddle.io.dataloader",
    "paddle.fluid.dygraph.parallel": "paddle.distributed.parallel",
    "paddle.fluid.initializer": "hubserve.kinds.removed_names.replacements.fluid_initializer",
    "paddle.fluid.layers": "hubserve.kinds.removed_names.replacements.fluid_layers",
    "paddle.fluid.layers.nn": "hubserve.kinds.removed_names.replacements.fluid_layers",
    "paddle.fluid.optimizer": "paddle.optimizer",
    "paddle.fluid.regularizer": "paddle.regularizer",
}
