"""A first look at a model: what it takes and returns, and whether it can be explained, found by a few probe images."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from xai.core.classifier import Classifier
from xai.core.declared import refuse_other_kinds
from xai.core.flatness import Flatness, flatness
from xai.core.further_inputs import lacking_inputs
from xai.core.hooks import borrowed, gradients_on, parts_of
from xai.core.probe_images import probe_images
from xai.core.rows import is_out_of_memory
from xai.core.steadiness import CLOSE, DEPENDS, RANDOM, refuse_batch_statistics
from xai.errors import NonFiniteError, UnsupportedModelError, XaiError

_SIZES = (224, 32, 28, 64, 16, 8, 96, 128, 256, 299, 384, 448, 512)  # tried in this order when none is given
_LEAK = 1e-5  # of the largest slope towards an image's own pixels
_FIRST = 3  # images that are looked at first: the others only where these show nothing


def examine(module: nn.Module, settings: dict[str, Any]) -> Classifier:
    """Return a classifier, its settings completed by what the module shows; its `notes` say what was found.

    Args:
        module: the model; it comes back as it was.
        settings: of `Classifier`, those that are known. `channels`, `input_size` and what the outputs mean are found
            where they are missing; `one_by_one` is set where the answer to an image depends on the rest of its batch.

    Raises:
        UnsupportedModelError: weights that are not there, a forward that fails or needs more than images, outputs that
            are no class scores, statistics of the batch, or answering changes the model.
        NonFiniteError: NaN or infinity in the weights or in an output.
    Cost: about eight forwards and three backwards of one image.
    """
    settings = dict(settings)
    network = Classifier(module).module
    refuse_other_kinds(network, str(settings.get("name", type(network).__name__)))
    notes = [*settings.pop("notes", ()), *_weights_noted(module, network)]
    if "channels" not in settings:
        settings["channels"], said = _channels(network)
        notes += said
    with borrowed(network), gradients_on():
        settings["input_size"], images, said = _size(network, settings)
        classifier = Classifier(network, **settings)
        classifier.read_outputs(images[:_FIRST])
        classifier.raw_logits(images[:_FIRST])
        flat = _flatness(classifier, images)
        leaking = [] if flat.blocked else _leak_noted(classifier, images[:_FIRST].clone())
        classifier.one_by_one |= bool(leaking)
    notes += [*said, *classifier.notes, *(note for note in flat.notes(probes=True) if not flat.found), *leaking]
    classifier.take_notes(notes, flat.notes(probes=True) if flat.found else [])
    return classifier


def _flatness(classifier: Classifier, images: Tensor) -> Flatness:
    """Look at the first images, and at all of them where these show nothing."""
    first = flatness(classifier.scores, images[:_FIRST])
    return flatness(classifier.scores, images) if first.found else first


def _weights_noted(module: nn.Module, network: nn.Module) -> list[str]:
    """Refuse weights that are not there; say what is unusual of those that are."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    for name, tensor in tensors:
        if is_lazy(tensor) or tensor.device.type == "meta":
            raise UnsupportedModelError(f"The weights {name!r} have no values yet. Load the weights into the network.")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()) and isinstance(tensor, nn.Parameter):
            raise NonFiniteError(f"The weights {name!r} hold NaN or infinity. Take those from before training failed.")
    places = sorted({str(tensor.device) for _, tensor in tensors})
    if len(places) > 1:
        raise UnsupportedModelError(f"The weights lie on {' and '.join(places)}. Move the network to one device.")
    narrow = sorted({str(t.dtype).removeprefix("torch.") for _, t in tensors if t.dtype in CLOSE})
    notes = [f"the network computes in {' and '.join(narrow)}: maps are no finer than that"] if narrow else []
    if network is not module:
        notes.append(f"the network behind {type(module).__name__} is used")
    if any(getattr(part, "training", False) for part in parts_of(network)):
        notes.append("the network came in training mode: it is used in evaluation mode and given back as it was")
    return notes


def _channels(network: nn.Module) -> tuple[int, list[str]]:
    """Return what the first convolution takes, 3 without any."""
    for part in network.modules():
        if isinstance(part, nn.Conv2d):
            found = part.in_channels
            return found, [] if found == 3 else [f"channels={found}, as the first convolution takes"]
    return 3, []


def _size(network: nn.Module, settings: dict[str, Any]) -> tuple[tuple[int, int] | None, Tensor, list[str]]:
    """Return the input size given, or the first common one that the model runs on; probe images of it; notes.

    Raises:
        UnsupportedModelError: it fails on each.
    """
    given = settings.get("input_size")
    faults = []
    for size in [given] if given else [(side, side) for side in _SIZES]:
        classifier = Classifier(network, **{**settings, "input_size": size})
        images = probe_images(classifier.channels, size).to(classifier.device)
        try:
            classifier._run(classifier.normalise(images[:_FIRST]))
        except Exception as error:  # the user's own code, which may raise anything
            if is_out_of_memory(error) or isinstance(error, XaiError):
                raise
            faults.append((size, error))
        else:
            found = size if given or size[0] != _SIZES[0] else None
            notes = [] if given or found is None else [f"input_size=({size[0]}, {size[1]}), found by trying"]
            return found, images, notes
    raise _fault(network, settings["channels"], *faults[0], tried=len(faults))


def _fault(
    network: nn.Module, channels: int, size: tuple[int, int], error: Exception, tried: int
) -> UnsupportedModelError:
    if tried == 1 and _takes_one(network, channels, size):
        return UnsupportedModelError(
            f"{type(network).__name__} takes one picture at a time, and fails on three. Make its forward work on "
            "batches (N, C, H, W)."
        )
    lacking = lacking_inputs(network, error)
    if lacking is not None:
        return lacking
    first = next(iter(str(error).strip().splitlines()), "")
    return UnsupportedModelError(
        f"{type(network).__name__} cannot run on pictures ({channels}, {size[0]}, {size[1]})"
        f"{'' if tried == 1 else f' nor on {tried - 1} other sizes'}: {type(error).__name__}: {first[:160]}. "
        "Give `channels` and `input_size`, or wrap it in a module that takes normalised pictures (N, C, H, W)."
    )


def _takes_one(network: nn.Module, channels: int, size: tuple[int, int]) -> bool:
    classifier = Classifier(network, channels=channels)
    try:
        network(classifier.normalise(probe_images(channels, size)[:1].to(classifier.device)))
    except Exception:  # noqa: BLE001 (the user's own code)
        return False
    return True


def _leak_noted(classifier: Classifier, pixels: Tensor) -> list[str]:
    """Say that an answer depends on other images of its batch where only its gradient shows it.

    Raises:
        UnsupportedModelError: batch norms without running statistics.
    """
    if classifier.one_by_one or RANDOM in classifier.notes:
        return []
    leak = _leak(classifier.scores(pixels.requires_grad_()), pixels)
    if leak <= _LEAK:
        return []
    refuse_batch_statistics(classifier.module, classifier.name, leak)
    return [f"the answer to one image {DEPENDS} (by its gradient): images run one at a time"]


def _leak(scores: Tensor, pixels: Tensor) -> float:
    """Return the largest slope of the first row's scores towards pixels of other rows, as a share of its own."""
    if not (scores.requires_grad and scores.is_floating_point()) or scores.ndim < 1 or len(scores) != len(pixels):
        return 0.0
    weights = torch.rand(scores[0].shape, generator=torch.Generator().manual_seed(2)).to(scores)
    (slope,) = torch.autograd.grad((scores[0] * weights).sum(), pixels, retain_graph=True, allow_unused=True)
    if slope is None or not bool(slope[1:].any()):
        return 0.0
    return float(slope[1:].abs().max() / slope[0].abs().max().clamp_min(1e-30))
