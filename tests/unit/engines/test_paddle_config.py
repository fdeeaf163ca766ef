import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from hubserve.engines import EngineOptions, find_model_files, load_engine
from hubserve.engines.package_imports import import_paddle
from hubserve.engines.paddle_config import Precision, build_config, gpu_problems, plan
from hubserve.engines.paddle_program import read_program
from hubserve.errors import LoadFailed

GPU = EngineOptions(use_gpu=True, gpu_mem=500, max_batch_size=4)


@pytest.fixture
def files(models):
    return find_model_files(models / "pdmodel" / "classifier")


def planned(files, options):
    return {call.method: call.args for call in plan(files, options, read_program(files.graph))}


def test_the_config_of_a_cpu_answers_what_the_options_say(files):
    paddle = import_paddle()
    program = read_program(files.graph)
    config = build_config(paddle, files, EngineOptions(cpu_num_threads=3), program)
    assert (config.mkldnn_enabled(), config.cpu_math_library_num_threads(), config.ir_optim()) == (True, 3, True)
    assert (config.use_gpu(), config.tensorrt_engine_enabled(), config.glog_info_disabled()) == (False, False, True)
    assert (config.prog_file(), config.params_file()) == (str(files.graph), str(files.weights))
    plain = build_config(paddle, files, EngineOptions(enable_mkldnn=False, ir_optim=False), program)
    assert (plain.mkldnn_enabled(), plain.ir_optim()) == (False, False)


def test_memory_optimisation_is_asked_for_unless_the_program_is_pir_where_it_fails(files, models):
    pir = find_model_files(models / "json" / "classifier")
    assert planned(files, EngineOptions())["enable_memory_optim"] == (True,)
    assert planned(files, EngineOptions(enable_memory_optim=False))["enable_memory_optim"] == (False,)
    assert planned(pir, EngineOptions())["enable_memory_optim"] == (False,)


@pytest.mark.parametrize("form", ["pdmodel", "json"])
@pytest.mark.parametrize(
    "options",
    [
        EngineOptions(ir_optim=False),
        EngineOptions(enable_memory_optim=False),
        EngineOptions(enable_mkldnn=False),
        EngineOptions(enable_mkldnn=False, ir_optim=False, enable_memory_optim=False, cpu_num_threads=2),
    ],
    ids=["no ir_optim", "no memory_optim", "no oneDNN", "none"],
)
def test_every_cpu_setting_gives_the_same_answers(form, options, models, paddle_answers):
    folder = models / form / "classifier"
    inputs = {"x": np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype("float32")}
    np.testing.assert_allclose(load_engine(folder, "paddle", options).run(inputs)[0], paddle_answers(folder, inputs)[0], atol=1e-6)


def test_an_operator_that_onednn_lacks_is_computed_without_it(models, paddle_answers):
    folder = models / "json" / "no_weights"
    engine = load_engine(folder, "paddle", EngineOptions(enable_mkldnn=True))
    inputs = {"image": np.random.default_rng(1).integers(0, 256, (2, 20, 30, 3)).astype("uint8")}
    np.testing.assert_allclose(engine.run(inputs)[0], paddle_answers(folder, inputs)[0], rtol=1e-5)
    np.testing.assert_allclose(engine.run(inputs)[0], paddle_answers(folder, inputs)[0], rtol=1e-5)


def test_the_gpu_plan_takes_memory_device_and_precision_and_leaves_onednn_out(files):
    calls = planned(files, GPU._replace(enable_mkldnn=True))
    assert calls["enable_use_gpu"] == (500, 0, Precision("Float32"))
    assert not {"enable_mkldnn", "disable_gpu", "enable_tensorrt_engine"} & set(calls)
    assert planned(files, GPU._replace(use_fp16=True))["enable_use_gpu"] == (500, 0, Precision("Half"))


def test_the_tensorrt_plan_has_the_batch_sizes_and_the_precision(files, models):
    calls = planned(files, GPU._replace(use_tensorrt=True, use_fp16=True))
    workspace_bytes, max_batch_size, _, precision, use_static, use_calibration = calls["enable_tensorrt_engine"]
    assert (workspace_bytes, max_batch_size, precision, use_static, use_calibration) == (1 << 30, 4, Precision("Half"), False, False)
    smallest, largest, usual = calls["set_trt_dynamic_shape_info"]
    assert (smallest, largest, usual) == ({"x": [1, 3, 32, 32]}, {"x": [4, 3, 32, 32]}, {"x": [4, 3, 32, 32]})
    any_size = find_model_files(models / "pdmodel" / "no_weights")
    assert "set_trt_dynamic_shape_info" not in planned(any_size, GPU._replace(use_tensorrt=True))


@pytest.mark.parametrize("options", [GPU, GPU._replace(use_fp16=True), GPU._replace(use_tensorrt=True, use_fp16=True)])
def test_paddles_config_knows_every_planned_call_and_takes_its_arguments(options, files):
    """A Paddle without CUDA only logs enable_use_gpu, and refuses TensorRT by name: both show that the call was understood."""
    paddle = import_paddle()
    for call in plan(files, options, read_program(files.graph)):
        config = paddle.inference.Config(str(files.graph), str(files.weights))
        args = [getattr(paddle.inference.PrecisionType, arg.name) if isinstance(arg, Precision) else arg for arg in call.args]
        if call.method == "enable_tensorrt_engine" and not paddle.is_compiled_with_cuda():
            with pytest.raises(RuntimeError, match="compile with TENSORRT"):
                config.enable_tensorrt_engine(*args)
            continue
        getattr(config, call.method)(*args)
        if call.method == "enable_use_gpu":
            assert config.use_gpu() == paddle.is_compiled_with_cuda()
        if call.method == "set_trt_dynamic_shape_info":
            assert config.tensorrt_dynamic_shape_enabled()


def test_a_paddle_without_tensorrt_says_so(files):
    paddle = import_paddle()
    if paddle.is_compiled_with_cuda():
        pytest.skip("this Paddle may have TensorRT")
    with pytest.raises(LoadFailed, match="refuses 'enable_tensorrt_engine'.*TENSORRT.*use_tensorrt to false"):
        build_config(paddle, files, GPU._replace(use_tensorrt=True), read_program(files.graph))


@pytest.mark.parametrize(
    ("with_cuda", "visible", "count", "says"),
    [
        (False, "0", 0, ["built without CUDA", "paddlepaddle-gpu"]),
        (True, None, 1, ["CUDA_VISIBLE_DEVICES is not set", "export CUDA_VISIBLE_DEVICES=0"]),
        (True, "7", 0, ["no GPU is visible with CUDA_VISIBLE_DEVICES='7'", "nvidia-smi"]),
        (True, "", 0, ["no GPU is visible with CUDA_VISIBLE_DEVICES=''"]),
        (False, None, 0, ["built without CUDA", "CUDA_VISIBLE_DEVICES is not set"]),
        (True, "3", 1, []),
    ],
)
def test_what_keeps_paddle_from_a_gpu_is_said_with_its_remedy(with_cuda, visible, count, says):
    problems = " and ".join(gpu_problems(with_cuda, visible, count))
    assert bool(problems) == bool(says)
    assert all(each in problems for each in says)


@pytest.mark.parametrize("engine", ["paddle", "auto"])
def test_use_gpu_without_a_gpu_is_refused_and_says_what_to_do(engine, models, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(LoadFailed, match="use_gpu is set, but .*CUDA_VISIBLE_DEVICES is not set.*use_gpu to false"):
        load_engine(models / "pdmodel" / "classifier", engine, EngineOptions(use_gpu=True))


def test_importing_paddle_is_quiet_and_keeps_the_handlers_of_signals(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\n"
        "got = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: got.append('SIGTERM'))\n"
        "from hubserve.engines.package_imports import import_paddle\n"
        "import_paddle()\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print(got)\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}  # it handles SIGTERM itself
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        check=False,
        env={**environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "['SIGTERM']\n", "")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
