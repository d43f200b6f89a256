"""The thirty ways in which networks and images lead explanations astray: none gives a wrong map without a word.

For every method: the map of the plain twin, or a refusal in one line, or, where no map can be right, a note saying so.
"""

import re
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from quirks import QUIRKS, REFUSED, SETTINGS, Quirk, opened
from small_models import GapCnn, pictures
from torch import Tensor, nn

import xai
from xai.explanations.methods.base import EXPLAINERS

METHODS = [name for name in EXPLAINERS.names() if name != "attention_rollout"]  # which no network here has tokens for
HALF = {"float16", "bfloat16"}  # small differences of scores drown in their rounding, which the notes say
THIRTY = {
    "ReLU in place after the layer": "in place",
    "ReLU in place, used again": "reused in place",
    "training mode": "training mode",
    "answers in a dict": "dict",
    "answers in a tuple": "tuple",
    "answers in an object": "object",
    "NaN answers": "NaN answer",
    "NaN weights": "NaN weight",
    "infinite answers": "infinite answer",
    "a constant map": "same for all",
    "one class": "one class",
    "answers without an axis": "one logit, flat",
    "softmax at the end": "softmax",
    "sigmoid at the end": "sigmoid",
    "gradients cut": "blocks gradients",
    "no_grad inside": "under no_grad",
    "a grey network": "grey",
    "wrong channels": "wrong channels",
    "half precision": "float16",
    "channels last": "channels last",
    "frozen": "frozen",
    "compiled": "compiled",
    "DataParallel": "DataParallel",
    "statistics of the batch": "batch statistics",
    "ways that depend on the image": "branches by image",
    "ways that depend on the batch": "branches by batch",
    "weights that are not contiguous": "not contiguous",
    "wrong class count": "labels",
    "one input size only": "one size",
    "class numbers for scores": "class numbers",
}


def test_all_thirty_are_here() -> None:
    assert len(THIRTY) == 30
    assert set(THIRTY.values()) <= QUIRKS.keys()


def explained(model: Any, method: str, **more: Any) -> xai.Explanation | str:
    """Return the explanation, or the one line in which it was refused."""
    channels = model.channels if isinstance(model, xai.Classifier) else 3
    try:
        return xai.explain(model, pictures(2, channels=channels), method, 1, **{**SETTINGS.get(method, {}), **more})
    except xai.XaiError as error:
        return str(error)


def outcome(name: str, method: str) -> str:
    """Return "refused", "right" or "said"; anything else is a wrong map without a word."""
    quirk = QUIRKS[name]
    try:
        model = opened(quirk)
    except xai.XaiError:
        return "refused"
    found = explained(model, method)
    if isinstance(found, str):
        return "refused" if found.isprintable() and len(found) < 420 else "too long a refusal"
    if quirk.twin is None or name == "random in eval" or name in HALF:
        return "said" if re.search(quirk.says, " | ".join(found.notes)) else "silent"
    wanted = of_twin(quirk, model, method, found)
    return "right" if wanted is not None and near(found.attribution, wanted, quirk) else "wrong"


def of_twin(quirk: Quirk, model: xai.Classifier, method: str, found: xai.Explanation) -> Tensor | None:
    """Return the map of the plain twin, at the layer that was looked at."""
    twin = xai.Classifier((quirk.twin or GapCnn)(), channels=model.channels, **quirk.of_twin)
    more = {}
    if found.layer and "layer" in [field.name for field in fields(EXPLAINERS[method])]:
        places = {name for name, _ in twin.module.named_modules()}
        ends = [name for name in places if name and (found.layer.endswith(name) or name.endswith(found.layer))]
        more = {"layer": max(ends, key=len)} if ends else {}
    wanted = explained(twin, method, **more)
    return None if isinstance(wanted, str) else wanted.attribution


def near(mine: Tensor, own: Tensor, quirk: Quirk) -> bool:
    scale = float(own.abs().max())
    return scale > 0 and float((mine.double() - own.double()).abs().max()) <= quirk.tolerance * scale


def pairs(names: list[str]) -> list[tuple[str, str]]:
    # DeepLIFT takes softmax and logarithm as two steps of its chain, and a log-softmax as one: both are DeepLIFT
    steps = {(name, "deeplift") for name in names if name.startswith("softmax")}
    return [(name, method) for name in names for method in METHODS if (name, method) not in steps]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "method"), pairs([name for name in QUIRKS if name not in REFUSED]))
def test_no_map_is_wrong_without_a_word(name: str, method: str) -> None:
    assert outcome(name, method) in {"refused", "right", "said"}


BYTES = (pictures(1)[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
SAME = {
    "bytes": BYTES.numpy(),
    "a batch of bytes": BYTES[None].numpy(),
    "float64": BYTES.numpy() / 255,
    "an image": Image.fromarray(BYTES.numpy()),
    "an image with alpha": Image.fromarray(BYTES.numpy()).convert("RGBA"),
    "another layout of memory": np.asfortranarray(BYTES.numpy()),
    "a view": np.repeat(BYTES.numpy(), 2, 0)[::2],
    "backwards": np.ascontiguousarray(BYTES.numpy()[::-1])[::-1],
}


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("method", ["gradcam", "saliency", "occlusion"])
def test_pictures_in_every_form_have_one_map(kind: str, method: str) -> None:
    wanted = xai.explain(GapCnn(), BYTES.permute(2, 0, 1) / 255, method, 1).attribution
    found = xai.explain(GapCnn(), SAME[kind], method, 1).attribution
    torch.testing.assert_close(found.float(), wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16", "1"])
def test_a_grey_picture_in_a_network_of_colours_is_that_grey_in_each_channel(mode: str) -> None:
    grey = Image.fromarray(BYTES.numpy()[..., 0])
    picture = Image.fromarray(BYTES.numpy()[..., 0].astype(np.uint16) * 257) if mode == "I;16" else grey.convert(mode)
    values = torch.from_numpy(np.array(grey.convert("1" if mode == "1" else "L"), dtype="float32"))
    values = values if mode == "1" else values / 255
    wanted = xai.explain(GapCnn(), values.expand(3, 16, 16), "saliency", 1).attribution
    torch.testing.assert_close(xai.explain(GapCnn(), picture, "saliency", 1).attribution, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (2, 2), (3, 200)])
@pytest.mark.parametrize("method", ["gradcam", "saliency", "occlusion", "lime"])
def test_tiny_pictures_are_explained_or_refused_in_one_line(size: tuple[int, int], method: str) -> None:
    try:
        found = xai.explain(GapCnn(), pictures(1, size=size), method, 1, **SETTINGS.get(method, {}))
    except xai.XaiError as error:
        assert str(error).isprintable()  # noqa: PT017 (a map is as good)
    else:
        assert found.heatmap.shape == size
        assert np.isfinite(found.heatmap).all()


def test_what_is_wrapped_for_several_machines_is_the_network_inside(tmp_path: Any) -> None:
    place = f"file://{tmp_path}/meeting"
    torch.distributed.init_process_group("gloo", init_method=place, rank=0, world_size=1)
    try:
        found = xai.load(nn.parallel.DistributedDataParallel(GapCnn()))
        mine = xai.explain(found, pictures(2), "gradcam", 1).attribution
    finally:
        torch.distributed.destroy_process_group()
    assert torch.equal(mine, xai.explain(GapCnn(), pictures(2), "gradcam", 1).attribution)
    assert "the model behind DistributedDataParallel is used" in found.notes
