"""The result of a dream: the picture, how it came about, and all that is needed to repeat it."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from xai.core.results.serialization import read_record, restoring, write_file, write_record

_KIND = "dream"
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".gif": "GIF"}
_PAUSE = 120  # milliseconds of a frame in a GIF
_PLAIN = ("goal", "start", "layer", "channel", "target", "label", "probability", "predicted", "seed", "versions")


@dataclass(frozen=True, eq=False, repr=False)
class DeepDream:
    """A picture that a network was made to like.

    Attributes:
        image: (H, W, 3) float32 in [0, 1]; grey classifiers see the mean of three equal channels.
        frames: pictures on the way, all of the final size, the last of them `image`.
        objective: (steps,) float64, what was raised, as the network saw it before each step.
        octave: (steps,) int64, number of the octave of each step, from 0; values of different octaves are taken at
            different sizes.
        sizes: height and width of each octave.
        goal: what was raised, in words.
        start: "noise", or the name of the picture.
        layer: looked at, or None.
        channel: of the layer, or None.
        target: index of the class, or None.
        label: name of the class, or None.
        probability: that the model gives the class for the saved picture (8 bits), or None.
        predicted: name of the class that the model gives the saved picture, or None where no class was asked for.
        settings: as used.
        seed: fixes everything random.
        notes: what was chosen and what to beware of.
        model: name, fingerprint and preprocessing of the classifier.
        versions: of everything that matters.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> dream = xai.deep_dream(clf, octaves=1, steps=2, size=32)
        >>> dream.image.shape, len(dream.objective)
        ((32, 32, 3), 2)
    """

    image: np.ndarray
    frames: tuple[np.ndarray, ...]
    objective: np.ndarray
    octave: np.ndarray
    sizes: tuple[tuple[int, int], ...]
    goal: str
    start: str
    layer: str | None
    channel: int | None
    target: int | None
    label: str | None
    probability: float | None
    predicted: str | None
    settings: Mapping[str, Any]
    seed: int
    notes: tuple[str, ...]
    model: Mapping[str, Any]
    versions: Mapping[str, str]

    def __repr__(self) -> str:
        """Goal, size and model."""
        height, width = self.image.shape[:2]
        return f"DeepDream({self.goal!r}, {height} x {width}, {len(self.objective)} steps, {self.model.get('name')})"

    @property
    def pixels(self) -> np.ndarray:
        """The picture as it is saved, (H, W, 3) uint8."""
        return _bytes(self.image)

    def plot(self) -> Any:
        """Draw the picture and the objective of each step; return the matplotlib figure."""
        from xai.plots.explanations import dream_figure

        return dream_figure(self)

    def save(self, path: str | Path) -> Path:
        """Write the picture (.png, .jpg), the frames as a film (.gif), or everything (a folder).

        The folder holds dream.png, values.npz and, written last, manifest.json; `DeepDream.load` reads it back.

        Returns:
            The path.

        Raises:
            RecordError: the place cannot be written.
        """
        path = Path(path)
        kind = _FORMATS.get(path.suffix.lower())
        if kind is None:
            write_record(path, _KIND, self.to_dict(), self._arrays(), {"dream.png": _encoded([self.pixels], "PNG")})
        else:
            shown = [_bytes(frame) for frame in self.frames] if kind == "GIF" else [self.pixels]
            write_file(path, _encoded(shown, kind))
        return path

    @classmethod
    def load(cls, path: str | Path) -> "DeepDream":
        """Read a saved dream; nothing in the files is executed.

        Raises:
            RecordError: no such result, or a damaged one.
        """
        fields, arrays = read_record(Path(path), _KIND)
        with restoring(path, _KIND):
            return cls._restored(fields, arrays)

    @classmethod
    def _restored(cls, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> "DeepDream":
        return cls(
            image=arrays["image"],
            frames=tuple(arrays[f"frame_{k}"] for k in range(int(fields["frames"]))),
            objective=arrays["objective"],
            octave=arrays["octave"],
            sizes=tuple((int(height), int(width)) for height, width in fields["sizes"]),
            settings=dict(fields["settings"]),
            model=dict(fields["model"]),
            notes=tuple(fields["notes"]),
            **{name: fields[name] for name in _PLAIN},
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures, JSON-ready."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "versions": dict(self.versions),
            "size": list(self.image.shape[:2]),
            "sizes": [list(size) for size in self.sizes],
            "frames": len(self.frames),
            "objective": self.objective.tolist(),
            "octave": self.octave.tolist(),
            "settings": dict(self.settings),
            "notes": list(self.notes),
            "model": dict(self.model),
        }

    def _arrays(self) -> dict[str, np.ndarray]:
        frames = {f"frame_{k}": frame for k, frame in enumerate(self.frames)}
        return {"image": self.image, "objective": self.objective, "octave": self.octave, **frames}


def _bytes(image: np.ndarray) -> np.ndarray:
    return np.asarray((np.clip(image, 0, 1) * 255).round(), dtype=np.uint8)


def _encoded(pictures: list[np.ndarray], kind: str) -> bytes:
    """Return the bytes of a picture file, or of a film of several pictures."""
    stream = io.BytesIO()
    first, *rest = [Image.fromarray(picture) for picture in pictures]
    film = {"save_all": True, "append_images": rest, "duration": _PAUSE, "loop": 0} if kind == "GIF" else {}
    quality = {"quality": 95} if kind == "JPEG" else {}
    first.save(stream, kind, **film, **quality)
    return stream.getvalue()
