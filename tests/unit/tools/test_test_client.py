"""tools/test_client.py, run as a person runs it, against a real HTTP server in this process."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from hubserve.vision import encode_picture
from tests.conftest import ROOT
from tests.unit.test_client import classify, ok, running_server

CAT = np.ascontiguousarray(skimage.data.chelsea()[:, :, ::-1])
AVERAGES = r"""The average time of prediction cost: (\d+\.\d{3}) s/image
The average time cost: (\d+\.\d{3}) s/image
The average top-1 score: (\d\.\d{3})
"""


@pytest.fixture(scope="module")
def shared_server():
    with running_server() as running:
        yield running


@pytest.fixture
def server(shared_server):
    shared_server.received.clear()
    shared_server.answer = classify
    return shared_server


@pytest.fixture
def folder(tmp_path):
    """Three pictures, among files that are none."""
    made = tmp_path / "pictures"
    (made / "inner").mkdir(parents=True)
    cv2.imwrite(str(made / "b_cat.png"), CAT)
    (made / "a_cat.JPEG").write_bytes(encode_picture(CAT))
    (made / "c_small.bmp").write_bytes(encode_picture(CAT[:90, :60], ".bmp"))
    (made / "inner" / "d_cat.jpg").write_bytes(encode_picture(CAT))
    (made / "notes.txt").write_text("not a picture")
    return made


def run_tool(*options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(Path("tools") / "test_client.py"), *map(str, options)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_folder_is_classified_in_order_of_name_and_the_averages_follow(server, folder):
    done = run_tool("--server_url", server.url, "--image_file", folder)
    assert (done.returncode, done.stderr) == (0, "")
    line = "File:{}, The result(s): class_ids: [0, 7], scores: [0.9, 0.05], label_names: ['label 0', '猫']\n"
    assert done.stdout.startswith("".join(line.format(name) for name in ("a_cat.JPEG", "b_cat.png", "c_small.bmp")))
    averages = re.fullmatch(AVERAGES, done.stdout.split("\n", 3)[3])
    assert (averages[1], averages[3]) == ("0.500", "0.900")
    assert [each.count() for each in server.received] == [1, 1, 1]


def test_a_picture_is_prepared_as_paddleclas_prepares_it(server, folder):
    assert run_tool("--server_url", server.url, "--image_file", folder / "b_cat.png").returncode == 0
    (received,) = server.received
    resized = cv2.resize(CAT[:, :, ::-1], (385, 256))[16:240, 80:304]
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    expected = (resized.astype(np.float32) * np.float32(1.0 / 255.0) - mean) / std
    np.testing.assert_array_equal(received.array(), expected.transpose(2, 0, 1)[np.newaxis])
    assert received.array().dtype == np.float32


def test_the_options_change_the_batch_the_sizes_and_the_layout(server, folder):
    options = ["--batch_size", 2, "--resize_short", 40, "--crop_size", 32, "--normalize", "False", "--to_chw", "false"]
    done = run_tool("--server_url", server.url, "--image_path", folder, *options)
    assert done.returncode == 0
    assert [(each.array().shape, each.array().dtype) for each in server.received] == [
        ((2, 32, 32, 3), np.uint8),
        ((1, 32, 32, 3), np.uint8),
    ]
    assert [re.search(r"File:(\w+).*class_ids: \[(\d)", each).groups() for each in done.stdout.splitlines()[:3]] == [
        ("a_cat", "0"),
        ("b_cat", "1"),
        ("c_small", "0"),
    ]
    assert "The average top-1 score: 0.867" in done.stdout  # of 0.9, 0.8 and 0.9


def test_unreadable_pictures_are_skipped_with_a_warning_and_the_rest_of_their_batch_goes_on(server, folder):
    (folder / "a_broken.jpg").write_bytes(b"text")
    (folder / "b_empty.png").write_bytes(b"")
    (folder / "z_cut.jpg").write_bytes(encode_picture(CAT)[:5000])
    done = run_tool("--server_url", server.url, "--image_file", folder, "--batch_size", 8)
    assert done.returncode == 0
    assert [line.split(":")[0:2] for line in done.stderr.splitlines()] == [
        ["Warning", f" skipped {folder / name}"] for name in ("a_broken.jpg", "b_empty.png", "z_cut.jpg")
    ]
    assert [each.count() for each in server.received] == [3]
    assert re.findall(r"File:(\w+)", done.stdout) == ["a_cat", "b_cat", "c_small"]


def test_a_failed_request_is_reported_the_rest_go_on_and_the_exit_code_is_1(server, folder):
    def fail_the_second(received):
        return (
            (200, json.dumps({"status": "101", "msg": "it broke", "results": ""}).encode())
            if len(server.received) == 2
            else classify(received)
        )

    server.answer = fail_the_second
    done = run_tool("--server_url", server.url, "--image_file", folder)
    assert done.returncode == 1
    assert re.findall(r"File:(\w+)", done.stdout) == ["a_cat", "c_small"]
    assert "Error: the request for b_cat.png failed: " in done.stderr
    assert "it broke" in done.stderr
    assert "The average time of prediction cost: 0.500 s/image" in done.stdout


@pytest.mark.parametrize(
    "results",
    [
        "shout",
        None,
        {"prediction": [], "elapse": 1},
        {"prediction": [{"class_ids": [1]}], "elapse": 1},
        {"prediction": [{"scores": [0.5]}] * 2, "elapse": 1},
        {"prediction": [{"scores": [0.5]}]},
    ],
)
def test_an_answer_that_is_not_one_prediction_per_picture_is_reported(server, folder, results):
    server.answer = lambda _: ok(results)
    done = run_tool("--server_url", server.url, "--image_file", folder / "b_cat.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: the request for b_cat.png failed: .*(classification module|predictions came back).*\n", done.stderr)


def test_the_encoded_files_are_sent_when_the_server_shall_prepare_them(server, folder):
    (folder / "b_broken.jpg").write_bytes(b"text")
    done = run_tool("--server_url", server.url, "--image_file", folder, "--send", "pictures", "--batch_size", 2)
    assert done.returncode == 0
    assert re.findall(r"File:(\w+)", done.stdout) == ["a_cat", "b_cat", "c_small"]
    assert done.stderr.startswith(f"Warning: skipped {folder / 'b_broken.jpg'}")
    assert [each.media_type for each in server.received] == ["image/jpeg", "multipart/form-data"]
    assert [data for _, _, _, data in server.received[1].files()] == [(folder / name).read_bytes() for name in ("b_cat.png", "c_small.bmp")]


def test_a_path_without_a_picture_is_a_clear_error_and_nothing_is_sent(server, folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, says in (
        (empty, "holds no picture"),
        (tmp_path / "missing.jpg", "there is no file or folder"),
        (folder / "notes.txt", "could be read"),
    ):
        done = run_tool("--server_url", server.url, "--image_file", path)
        assert (done.returncode, done.stdout) == (1, "")
        assert says in done.stderr.splitlines()[-1]
        assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert server.received == []


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--normalize", "maybe"], 2, "must be True or False, got 'maybe'"),
        (["--batch_size", "0"], 2, "must be a whole number from 1 up, got '0'"),
        (["--resize_short", "100"], 1, "crop_size 224 is larger than resize_short 100"),
        (["--server_url", "127.0.0.1:8866"], 1, "server_url must be such as http://127.0.0.1:8866/predict/clas_system"),
        (["--server_url", "http://127.0.0.1:9/predict/clas_system"], 1, "Is the server running?"),
    ],
)
def test_a_wrong_option_is_a_clear_error(server, folder, options, code, says):
    done = run_tool("--server_url", server.url, "--image_file", folder / "b_cat.png", *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert server.received == []
