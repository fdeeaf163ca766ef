"""Test transforms against the published formulas in OpenCV and numpy."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from paddlehub._training import OnlyTraining
from paddlehub.vision import functional, segmentation_transforms, transforms, utils
from skimage import color, data

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CAT = np.ascontiguousarray(data.chelsea()[:, :, ::-1])


def test_the_usual_chain_of_a_classifier() -> None:
    chain = [transforms.Resize((256, 240), "CUBIC"), transforms.CenterCrop(224), transforms.Normalize(MEAN, STD)]
    made = transforms.Compose(chain, to_rgb=True)(CAT)
    rgb = cv2.resize(cv2.cvtColor(CAT, cv2.COLOR_BGR2RGB), (256, 240), interpolation=cv2.INTER_CUBIC)[8:232, 16:240]
    expected = ((rgb.astype(np.float32) / 255.0 - np.array(MEAN)) / np.array(STD)).transpose(2, 0, 1)
    assert (made.shape, made.dtype) == ((3, 224, 224), np.float32)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-6)


def test_a_path_is_read_as_float_bgr_and_the_channels_may_stay_last(tmp_path: Path) -> None:
    path = str(tmp_path / "cat.png")
    cv2.imwrite(path, CAT)
    made = transforms.Compose([transforms.Resize(32)], channel_first=False)(path)
    np.testing.assert_allclose(made, cv2.resize(CAT.astype("float32"), (32, 32)), rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="nothing.png"):
        transforms.Compose([transforms.Permute()])(str(tmp_path / "nothing.png"))


@pytest.mark.parametrize("long_size", [100, 451, 500])
def test_the_long_side_gets_its_length(long_size: int) -> None:
    made = transforms.ResizeByLong(long_size)(CAT)
    assert made.shape == (round(300 * long_size / 451), long_size, 3)


def test_a_border_is_added_below_and_beside() -> None:
    made = transforms.Padding((460, 310), [1, 2, 3])(CAT)
    assert made.shape == (310, 460, 3)
    assert np.array_equal(made[:300, :451], CAT)
    assert (made[305, 5] == [1, 2, 3]).all()
    with pytest.raises(ValueError, match="larger"):
        transforms.Padding(100)(CAT)


def test_normalize_takes_channels_in_front() -> None:
    last = transforms.Normalize(MEAN, STD)(CAT)
    first = transforms.Normalize(MEAN, STD, channel_first=True)(CAT.transpose(2, 0, 1))
    np.testing.assert_array_equal(first, last.transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: transforms.Compose([]), ValueError),
        (lambda: transforms.Compose("x"), TypeError),
        (lambda: transforms.Resize((1, 2, 3)), TypeError),
        (lambda: transforms.Resize("x"), TypeError),
        (lambda: transforms.Resize(3, "BEST"), ValueError),
        (lambda: transforms.Normalize(std=[1, 0, 1]), ValueError),
        (lambda: transforms.Normalize(mean=0.5), ValueError),
        (lambda: segmentation_transforms.Resize(3), TypeError),
        (lambda: segmentation_transforms.Padding((1, 2, 3)), ValueError),
    ],
)
def test_wrong_settings_are_refused_as_published(make: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()  # type: ignore[operator]


def test_lab_agrees_with_scikit_image_and_converts_back() -> None:
    rgb = CAT[:64, :64, ::-1]
    made = transforms.RGB2LAB()(rgb)
    expected = color.rgb2lab(rgb / 255.0) / [100, 110, 110] - [0.5, 0, 0]
    np.testing.assert_allclose(made, expected, atol=2e-3)
    back = transforms.LAB2RGB()(made.transpose(2, 0, 1)[None])
    np.testing.assert_allclose(back[0].transpose(1, 2, 0) * 255, rgb, atol=0.5)


def test_a_mask_goes_through_with_its_picture() -> None:
    mask = np.zeros((300, 451), np.uint8)
    mask[:150] = 7
    chain = [segmentation_transforms.Resize((60, 40)), segmentation_transforms.Padding((64, 48)), segmentation_transforms.Normalize()]
    image, label = segmentation_transforms.Compose(chain)(CAT, mask)
    assert (image.shape, label.shape) == ((3, 48, 64), (48, 64))
    assert set(np.unique(label)) == {0, 7, 255}
    assert segmentation_transforms.Compose(chain)(CAT)[1] is None


def test_flips_and_colours_of_classes(tmp_path: Path) -> None:
    assert np.array_equal(functional.horizontal_flip(CAT), cv2.flip(CAT, 1))
    assert np.array_equal(functional.vertical_flip(CAT), cv2.flip(CAT, 0))
    palette = utils.get_color_map_list(256)
    assert palette[:15] == [128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128], "Pascal VOC's first classes"
    assert len(palette) == 768
    mask = np.full(CAT.shape[:2], 1, np.uint8)
    shown = utils.visualize(CAT, mask, weight=0.5)
    np.testing.assert_allclose(shown, CAT * 0.5 + np.array([0, 128, 0]) * 0.5, atol=1)
    utils.get_pseudo_color_map(mask).save(tmp_path / "mask.png")
    assert (cv2.imread(str(tmp_path / "mask.png")) == [0, 128, 0]).all()
    cv2.imwrite(str(tmp_path / "cat.png"), CAT)
    saved = segmentation_transforms.SegmentVisual(weight=0.5)(str(tmp_path / "cat.png"), mask, str(tmp_path / "shown"))
    np.testing.assert_array_equal(saved, shown)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "shown" / "cat.png")), shown)
    assert len(segmentation_transforms.ColorMap(3)()) == 3
    for only_training in (functional.brightness, utils.ConfusionMatrix, transforms.RandomRotation):
        with pytest.raises(OnlyTraining):
            only_training()
    (tmp_path / "notes.txt").touch()
    names = sorted(Path(each).relative_to(tmp_path).as_posix() for each in utils.get_img_file(str(tmp_path)))
    assert names == ["cat.png", "mask.png", "shown/cat.png"]
    assert utils.npmax(np.array([[1, 5], [9, 2]])) == (1, 0)


def test_sizes_are_undone_in_reverse_order_also_of_pictures_that_are_not_square() -> None:
    chain = [transforms.Resize((60, 40)), transforms.Padding((64, 48)), transforms.Normalize(), transforms.ResizeByLong(128)]
    steps = utils.get_reverse_list((300, 451), chain)
    assert steps == [("resize", (300, 451)), ("padding", (40, 60)), ("resize", (48, 64))]
