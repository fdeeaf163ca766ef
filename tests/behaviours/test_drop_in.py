"""Modules, command lines, configurations and scripts written for PaddleHub, used as they are."""

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import MODULES, Server, Start, free_port, hub, servers, toy
from tests.published import make_published

RED, BLUE = (0, 0, 255), (255, 0, 0)


def picture(left: tuple[int, int, int], right: tuple[int, int, int]) -> np.ndarray:
    """A picture of two colours, 40 x 60."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30], image[:, 30:] = left, right
    return image


def as_text(image: np.ndarray) -> str:
    return base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()


def as_picture(text: str, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), flags))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_published(tmp_path_factory.mktemp("published"))
    cv2.imwrite(str(folder / "red.png"), picture(RED, RED))
    cv2.imwrite(str(folder / "half.png"), picture(RED, BLUE))
    return folder


def run(module: str, *arguments: object, published: Path, home: Path) -> Any:
    done = hub("run", "--json", published / module, *arguments, home=home, cwd=published)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_hub_run_answers_as_the_base_classes_have_it(published: Path, shared_home: Path, tmp_path: Path) -> None:
    def answer(module: str, *arguments: object) -> Any:
        return run(module, *arguments, published=published, home=shared_home)

    (classes,) = answer("tiny_classifier", "--input_path", "red.png", "--top_k", 2)
    assert next(iter(classes)) == "red"
    assert len(classes) == 2
    (mask,) = answer("tiny_segmentation", "--input_path", "half.png", "--output_dir", tmp_path / "seg")
    assert np.array_equal(np.array(mask)[:, :30], np.zeros((40, 30)))
    assert np.array_equal(np.array(mask)[:, 30:], np.full((40, 30), 2))
    assert [len(list((tmp_path / "seg" / name).glob("*.png"))) for name in ("image", "mask")] == [1, 1]
    (colored,) = answer("tiny_colorize", "--input_path", "red.png", "--visualization", "False")
    red, green, blue = np.array(colored["fake_reg"]).mean(axis=(0, 1))
    assert red > 1.5 * max(green, blue)
    assert answer("tiny_senti", "--input_text", "good film")[0]["sentiment_key"] == "positive"


def test_a_module_of_static_programs_runs_in_static_mode(published: Path, shared_home: Path) -> None:
    assert run("old_program", 1, 2, published=published, home=shared_home) == [2.0, 3.0]


def test_hub_run_passes_a_modules_own_complaint_and_status_on(published: Path, shared_home: Path) -> None:
    refused = hub("run", published / "tiny_classifier", "--no_such_option", "1", home=shared_home)
    assert refused.returncode == 2
    assert "hub run tiny_classifier" in refused.stderr


def test_what_is_not_there_is_status_1_and_a_bad_option_status_2(home: Path) -> None:
    for command in ("run", "show"):
        gone = hub(command, "nobody", home=home)
        assert (gone.returncode, "no module 'nobody' is installed" in gone.stderr) == (1, True)
        assert hub(command, "--no-such-option", "nobody", home=home).returncode == 2
        assert hub(command, home=home).returncode == 2
    assert hub("run", MODULES / "nowhere", home=home).returncode == 1


@pytest.mark.parametrize(
    ("module", "serves", "runs"),
    [("tiny_classifier", "serving_method", True), ("tiny_senti", "sentiment_classify", True), ("old_mirror", "serving_method", True)],
)
def test_hub_show_knows_what_a_base_class_brings(published: Path, home: Path, module: str, serves: str, runs: bool) -> None:
    shown = json.loads(hub("show", published / module, "--json", home=home).stdout)
    assert (shown["serving_method"], shown["runnable"]) == (serves, runs)


@pytest.fixture(scope="module")
def server(published: Path, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    labels = {"0": "short", "1": "long"}
    init_args = {"tiny-bert": {"task": "token-cls", "label_map": labels}, "old_program": {"offset": 10}, "old_mirror": {"delay": 0.3}}
    names = ("tiny_classifier", "tiny_segmentation", "tiny_style", "tiny_colorize", "tiny_senti", "tiny_sound", "old_program", "tiny-bert")
    modules: dict[str, Any] = {
        name: {"init_args": {"directory": str(published / name.replace("-", "_")), **init_args.get(name, {})}}
        for name in (*names, "old_mirror")
    }
    modules["old_mirror"]["workers"] = 2
    with servers(shared_home, tmp_path_factory.mktemp("drop_in")) as start:
        yield start(modules, request_timeout_s=60)


def test_a_classifier_serves_labels_and_probabilities(server: Server) -> None:
    images = [as_text(picture(RED, RED)), as_text(picture(BLUE, BLUE))]
    found = server.results("tiny_classifier", images=images, top_k="2", batch_size=2)["data"]
    assert [next(iter(each)) for each in found] == ["red", "blue"]
    assert all(len(each) == 2 and abs(sum(each.values()) - 1) < 1e-3 for each in found)
    assert list(server.results("tiny_classifier", images=images[:1])["data"][0]) == ["red"]


def test_a_picture_that_is_none_is_told_and_does_not_shift_the_others(server: Server) -> None:
    answer = server.predict("tiny_classifier", json={"images": [as_text(picture(RED, RED)), base64.b64encode(b"x").decode()]}).json()
    assert answer["status"] == "101"
    assert "picture" in answer["msg"]


def test_a_segmentation_serves_masks_of_the_pictures_own_size(server: Server) -> None:
    (text,) = server.results("tiny_segmentation", images=[as_text(picture(RED, BLUE))])
    mask = as_picture(text, cv2.IMREAD_GRAYSCALE)
    assert mask.shape == (40, 60)
    assert (mask[:, :26].max(), mask[:, 34:].min()) == (0, 2)


def test_a_style_is_given_to_every_picture(server: Server) -> None:
    images = [[as_text(picture(RED, BLUE)), as_text(picture(RED, RED)), as_text(picture(RED, RED))], as_text(picture(BLUE, BLUE))]
    drawn = [as_picture(each) for each in server.results("tiny_style", images=images, batch_size=2)["data"]]
    assert len(drawn) == 3
    assert all(each[..., 0].min() > 240 and each[..., 2].max() < 16 for each in drawn)


def test_colorized_pictures_have_their_own_size_and_are_not_mixed_up(server: Server) -> None:
    dark, light = picture((40, 40, 40), (40, 40, 40)), picture((200, 200, 200), (200, 200, 200))
    made = server.results("tiny_colorize", images=[as_text(dark), as_text(light)], batch_size=2)["data"]
    assert [set(each) for each in made] == [{"gray", "hint", "real", "fake_reg"}] * 2
    colored = [as_picture(each["fake_reg"]) for each in made]
    assert all(each.shape == (40, 60, 3) and each[..., 2].mean() > each[..., 0].mean() + 20 for each in colored)
    assert colored[1].mean() > colored[0].mean() + 50
    assert abs(as_picture(made[1]["gray"]).mean() - 200) < 5


def test_text_modules_old_and_new_are_served(server: Server) -> None:
    keys = [each["sentiment_key"] for each in server.results("tiny_senti", texts=["good good film", "bad film"])]
    assert keys == ["positive", "negative"]
    assert server.results("tiny_senti", data={"text": ["bad"]})[0]["positive_probs"] < 0.1
    labels = server.results("tiny-bert", data=[["ab\x02abcdef\x02abc"]], max_seq_len=8)
    assert labels[0][:3] == ["short", "long", "short"]


def test_a_module_finds_its_files_where_paddlehub_has_them(server: Server) -> None:
    loud, quiet = server.results("tiny_sound", waves=[[0.9, -0.9], [0.1, -0.1]])
    assert (next(iter(loud)), next(iter(quiet))) == ("loud", "quiet")


def test_a_static_program_is_served(server: Server) -> None:
    assert server.results("old_program", values=[1, 2.5]) == [11.0, 12.5]


def test_a_module_with_only_a_serving_method_runs_on_several_instances_at_once(server: Server) -> None:
    assert len(server.instance_pids("old_mirror")) == 2
    images = [picture(RED, (0, 0, number)) for number in range(0, 250, 25)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda image: server.results("old_mirror", images=[as_text(image)])[0], images))
    for image, answer in zip(images, answers, strict=True):
        assert np.array_equal(as_picture(answer["data"]), image[:, ::-1]), "each answer is its asker's"
        assert answer["brightest"] == [0, 30]
    assert {each["pid"] for each in answers} == set(server.instance_pids("old_mirror"))


def test_the_error_for_wrong_arguments_of_an_old_module_says_what_it_takes(server: Server) -> None:
    answer = server.predict("old_mirror", json={"images": [], "wrong": 1}).json()
    assert answer["status"] == "101"
    assert answer["msg"].startswith("the argument 'wrong' is not known")
    assert "This module takes the JSON arguments images; " in answer["msg"]
    assert "Traceback" not in server.log.read_text()


def test_several_modules_follow_one_flag_or_several(home: Path, tmp_path: Path) -> None:
    for name in ("shout", "old_style"):
        assert hub("install", MODULES / name, home=home).returncode == 0
    port = free_port()
    server = Server(["-m", "shout==1.0.0", "old-style", "-m", str(MODULES / "doubler"), "-p", str(port)], port, home, tmp_path / "log")
    try:
        server.wait_until_ready()
        assert server.results("shout", text="a") == "A!"
        assert server.results("old-style", texts=["ab"]) == [{"text": "ba", "prefix": ""}]
        noted = json.loads((home / "conf" / f"serving_{port}.json").read_text())
        assert noted["module"] == ["shout", "old-style", "doubler"]
        assert isinstance(noted["start_time"], float)
        assert hub("serving", "stop", "--port", port, home=home).returncode == 0
        assert server.process.wait(60) == 0
    finally:
        server.process.kill()
        server.process.wait()


def test_with_a_config_the_other_flags_are_disregarded(home: Path, tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"modules_info": {"shout": toy("shout")}, "port": port}))
    flags = ["-c", str(config), "-m", "nobody", "-p", "1", "-w", "7", "--use_gpu", "-i", "3", "--use_multiprocess"]
    server = Server(flags, port, home, tmp_path / "log")
    try:
        server.wait_until_ready()
        assert server.results("shout", text="a") == "A!"
        assert len(server.instance_pids("shout")) == 1
    finally:
        server.process.kill()
        server.process.wait()


def test_nothing_to_serve_is_status_2(home: Path) -> None:
    refused = hub("serving", "start", home=home)
    assert (refused.returncode, "give -m NAME" in refused.stderr) == (2, True)


def test_init_args_of_a_config_reach_initialize_and_pick_the_version(start: Start, home: Path) -> None:
    assert hub("install", MODULES / "old_style", home=home).returncode == 0
    init_args = {"version": "1.2.0", "name": "old-style", "prefix": "#"}
    server = start({"old-style": {"init_args": init_args, "predict_args": {"times": 3}}})
    assert server.results("old-style", texts=["ab"]) == [{"text": "bababa", "prefix": "#"}]
    assert server.results("old-style", texts=["ab"], times=1) == [{"text": "ba", "prefix": "#"}]


def test_modules_import_from_beside_their_folder_and_from_installed_ones(home: Path, tmp_path: Path) -> None:
    assert hub("install", MODULES / "old_style", home=home).returncode == 0
    (tmp_path / "beside.py").write_text("word = 'beside'\n")
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "module.py").write_text(
        "from beside import word\nfrom old_style.helper import reverse\nfrom paddlehub.module.module import moduleinfo, runnable\n"
        '@moduleinfo(name="user", version="1.0.0")\nclass User:\n'
        "    @runnable\n    def run(self, argv):\n        return [word, reverse('ab'), argv, __name__, self.directory]\n"
    )
    done = hub("run", "--json", tmp_path / "user", home=home)
    assert json.loads(done.stdout) == ["beside", "ba", [], "user.module", str(tmp_path / "user")], done.stderr
