"""Test functions on Paddle's own objects, with a real Paddle."""

import json
from pathlib import Path

from tests.conftest import MODULES
from tests.unit.compat.script import run_script

QUIET = "import warnings\nwarnings.simplefilter('ignore')\n"


def run_with_paddle(script: str, home: Path, **environ: str) -> str:
    """Return the last line that a script prints; Paddle itself may print before."""
    lines = [line.removeprefix("    ") for line in script.strip("\n").splitlines()]
    return run_script(QUIET + "\n".join(lines), home, **environ).splitlines()[-1]


def test_a_transformer_module_has_four_answers(home: Path) -> None:
    script = f"""
    import json
    import paddlehub as hub
    def make(task):
        return hub.Module(directory={str(MODULES / "published" / "tiny_bert")!r}, task=task, label_map={{0: "short", 1: "long"}})
    module = make("seq-cls")
    seen = [module.predict([["ab cd"], ["abcdef"], ["abc"]], max_seq_len=8, batch_size=2)]
    for task, data in (("text-matching", [["ab", "cd"], ["ab", "abc"]]), ("token-cls", [["ab\\x02abcdef"]]), (None, [["ab"], ["abc"]])):
        module.task = task
        seen.append(module.predict_method(data, max_seq_len=4))
    module.task = "cooking"
    for call in (lambda: module.predict([["ab"]]), lambda: make("seq-cls").predict([[]]), lambda: make("seq-cls").get_embedding([["ab"]])):
        try:
            call()
        except RuntimeError as error:
            seen.append(str(error))
    print(json.dumps(seen))
    """
    classes, matches, words, vectors, unknown, nothing, wrong = json.loads(run_with_paddle(script, home))
    assert classes == ["short", "long", "short"]
    assert matches == ["long", "short"], "the second label stands for a match"
    assert words[0][:2] == ["short", "long"]
    assert [each[0] for each in vectors] == [[5.0], [6.0]]
    assert len(vectors[0][1]) == 128, "vectors are made with the usual length"
    assert "'cooking' is unknown" in unknown
    assert "one text or two" in nothing
    assert "task=None" in wrong


def test_static_mode_holds_inside_and_ends_also_after_an_error(home: Path) -> None:
    script = """
    import json, paddle
    from paddlehub.compat.paddle_utils import run_in_static_mode, static_mode_guard
    from paddlehub.module.module import RunModule, moduleinfo
    @moduleinfo(name="a", version="1")
    class A:
        def mode(self):
            return paddle.in_dynamic_mode()
    @moduleinfo(name="b", version="1")
    class B(paddle.nn.Layer):
        def mode(self):
            return paddle.in_dynamic_mode()
    seen = [A().mode(), B().mode(), run_in_static_mode(paddle.in_dynamic_mode)()]
    try:
        with static_mode_guard():
            raise ValueError
    except ValueError:
        seen.append(paddle.in_dynamic_mode())
    print(json.dumps([seen, issubclass(A, RunModule), issubclass(B, RunModule)]))
    """
    assert json.loads(run_with_paddle(script, home)) == [[False, True, False, True], True, True]


def test_variables_of_a_program_are_renamed_and_described(home: Path) -> None:
    script = """
    import json, paddle
    from paddlehub.common.paddle_helper import add_vars_prefix, get_variable_info, remove_vars_prefix
    paddle.enable_static()
    program = paddle.static.Program()
    with paddle.static.program_guard(program):
        x = paddle.static.data("x", [-1, 3], "float32")
        y = paddle.nn.functional.relu(x)
    inside = y.name
    add_vars_prefix(program, "@HUB_m@", excludes=["x"])
    info = get_variable_info(program.global_block().var("@HUB_m@" + inside))
    renamed = sorted(program.global_block().vars)
    out = paddle.static.Executor().run(program, {"x": [[-1.0, 0.0, 2.0]]}, ["@HUB_m@" + inside])[0].tolist()
    remove_vars_prefix(program, "@HUB_m@")
    back = inside in program.global_block().vars
    print(json.dumps([renamed == sorted(["x", "@HUB_m@" + inside]), info["dtype"], list(info["shape"]), back, out]))
    """
    found = json.loads(run_with_paddle(script, home, FLAGS_enable_pir_api="0"))
    assert found == [True, "float32", [-1, 3], True, [[0.0, 0.0, 2.0]]]


def test_features_of_pictures(home: Path) -> None:
    script = """
    import json, numpy as np, paddle
    from paddlehub.vision import transforms as T, utils
    gram = utils.gram_matrix(paddle.to_tensor(np.arange(8, dtype="float32").reshape(1, 2, 2, 2)))
    mean = utils.subtract_imagenet_mean_batch(paddle.full([1, 3, 1, 1], 200.0)).flatten().tolist()
    mask = paddle.to_tensor(np.arange(4 * 6).reshape(1, 1, 4, 6).astype("int32"))
    back = utils.reverse_transform(mask, (8, 8), [T.Resize((4, 2)), T.Padding((6, 4))])
    print(json.dumps([gram.tolist(), mean, list(back.shape), str(back.dtype), back[0, 0, 0].tolist()]))
    """
    gram, mean, shape, dtype, row = json.loads(run_with_paddle(script, home))
    assert gram == [[[14 / 8, 38 / 8], [38 / 8, 126 / 8]]]
    assert [round(each, 2) for each in mean] == [96.06, 83.22, 76.32]
    assert (shape, "int32" in dtype, row) == ([1, 1, 8, 8], True, [0, 0, 1, 1, 2, 2, 3, 3])
