"""A text or a mark at any place, which only its repetition gives away."""

from collections.abc import Iterator

from xai.cues._base import Form, Scene, cue
from xai.cues._found import Wanderer
from xai.cues._moving import moving


@cue("moving_mark", "a mark or a text anywhere that the images of one class repeat pixel by pixel")
def moving_mark(scene: Scene) -> Iterator[Form]:
    """Yield one form for each class that repeats one.

    Images of a class are compared in pairs by cross-correlation of what is left when the spectrum that all share is
    divided out; what agrees when all are laid upon one image is the mark. An object may repeat as well: where no image
    of the class was left without it, it is not said to be added.

    Cost: none of the model; up to 276 correlations for each class.
    Source: phase correlation, Kuglin and Hines 1975.
    """
    fixed = scene.templates
    for label, piece in moving(
        scene.data.images, scene.data.labels, [k for k in scene.classes if k not in fixed]
    ).items():
        height, width = piece.drawn.shape
        words = f"text-like mark of {height} x {width} pixels"
        unit = f"moving mark, class {label}"
        added = scene.some_left(-piece.distance(scene.all_images)[0], label)
        yield Wanderer("moving_mark", unit, "any place", words, piece, target=label, least=-piece.most, added=added)
