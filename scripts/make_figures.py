"""Make the images of README and docs: `python scripts/make_figures.py`."""

from pathlib import Path

from PIL import Image

import xai

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDEST = 900  # pixels; pages show no more


def main() -> None:
    """Explain two sample photographs."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    classifier = xai.load("efficientnet_lite0")
    photos = {photo.name: photo.path for photo in xai.sample_photos()}
    xai.explain(classifier, [photos["coffee"], photos["rocket"]]).save(IMAGES / "gradcam.png")
    xai.explain(classifier, photos["coffee"]).save(IMAGES / "start-explain.png")
    shrink(IMAGES / "start-explain.png")
    print(IMAGES / "gradcam.png", IMAGES / "start-explain.png")


def shrink(path: Path) -> None:
    """Write an image again with 256 colours and no wider than pages show it."""
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((WIDEST, WIDEST))
        small.quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main()
