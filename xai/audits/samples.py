"""What the data looks like: one picture of each class."""

from typing import Any

from xai.audits.album import Album, exhibit
from xai.audits.scene import DATA, Scene

_MOST = 20  # classes


def sample_of(scene: Scene, album: Album) -> list[dict[str, Any]]:
    """Return the first picture of each of the first classes, in the order of work."""
    role = scene.role(DATA)
    truth = scene.truth(DATA, role.order).tolist()
    first = {label: int(row) for label, row in reversed(list(zip(truth, role.order.tolist(), strict=True)))}
    found = []
    for label in sorted(first)[:_MOST]:
        row, name = first[label], scene.classifier.labels[label]
        pixels = scene.pictures(DATA, [row])[0].pixels
        words = f"a picture of {name} from the data"
        images = [album.picture(pixels)]
        found.append(
            exhibit(name, f"{role.ids[row]}: {words}.", f"{words}.", images, picture=role.ids[row], label=name)
        )
    return found
