"""Make the pictures of README and docs: `python scripts/make_figures.py`."""

from pathlib import Path

import xai

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def main() -> None:
    """Explain two sample photographs."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    classifier = xai.load("efficientnet_lite0")
    photos = {photo.name: photo.path for photo in xai.sample_photos()}
    xai.explain(classifier, [photos["coffee"], photos["rocket"]]).save(IMAGES / "gradcam.png")
    print(IMAGES / "gradcam.png")


if __name__ == "__main__":
    main()
