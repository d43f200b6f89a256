"""Attention rollout: a numpy replica on torchvision's and timm's transformers, planted attention, and refusals."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from small_models import GRID, GapCnn, PlantedAttention, PlantedViT, patch_of, pictures
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision_cpu import import_torchvision

import xai
from xai.errors import RangeError, UnsupportedModelError
from xai.explanations.methods.attention_rollout import Attention

HOWS = ("fused", "module", "softmax")


def rollout(model: Any, images: Tensor, **settings: Any) -> xai.Explanation:
    return xai.explain(model, images, "attention_rollout", **settings)


def by_hand(layers: list[np.ndarray], share: float = 0.5) -> np.ndarray:
    """Return the product (n, T, T) of attentions (n, heads, T, T), first to last."""
    total = np.eye(layers[0].shape[-1])[None]
    for weights in layers:
        total = ((1 - share) * weights.mean(1) + share * np.eye(weights.shape[-1])) @ total
    return total


def torchvision_vit() -> nn.Module:
    torch.manual_seed(0)
    vision = import_torchvision().models
    net = vision.VisionTransformer(32, 8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    nn.init.normal_(net.heads.head.weight)
    for parameter in net.encoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    return net.double().eval()


def timm_vit(**settings: Any) -> nn.Module:
    import_torchvision()
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    made = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2, "num_classes": 5, **settings}
    net = timm.models.vision_transformer.VisionTransformer(**made)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.5)
    return net.double().eval()


@contextmanager
def watched(net: nn.Module) -> Iterator[list[np.ndarray]]:
    """Collect the weights that each nn.MultiheadAttention gives when asked for them."""
    seen: list[np.ndarray] = []

    def ask(module: nn.Module, args: Any, output: Any) -> None:
        seen.append(module.forward(*args, average_attn_weights=False)[1].numpy())

    parts = [part for part in net.modules() if isinstance(part, nn.MultiheadAttention)]
    handles = [part.register_forward_hook(ask) for part in parts]
    with torch.no_grad():
        yield seen
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("share", [0.5, 0.0, 0.9])
def test_equals_the_replica_on_torchvision(share: float) -> None:
    net, images = torchvision_vit(), pictures(3, size=(32, 32)).double()
    with watched(net) as layers:
        net(images)
    assert len(layers) == 3
    found = rollout(net, images, residual=share)
    wanted = by_hand(layers, share)[:, 0, 1:].reshape(3, 4, 4)
    np.testing.assert_allclose(found.coarse.numpy(), wanted, atol=1e-12)
    enlarged = F.interpolate(found.coarse[:, None], (32, 32), mode="bilinear")
    torch.testing.assert_close(found.attribution, enlarged)
    assert "read at token 0; 4 x 4 tokens behind 1 class or register token(s)" in found.notes
    with torch.no_grad():
        torch.testing.assert_close(found.logits, net(images))


def timm_layers(net: nn.Module, images: Tensor) -> list[np.ndarray]:
    """Return each block's attention, computed from what enters its `attn`."""
    seen: list[np.ndarray] = []

    def look(module: Any, args: tuple[Tensor, ...], _output: Tensor) -> None:
        count, tokens, width = args[0].shape
        query, key, _ = module.qkv(args[0]).reshape(count, tokens, 3, module.num_heads, -1).permute(2, 0, 3, 1, 4)
        seen.append((query @ key.transpose(-2, -1) / (width / module.num_heads) ** 0.5).softmax(-1).numpy())

    handles = [block.attn.register_forward_hook(look) for block in net.blocks]
    with torch.no_grad():
        net(images)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    ("settings", "rows", "first", "said"),
    [
        ({}, [0], 1, "token 0"),
        ({"reg_tokens": 3}, [0], 4, "token 0"),
        ({"global_pool": "avg", "class_token": False, "reg_tokens": 2}, range(2, 18), 2, "the mean of 16 tokens"),
        ({"global_pool": "avg", "class_token": False}, range(16), 0, "the mean of 16 tokens"),
        ({"global_pool": "avg"}, range(1, 17), 1, "the mean of 16 tokens"),
    ],
    ids=["class", "class and registers", "registers, mean", "mean", "class unread, mean"],
)
def test_equals_the_replica_on_timm(settings: dict[str, Any], rows: Any, first: int, said: str, fused: bool) -> None:
    net, images = timm_vit(**settings), pictures(2, size=(32, 32)).double()
    for block in net.blocks:
        block.attn.fused_attn = fused
    wanted = by_hand(timm_layers(net, images))[:, list(rows), first:].mean(1).reshape(2, 4, 4)
    found = rollout(net, images)
    np.testing.assert_allclose(found.coarse.numpy(), wanted, atol=1e-12)
    assert any(f"read at {said}" in note for note in found.notes)


def test_a_pooling_attention_at_the_end_is_the_last_factor() -> None:
    net, images = timm_vit(global_pool="map", class_token=False), pictures(2, size=(32, 32)).double()
    found = rollout(net, images)
    assert any("read at the attention that pools the tokens" in note for note in found.notes)
    torch.testing.assert_close(found.coarse.sum((1, 2)), torch.ones(2).double())


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("registers", [0, 3])
def test_finds_the_token_that_is_looked_at(how: str, registers: int) -> None:
    for place in range(GRID * GRID):
        found = rollout(PlantedAttention(place, registers, how), pictures(2), target=1)
        for heatmap in found.heatmaps:
            row, column = divmod(int(heatmap.argmax()), 16)
            assert patch_of(row, column) == place


def test_all_ways_to_compute_attention_give_the_same() -> None:
    maps = [rollout(PlantedAttention(6, 1, how).double(), pictures(2).double()).attribution for how in HOWS]
    torch.testing.assert_close(maps[1], maps[0])
    torch.testing.assert_close(maps[2], maps[0])
    values = rollout(PlantedAttention(6, 1), pictures(2)).coarse
    assert float(values.min()) >= 0
    assert float(values.sum((1, 2)).max()) <= 0.5 + 1e-6  # the class token keeps the skip connection's half


def test_is_the_same_for_every_class_and_says_so() -> None:
    found = rollout(PlantedAttention(), pictures(1), target=[0, 1])
    assert torch.equal(found.attribution[0], found.attribution[1])
    assert found.targets.tolist() == [0, 1]
    assert any("the same for every class" in note for note in found.notes)


def test_many_pictures_go_in_chunks_and_equal_single_ones() -> None:
    rows: list[int] = []
    net = PlantedAttention()
    net.embed.register_forward_hook(lambda _module, args, _output: rows.append(len(args[0])))
    images = pictures(40)
    found = rollout(net, images).attribution
    rows.clear()
    found = rollout(net, images).attribution
    assert max(rows) <= 16
    for k in (0, 15, 16, 39):
        torch.testing.assert_close(rollout(net, images[k : k + 1]).attribution[0], found[k])


def test_without_a_gradient_the_class_token_is_read() -> None:
    net = PlantedAttention(5)
    wanted = rollout(net, pictures(2)).attribution
    nn.init.zeros_(net.head.weight)
    assert torch.equal(rollout(net, pictures(2)).attribution, wanted)


class Merged(PlantedViT):
    """Attention whose two heads are counted as images, as older code has it."""

    def __init__(self, mixed: bool = False) -> None:
        super().__init__()
        self.query, self.mixed = nn.Linear(3, 3), mixed

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images)
        tokens = self.block(torch.cat([self.extra.expand(len(tokens), -1, -1), tokens], 1))
        for heads in (2, 4 if self.mixed else 2):
            many = tokens.repeat_interleave(heads, 0)
            weights = F.softmax(self.query(many) @ many.transpose(1, 2), -1)
            tokens = tokens + (weights @ many).unflatten(0, (len(images), heads)).mean(1)
        return self.head(tokens[:, 0])


def test_heads_counted_as_pictures() -> None:
    found = rollout(Merged(), pictures(3))
    alone = rollout(Merged(), pictures(1))
    assert found.coarse.shape == (3, 4, 4)
    assert alone.coarse.shape == (1, 4, 4)
    with pytest.raises(UnsupportedModelError, match=r"in windows\. Use occlusion"):
        rollout(Merged(mixed=True), pictures(3))


def test_windows_are_refused() -> None:
    vision = import_torchvision().models
    swin = vision.swin_transformer.SwinTransformer([4, 4], 12, [2, 2], [2, 4], [4, 4], num_classes=5).eval()
    with pytest.raises(UnsupportedModelError, match=r"not run once per image, but in windows\. Use occlusion"):
        rollout(swin, torch.rand(1, 3, 64, 64))


class Pooled(PlantedAttention):
    """Every second token leaves before another attention."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(3, 1, batch_first=True)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images)
        tokens = self.block(torch.cat([self.extra.expand(len(tokens), -1, -1), tokens], 1))
        tokens = self.attend(tokens)[:, ::2]
        return self.head((tokens + self.inner(tokens, tokens, tokens)[0])[:, 0])


def test_sequences_that_shrink_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"tokens changes between layers\. Use occlusion"):
        rollout(Pooled(), pictures(1))


class Channels(GapCnn):
    """A softmax of a square that has nothing to do with places."""

    def forward(self, images: Tensor) -> Tensor:
        maps = self.relu2(self.conv2(self.pool(self.relu1(self.conv1(images)))))
        flat = maps.flatten(2)
        weights = (flat @ flat.transpose(1, 2)).softmax(-1)
        return self.head((weights @ flat).mean(2) + maps.mean((2, 3)))


@pytest.mark.parametrize(
    ("net", "why"),
    [(GapCnn, "no attention was seen"), (PlantedViT, "no attention was seen"), (Channels, "spans 6 tokens at a time")],
)
def test_networks_without_attention_between_places_are_refused(net: type[nn.Module], why: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"{why}.* Use occlusion, or gradcam"):
        rollout(net(), pictures(2))


@pytest.mark.parametrize("mask", [None, "bool", "float", "causal", "grouped", "scale"])
def test_weights_are_those_of_torch(mask: str | None) -> None:
    query, key = torch.rand(2, 4, 5, 3), torch.rand(2, 2 if mask == "grouped" else 4, 5, 3)
    shown = torch.eye(5).expand(*key.shape[:2], 5, 5)
    settings: dict[str, Any] = {
        "bool": {"attn_mask": torch.rand(5, 5) > 0.3},
        "float": {"attn_mask": torch.rand(2, 1, 5, 5)},
        "causal": {"is_causal": True},
        "grouped": {"enable_gqa": True},
        "scale": {"scale": 2.0},
    }.get(mask or "", {})
    if mask == "bool":
        settings["attn_mask"].fill_diagonal_(True)
    seen: list[Tensor] = []
    with Attention(seen.append):
        wanted = F.scaled_dot_product_attention(query, key, shown, **settings)
    torch.testing.assert_close(seen[0], wanted)


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("averaged", [True, False])
def test_multihead_attention_returns_what_was_asked_for(asked: bool, averaged: bool) -> None:
    part, tokens = nn.MultiheadAttention(6, 2, batch_first=True).eval(), torch.rand(3, 5, 6)
    settings = {"need_weights": asked, "average_attn_weights": averaged}
    seen: list[Tensor] = []
    with torch.no_grad():
        wanted = part(tokens, tokens, tokens, **settings)
        with Attention(seen.append):
            found = part(tokens, tokens, tokens, **settings)
    torch.testing.assert_close(found[0], wanted[0])
    assert seen[0].shape == (3, 2, 5, 5)
    if asked:
        torch.testing.assert_close(found[1], wanted[1])
    else:
        assert found[1] is None


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_residual_has_a_range(share: float) -> None:
    with pytest.raises(RangeError, match="`residual` from 0 to below 1"):
        rollout(PlantedAttention(), pictures(1), residual=share)
