"""Convert between RGB and CIE LAB, white point D65, in the scale of colorization models: ``(L - 50) / 100``, ``a / 110``, ``b / 110``."""

import numpy as np

_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_TO_RGB = np.array([[3.24048134, -1.53715152, -0.49853633], [-0.96925495, 1.87599, 0.04155593], [0.05564664, -0.20404134, 1.05731107]])
_WHITE = np.array([0.95047, 1.0, 1.08883])


class RGB2LAB:
    """Converter from RGB (H, W, 3), 0 to 255, to scaled LAB (H, W, 3)."""

    def __call__(self, img: np.ndarray) -> np.ndarray:
        """Convert a picture."""
        rgb = np.asarray(img) / 255
        linear = np.where(rgb > 0.04045, ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
        relative = linear @ _TO_XYZ.T / _WHITE
        curved = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16.0 / 116.0)
        x, y, z = curved[..., 0], curved[..., 1], curved[..., 2]
        return np.stack([(116.0 * y - 16.0 - 50) / 100, 500.0 * (x - y) / 110, 200.0 * (y - z) / 110], axis=-1)


class LAB2RGB:
    """Converter from scaled LAB (N, 3, H, W) to RGB (N, 3, H, W), 0 to about 1."""

    def __init__(self, mode: str = "RGB2LAB") -> None:
        self.mode = mode

    def __call__(self, img: np.ndarray) -> np.ndarray:
        """Convert pictures."""
        lab = np.moveaxis(np.asarray(img), 1, -1)
        y = (lab[..., 0] * 100 + 50 + 16.0) / 116.0
        x, z = lab[..., 1] * 110 / 500.0 + y, np.maximum(y - lab[..., 2] * 110 / 200.0, 0)
        curved = np.stack([x, y, z], axis=-1)
        xyz = np.where(curved > 0.2068966, curved**3.0, (curved - 16.0 / 116.0) / 7.787) * _WHITE
        linear = np.maximum(xyz @ _TO_RGB.T, 0)
        rgb = np.where(linear > 0.0031308, 1.055 * linear ** (1.0 / 2.4) - 0.055, 12.92 * linear)
        return np.moveaxis(rgb, -1, 1)
