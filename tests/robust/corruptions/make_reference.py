"""Make reference.npz anew: `python tests/robust/corruptions/make_reference.py`; needs imagecorruptions 1.1.2.

Its three functions that fail on numpy 2 or a new scikit-image get the missing name and argument back; no definition is
changed. Figures are kept before its last step, the cut to 8 bits.
"""

from pathlib import Path

import numpy as np

SIDE, PLACES, DRAWS, FEW = 224, 100, 200, 12
STILL = (
    "defocus_blur", "gaussian_blur", "zoom_blur", "brightness", "contrast", "saturate", "pixelate", "jpeg_compression",
)  # fmt: skip
RANDOM = (
    "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "glass_blur", "motion_blur", "snow", "frost",
    "fog", "elastic_transform", "spatter",
)  # fmt: skip


def picture() -> np.ndarray:
    """Return a colour image (224, 224, 3) uint8 with slopes, edges, fine texture, black and white."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    slope = 0.5 + 0.4 * np.sin(columns / 37 + np.array([0.0, 1.0, 2.0])[:, None, None]) * np.cos(rows / 29)
    texture = ((rows * 7919 + columns * 104729 + rows * columns * 31) % 251) / 251 - 0.5
    disk = (rows - 90) ** 2 + (columns - 130) ** 2 < 50**2
    stripes = (columns // 9) % 2 * (rows > 160)
    values = np.clip(slope + 0.2 * texture + 0.35 * disk - 0.45 * stripes, 0, 1)
    values[:, :12, :12], values[:, :12, -12:] = 0, 1
    return np.round(values * 255).astype(np.uint8).transpose(1, 2, 0)


def places() -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns at which pixels are kept, corners and edges among them."""
    numbers = np.arange(PLACES)
    rows, columns = (numbers * 67 + 3) % SIDE, (numbers * 131 + 5) % SIDE
    rows[:4], columns[:4] = (0, 0, SIDE - 1, SIDE - 1), (0, SIDE - 1, 0, SIDE - 1)
    return rows, columns


def figures(rows: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Return mean, deviation and mean square distance to the clean image, of images in [0, 1]."""
    return np.array([rows.mean(), rows.std(), np.mean((rows - clean) ** 2)])


def reference() -> dict[str, np.ndarray]:
    """Return what imagecorruptions makes of the image."""
    import skimage.filters
    from PIL import Image

    vars(np)["float_"] = np.float64
    from imagecorruptions import corruptions as functions

    def gaussian(image, sigma=1, multichannel=None, **settings):
        axis = -1 if multichannel else None
        return skimage.filters.gaussian(image, sigma=sigma, channel_axis=axis, **settings)

    functions.gaussian = gaussian
    image, (down, across) = picture(), places()
    clean, found = image / 255, {}

    def run(name: str, severity: int) -> np.ndarray:
        made = getattr(functions, name)(Image.fromarray(image), severity)
        return np.asarray(made, dtype=np.float64) / 255

    for severity in range(1, 6):
        for name in STILL:
            made = run(name, severity)
            found[f"{name}/{severity}/pixels"] = made[down, across].astype(np.float32)
            found[f"{name}/{severity}/figures"] = figures(made, clean)
        for name in RANDOM:
            np.random.seed(severity)  # noqa: NPY002 (what the reference draws from)
            made = np.stack([run(name, severity) for _ in range(FEW if name == "glass_blur" else DRAWS)])
            found[f"{name}/{severity}/figures"] = figures(made, clean)
    return found


if __name__ == "__main__":
    np.savez_compressed(Path(__file__).parent / "reference.npz", **reference())
