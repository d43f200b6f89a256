"""Small networks that the examples use, as plain modules without any weights."""

from torch import Tensor, nn


def _stage(inside: int, outside: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    ]


class SmallNet(nn.Module):
    """Four 3x3 convolutions with batch norm, average pooling and one linear layer.

    For small images: 28 x 28 in, a 7 x 7 map before the pooling. With `pool` = 1 the class score is a plain sum over
    places; with `pool` = 7 the linear layer sees each place.

    Args:
        num_classes: width of the output.
        channels: channels of the input, 1 for grey.
        width: channels of the first stage; the others have 2, 2 and 4 times as many.
        pool: side of the map after the pooling.
    """

    def __init__(self, num_classes: int = 10, channels: int = 1, width: int = 32, pool: int = 1) -> None:
        """Lay out the network with random weights."""
        super().__init__()
        self.features = nn.Sequential(
            *_stage(channels, width, 1),
            *_stage(width, 2 * width, 2),
            *_stage(2 * width, 2 * width, 1),
            *_stage(2 * width, 4 * width, 2),
        )
        self.pool = nn.AdaptiveAvgPool2d(pool)
        self.head = nn.Linear(4 * width * pool**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, num_classes) logits of normalised images (N, channels, H, W)."""
        pooled = self.pool(self.features(images)).flatten(1)
        logits: Tensor = self.head(pooled)
        return logits
