"""One network in torch and, with the same weights, in Keras: a convolutional one and a transformer, small or large."""

from types import ModuleType
from typing import Any

import numpy as np
import torch
from small_models import randomise
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions with batch norm, and a way around them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)

    def forward(self, maps: Tensor) -> Tensor:
        inner = self.norm1(self.conv1(maps)).relu()
        return (maps + self.norm2(self.conv2(inner))).relu()


class Residual(nn.Module):
    """A residual network: a stem that halves the image, blocks, average pooling, a linear head."""

    def __init__(self, width: int = 6, blocks: int = 1, classes: int = 5) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(2)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.last = nn.ReLU()
        self.head = nn.Linear(width, classes)
        randomise(self)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.pool(self.norm(self.stem(images)).relu())
        return self.head(self.last(self.blocks(maps)).mean((2, 3)))


class Vit(nn.Module):
    """A vision transformer: patches, class token, places, blocks that normalise first, a head on the class token."""

    def __init__(
        self, side: int = 16, patch: int = 4, width: int = 16, depth: int = 2, heads: int = 2, classes: int = 5
    ) -> None:
        super().__init__()
        self.grid = side // patch
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)
        randomise(self)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(images.shape[0], -1, -1), tokens], 1) + self.place
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def residual_in_keras(keras: ModuleType, net: Residual, side: int) -> Any:
    """Return the same network as a Keras model, channels last."""
    layers, width = keras.layers, net.stem.out_channels
    filled: list[tuple[Any, list[np.ndarray]]] = []

    def conv(x: Any, part: nn.Conv2d, norm: nn.BatchNorm2d) -> Any:
        layer = layers.Conv2D(part.out_channels, 3, padding="same", use_bias=False)
        scale = layers.BatchNormalization(epsilon=norm.eps)
        filled.append((layer, [_array(part.weight.permute(2, 3, 1, 0))]))
        filled.append((scale, [_array(t) for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]))
        return scale(layer(x))

    given = keras.Input((side, side, 3))
    x = layers.MaxPooling2D(2)(layers.ReLU()(conv(given, net.stem, net.norm)))
    for block in net.blocks:
        inner = layers.ReLU()(conv(x, block.conv1, block.norm1))
        x = layers.ReLU()(layers.Add()([x, conv(inner, block.conv2, block.norm2)]))
    head = layers.Dense(net.head.out_features)
    filled.append((head, [_array(net.head.weight.T), _array(net.head.bias)]))
    answer = head(layers.GlobalAveragePooling2D()(layers.ReLU(name="last")(x)))
    assert width == x.shape[-1]
    return _filled(keras.Model(given, answer), filled)


def vit_in_keras(keras: ModuleType, net: Vit, side: int) -> Any:
    """Return the same network as a Keras model; an empty first token and a bias for each place stand for the token."""
    layers, width, count = keras.layers, net.embed.out_channels, net.grid**2
    filled: list[tuple[Any, list[np.ndarray]]] = []

    def keep(layer: Any, *values: Tensor) -> Any:
        filled.append((layer, [_array(value) for value in values]))
        return layer

    def norm(part: nn.LayerNorm) -> Any:
        return keep(layers.LayerNormalization(epsilon=part.eps), part.weight, part.bias)

    def dense(part: nn.Linear, activation: str | None = None) -> Any:
        return keep(layers.Dense(part.out_features, activation=activation), part.weight.T, part.bias)

    given = keras.Input((side, side, 3))
    patch = net.embed.kernel_size[0]
    embed = keep(layers.Conv2D(width, patch, strides=patch), net.embed.weight.permute(2, 3, 1, 0), net.embed.bias)
    x = layers.ZeroPadding1D((1, 0))(layers.Reshape((count, width))(embed(given)))
    places = torch.cat([net.token[0] + net.place[0, :1], net.place[0, 1:]])
    x = keep(layers.EinsumDense("bpc,cd->bpd", (1 + count, width), bias_axes="pd"), torch.eye(width), places)(x)
    for block in net.blocks.layers:
        heads = block.self_attn.num_heads
        attend = keep(layers.MultiHeadAttention(heads, width // heads), *_attention(block.self_attn))
        y = norm(block.norm1)(x)
        x = layers.Add()([x, attend(y, y)])
        x = layers.Add()([x, dense(block.linear2)(dense(block.linear1, "gelu")(norm(block.norm2)(x)))])
    x = layers.Flatten()(layers.Cropping1D((0, count))(norm(net.norm)(x)))
    return _filled(keras.Model(given, dense(net.head)(x)), filled)


def _attention(part: nn.MultiheadAttention) -> list[Tensor]:
    """Return query, key, value and output of attention as Keras keeps them: (D, heads, size), (heads, size)."""
    heads, width = part.num_heads, part.embed_dim
    found = []
    for weight, bias in zip(part.in_proj_weight.chunk(3), part.in_proj_bias.chunk(3), strict=True):
        found += [weight.T.reshape(width, heads, -1), bias.reshape(heads, -1)]
    return [*found, part.out_proj.weight.T.reshape(heads, -1, width), part.out_proj.bias]


def _array(value: Tensor) -> np.ndarray:
    return value.detach().contiguous().numpy()


def _filled(model: Any, values: list[tuple[Any, list[np.ndarray]]]) -> Any:
    for layer, arrays in values:
        layer.set_weights(arrays)
    return model
