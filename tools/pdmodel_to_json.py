"""Translate inference files of Paddle's old format (``.pdmodel``) to Paddle 3's (``.json``): ``pdmodel_to_json.py SOURCE TARGET``, both
without their endings.
"""

import os
import sys
import warnings


def translate(source: str, target: str) -> None:
    """Load the old program as a new one, and save that."""
    # Read the old format, but hand over the program in the new representation. Paddle reads these when it is imported.
    os.environ.update({"FLAGS_enable_pir_api": "0", "FLAGS_enable_pir_in_executor": "1"})
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.simplefilter("ignore")
    import paddle

    paddle.enable_static()
    executor = paddle.static.Executor(paddle.CPUPlace())
    program, input_names, outputs = paddle.static.load_inference_model(source, executor)
    with paddle.pir_utils.IrGuard():
        operators = program.global_block().ops
        inputs = {operator.attrs()["name"]: operator.result(0) for operator in operators if operator.name() == "pd_op.data"}
        paddle.static.save_inference_model(target, [inputs[name] for name in input_names], outputs, executor, program=program)


if __name__ == "__main__":
    translate(*sys.argv[1:])
