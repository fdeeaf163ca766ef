"""Test the package ``tiinfer`` that scripts import."""

import base64
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tiinfer
from PIL import Image
from tiinfer.utils import Horizontal, Vertical, fill_image, scale_fill_image, scale_image
from tiinfer.utils.ioutil import base64bytes_to_nparray, base64bytes_to_pil_image, image_to_cv2_mat, image_to_pil_image

PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def png(picture: np.ndarray = PICTURE) -> bytes:
    file = BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


class Script(tiinfer.Model):
    def preprocess(self, request: list) -> list:
        return [*request, "pre"]

    def postprocess(self, request: list) -> list:
        return [*request, "post"]


def test_methods_are_chained_and_those_that_are_not_overridden_pass_on() -> None:
    assert Script("/x")([1]) == [1, "pre", "post"]
    assert Script("/x").model_dir == "/x"
    assert Script().load()


def test_variables_are_read_as_by_the_real_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (tiinfer.get_ti_inference_nums(), tiinfer.get_ti_inference_max_batch_size()) == (1, 1)
    assert not tiinfer.Is_Multi_Framework_Type()
    monkeypatch.setenv("TI_PREPROCESS_NUMS", "2")
    monkeypatch.setenv("TI_MODEL_DIR", "/data/model")
    assert tiinfer.Is_Multi_Framework_Type()
    assert tiinfer.get_ti_model_dir() == "/data/model"


def test_workers_of_mosec_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="Write preprocess, predict and postprocess"):
        tiinfer.append_worker(object)


def test_pictures_in_base64_are_decoded() -> None:
    text = base64.b64encode(png()).decode()
    assert np.array_equal(base64bytes_to_nparray(text), PICTURE)
    assert base64bytes_to_pil_image(text).size == (6, 4)
    assert np.array_equal(image_to_cv2_mat(text), PICTURE[..., ::-1])
    assert np.array_equal(np.array(image_to_pil_image(text)), PICTURE)
    assert image_to_cv2_mat("AAAA") is None


def test_a_path_is_read_in_the_scripts_folder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "script"
    folder.mkdir()
    monkeypatch.setenv("TI_MODEL_DIR", str(folder))
    (folder / "in.png").write_bytes(png())
    (tmp_path / "out.png").write_bytes(png())
    (folder / "link.png").symlink_to(tmp_path / "out.png")
    assert np.array_equal(image_to_cv2_mat("in.png"), PICTURE[..., ::-1])
    assert image_to_pil_image(str(folder / "in.png")).size == (6, 4)
    for path in ("../out.png", str(tmp_path / "out.png"), "link.png"):
        with pytest.raises((OSError, ValueError)):
            image_to_pil_image(path)


def test_pictures_are_scaled_within_bounds() -> None:
    scaled, scale = scale_image(np.zeros((100, 200, 3), np.uint8), 50, 1000)
    assert (scaled.shape, scale) == ((50, 100, 3), 0.5)
    scaled, scale = scale_image(np.zeros((200, 100, 3), np.uint8), 50, 80)
    assert (scaled.shape, scale) == ((80, 40, 3), 0.4)
    with pytest.raises(ValueError, match="above max_size"):
        scale_image(PICTURE, 10, 5)
    with pytest.raises(TypeError, match=r"should be numpy\.ndarray"):
        scale_image("text", 1, 2)  # type: ignore[arg-type]


def test_pictures_are_padded_on_the_chosen_sides() -> None:
    padded = fill_image(PICTURE, 8)
    assert padded.shape == (8, 8, 3)
    assert np.array_equal(padded[:4, :6], PICTURE)
    assert set(padded[4:].ravel()) == {1}
    padded = fill_image(PICTURE, 8, Horizontal.LEFT, Vertical.UPPER, 9)
    assert np.array_equal(padded[4:, 2:], PICTURE)
    assert set(padded[:4].ravel()) == {9}
    assert fill_image(PICTURE, 3) is PICTURE or np.array_equal(fill_image(PICTURE, 3), PICTURE)
    filled, scale = scale_fill_image(np.zeros((100, 200, 3), np.uint8), 50, 1000, 60)
    assert (filled.shape, scale) == ((60, 100, 3), 0.5)


def test_only_the_pictures_utilities_import_packages() -> None:
    assert "mosec" not in sys.modules
