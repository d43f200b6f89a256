"""Grad-CAM, HiResCAM and LayerCAM on tiny random models of many families, against maps computed in plain torch."""

import pytest
import torch
from model_families import TIMM, TRANSFORMERS, Family
from torch import Tensor, nn
from torch.nn import functional as F

import xai
from xai.core.layers.outputs import LayerChoice
from xai.core.layers.selection import find_layer
from xai.core.runtime.batching import tensors_in, with_tensor

FEW = ["ViT", "ResNet", "BEiT", "Hiera", "swin_transformer", "pit"]
EVERY = {**TRANSFORMERS, **TIMM}


def terms(net: nn.Module, choice: LayerChoice, image: Tensor, target: int) -> Tensor:
    """Return the largest sum of magnitudes that a place of HiResCAM is made of: what rounding goes by."""
    maps, slopes = maps_and_slopes(net, choice, image, target)
    return (maps * slopes).abs().sum(0).max()


def maps_and_slopes(net: nn.Module, choice: LayerChoice, image: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Return a layer's maps and their gradient, (C, h, w), from the whole graph: nothing is cut."""
    held: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> object:
        held.append(tensors_in(output)[choice.tensor])
        return with_tensor(output, held[0], held[0].clone())  # an in-place layer may follow

    handle = net.get_submodule(choice.name).register_forward_hook(keep)
    answer = net(image.clone().requires_grad_())
    handle.remove()
    logits = getattr(answer, "logits", answer)
    (slopes,) = torch.autograd.grad(logits[0, target], held[0])
    return _maps(held[0].detach(), choice), _maps(slopes, choice)


def by_hand(net: nn.Module, choice: LayerChoice, image: Tensor, target: int) -> dict[str, Tensor]:
    """Return the three maps; the places are read by their numbers."""
    maps, slopes = maps_and_slopes(net, choice, image, target)
    coarse = {
        "gradcam": (slopes.mean((1, 2), keepdim=True) * maps).sum(0),
        "hirescam": (slopes * maps).sum(0),
        "layercam": (slopes.clamp_min(0) * maps).sum(0),
    }
    size = (image.shape[2], image.shape[3])
    return {
        name: F.interpolate(found[None, None].clamp_min(0), size, mode="bilinear", align_corners=False)[0, 0]
        for name, found in coarse.items()
    }


def _maps(output: Tensor, choice: LayerChoice) -> Tensor:
    """Return (C, h, w): axes told apart by the layout's words, tokens picked one by one."""
    layout = choice.layout
    if layout.kind == "maps":
        return output[0]
    if layout.kind == "maps, channels last":
        return output[0].permute(2, 0, 1)
    tokens = {"tokens": output[0], "tokens, channels first": output[0].T, "tokens, sequence first": output[:, 0]}
    places = [tokens[layout.kind][int(k)] for k in layout.places()]
    return torch.stack(places, 1).unflatten(1, layout.grid)


def patches_of_places(classifier: xai.Classifier, choice: LayerChoice, size: int) -> tuple[Tensor, Tensor]:
    """Return where each place is, and where the patches of noise are that it answers to: two (2, places), in 0-1."""
    source, side = torch.Generator().manual_seed(7), size // 3
    base = 0.4 + 0.2 * torch.rand(1, 3, size, size, generator=source)
    rows, centres = [base], []
    for top in (0, side, size - side):
        for left in (0, side, size - side):
            rows.append(base.clone())
            rows[-1][:, :, top : top + side, left : left + side] = torch.rand(3, side, side, generator=source).round()
            centres.append((top + side / 2, left + side / 2))
    held: list[Tensor] = []
    handle = classifier.module.get_submodule(choice.name).register_forward_hook(
        lambda _m, _i, output: held.append(_placed(tensors_in(output)[choice.tensor].detach().clone(), choice))
    )
    with torch.no_grad():
        classifier.raw_logits(torch.cat(rows))
    handle.remove()
    change = (held[0][1:] - held[0][:1]).double().square().sum(1).flatten(1)
    answered = torch.tensor(centres, dtype=torch.float64).T @ (change / change.sum(0)) / size
    down, across = choice.layout.grid
    middles = torch.meshgrid((torch.arange(down) + 0.5) / down, (torch.arange(across) + 0.5) / across, indexing="ij")
    return torch.stack([axis.flatten().double() for axis in middles]), answered


def _placed(output: Tensor, choice: LayerChoice) -> Tensor:
    if choice.layout.kind == "tokens, sequence first":
        output = output.transpose(0, 1)
        return torch.stack([_maps(row[:, None], choice) for row in output])
    return torch.stack([_maps(row[None], choice) for row in output])


@pytest.mark.parametrize(
    "name",
    [*FEW, *(pytest.param(name, marks=pytest.mark.slow) for name in EVERY if name not in FEW)],
)
def test_maps_of_many_families(name: str) -> None:
    family: Family = EVERY[name]
    net = family.build()
    classifier = xai.Classifier(net, input_size=(family.size, family.size))
    image = torch.rand(1, 3, family.size, family.size, generator=torch.Generator().manual_seed(3))
    choice = find_layer(classifier, image)
    assert "checked by gradient and by moving a patch" in choice.reason
    assert choice.share.enough
    rounding = 1e-6 * float(terms(net, choice, image, target=1))
    for method, wanted in by_hand(net, choice, image, target=1).items():
        found = xai.explain(classifier, image, method, target=1)
        assert found.layer == choice.name
        largest = float(wanted.abs().max())
        assert float((found.attribution[0, 0] - wanted).abs().max()) <= 1e-4 * largest + rounding, method
    where, answered = patches_of_places(classifier, choice, family.size)
    for axis in (0, 1):
        assert float(torch.corrcoef(torch.stack([where[axis], answered[axis]]))[0, 1]) > 0.6
