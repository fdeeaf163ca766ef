import json

import pytest

from hubserve.engines.parity import TOLERANCE
from hubserve.engines.selection_policy import TIE, Trial, decide, is_close, ms_text

DATE = "2026-11-21"


def ort(*ms, **more):
    return trial("onnxruntime", *ms, **more)


def ov(*ms, **more):
    return trial("openvino", *ms, **more)


def paddle(*ms, **more):
    return trial("paddle", *ms, **{"difference": 0.0, **more})


def trial(engine, *ms, **more):
    return Trial(engine, dict(zip((1, 8), ms, strict=False)), **{"difference": 1e-6, **more})


def failed(engine, why="it crashed.", **more):
    return Trial(engine, left_out=why, **more)


def chosen(*trials, reference="paddle"):
    return decide(trials, reference, 1, DATE).engine


@pytest.mark.parametrize(
    ("trials", "engine"),
    [
        ((ort(9, 10), ov(12, 11), paddle(31, 25)), "onnxruntime"),
        ((ort(9, 10), ov(12, 8), paddle(31, 25)), "openvino"),
        ((ort(9, 10), ov(12, 8), paddle(31, 2)), "paddle"),
        ((ort(9), ov(12, 11), paddle(31, 25)), "onnxruntime"),
        ((paddle(31, 25),), "paddle"),
        ((ov(99, 99),), "openvino"),
    ],
    ids=["at size 1", "at size 8", "the reference", "measured at one size only", "alone", "alone without the reference"],
)
def test_the_fastest_at_its_own_best_batch_size_is_taken(trials, engine):
    assert chosen(*trials) == engine


def test_within_the_tie_the_earlier_one_is_taken_and_beyond_it_the_faster_one():
    assert chosen(ort(10.0), ov(10.0), paddle(10.0)) == "onnxruntime"
    assert chosen(ort(10.0 * TIE), ov(11.0), paddle(10.0)) == "onnxruntime"
    assert chosen(ort(10.0 * TIE + 0.01), ov(10.0 * TIE), paddle(10.0)) == "openvino"
    assert chosen(ort(10.0 * TIE + 0.01), ov(10.0 * TIE + 0.01), paddle(10.0)) == "paddle"
    # each is within the tie of the next, but only the fastest counts
    assert chosen(ort(10.9), ov(10.4), paddle(10.0)) == "openvino"


def test_an_engine_that_is_left_out_is_not_taken_however_fast_and_does_not_make_a_tie():
    wrong = ort(1, 1, difference=0.5, left_out="output 0 differs by up to 5.0e-01, more than 1.0e-04")
    assert chosen(wrong, ov(12), paddle(31)) == "openvino"
    assert chosen(failed("onnxruntime"), failed("openvino"), paddle(31)) == "paddle"
    assert chosen(ort(10), ov(12), failed("paddle")) == "onnxruntime"


@pytest.mark.parametrize("reference", ["paddle", "onnxruntime"])
def test_the_reference_is_taken_where_none_may_be(reference):
    verdict = decide([failed("onnxruntime"), failed("openvino", "it hung")], reference, 1, DATE)
    assert verdict.engine == reference
    assert verdict.reason == f"auto: {reference}, the reference, as none could be taken; not onnxruntime: it crashed; not openvino: it hung"
    assert verdict.measured is None


@pytest.mark.parametrize(
    ("trials", "threads", "reason"),
    [
        (
            (ort(9.44, 10), ov(12.1, 13, difference=3.06e-6), paddle(31.02, 40)),
            1,
            "auto: onnxruntime, 9.4 ms per item at best (openvino 12.1, paddle 31.0; all agree within 3.1e-06), "
            "measured 2026-11-21 with 1 thread",
        ),
        (
            (failed("onnxruntime"), ov(124.3), paddle(310)),
            2,
            "auto: openvino, 124 ms per item at best (paddle 310; all agree within 1.0e-06), measured 2026-11-21 with 2 threads"
            "; not onnxruntime: it crashed",
        ),
        (
            (ort(10.3), paddle(10)),
            1,
            "auto: onnxruntime, 10.3 ms per item at best (paddle 10.0; within 5% the first of onnxruntime, paddle is taken; "
            "all agree within 1.0e-06), measured 2026-11-21 with 1 thread",
        ),
        (
            (ov(0.0123), failed("paddle", "no such operator")),
            1,
            "auto: openvino, 0.012 ms per item at best (it agrees with paddle within 1.0e-06), measured 2026-11-21 with 1 thread"
            "; not paddle: no such operator",
        ),
        (
            (failed("onnxruntime"), failed("openvino", "it hung"), paddle(31)),
            1,
            "auto: paddle, 31.0 ms per item at best, measured 2026-11-21 with 1 thread; not onnxruntime: it crashed; not openvino: it hung",
        ),
    ],
    ids=["all agree", "one failed", "tie", "the reference was left out", "the reference alone"],
)
def test_the_reason_gives_the_figures_of_all(trials, threads, reason):
    assert decide(trials, "paddle", threads, DATE).reason == reason


def test_without_paddle_the_reason_says_what_was_compared_with():
    reason = decide([ort(9, difference=0.0), ov(12)], "onnxruntime", 1, DATE).reason
    assert "(openvino 12.0; all agree within 1.0e-06, compared with onnxruntime)" in reason


def test_the_record_keeps_every_figure_and_is_json():
    nan = ort(1, 2, difference=float("nan"), left_out="output 0 differs by up to nan")
    record = decide([nan, failed("openvino"), paddle(31.25, 25.5)], "paddle", 2, DATE).measured
    assert record == {
        "date": DATE,
        "threads": 2,
        "reference": "paddle",
        "tolerance": TOLERANCE,
        "engines": {
            "onnxruntime": {"ms_per_item": {"1": 1, "8": 2}, "difference": None, "left_out": "output 0 differs by up to nan"},
            "openvino": {"ms_per_item": {}, "left_out": "it crashed."},
            "paddle": {"ms_per_item": {"1": 31.25, "8": 25.5}, "difference": 0.0},
        },
    }
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_a_verdict_lasts_unless_a_trial_may_end_otherwise():
    assert decide([failed("onnxruntime"), paddle(31)], "paddle", 1, DATE).lasting
    assert not decide([failed("onnxruntime", lasting=False), paddle(31)], "paddle", 1, DATE).lasting
    assert not decide([failed("onnxruntime", lasting=False)], "paddle", 1, DATE).lasting


@pytest.mark.parametrize(("ms", "text"), [(1234.5, "1234"), (99.94, "99.9"), (1.04, "1.0"), (0.0123, "0.012")])
def test_milliseconds_are_told_in_the_digits_that_matter(ms, text):
    assert ms_text(ms) == text


def test_of_engines_that_are_equally_fast_by_the_clock_one_that_takes_less_of_the_processors_is_taken():
    by_clock = (ort(10.0, processor_ms={1: 19.0}), ov(10.1, processor_ms={1: 12.0}), paddle(10.0, processor_ms={1: 12.1}))
    assert decide(by_clock, "paddle", 2, DATE).engine == "openvino"
    assert decide((ort(10.0, processor_ms={1: 19.0}), ov(12.0, processor_ms={1: 12.0})), "paddle", 2, DATE).engine == "onnxruntime"
    assert decide(by_clock, "paddle", 2, DATE).measured["engines"]["openvino"]["processor_ms"] == {"1": 12.0}


def test_a_choice_is_close_where_the_second_is_within_the_tie():
    assert is_close([ort(10), ov(10 * TIE), paddle(30)])
    assert not is_close([ort(10), ov(10 * TIE + 0.01)])
    assert not is_close([ort(10), ov(10, left_out="wrong")])
    assert not is_close([ort(10)])
