"""Joined convolutions answer as the plain ones do, for every padding and activation."""

import pytest
import torch
from test_incremental import SamePad
from torch import Tensor, nn
from torch.nn import functional as F

from xai.engine.graph import JoinedConv2d, can_join, join_convolutions

ACTIVATIONS = [nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.7), nn.SiLU(), nn.Hardswish(), nn.LeakyReLU(0.2)]
CONVOLUTIONS = [
    nn.Conv2d(3, 6, 3, padding=1),
    nn.Conv2d(3, 6, (3, 5), stride=(1, 2), padding="valid"),
    nn.Conv2d(3, 6, 5, padding="same"),
    nn.Conv2d(3, 6, 3, dilation=2, groups=3, bias=False),
    SamePad(3, 6, 3, stride=2),
]


class Behind(nn.Module):
    """Activations written as functions and methods; one convolution is read twice, one runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, maps: Tensor) -> Tensor:
        maps = F.relu(self.one(maps)) + F.relu6(self.one(maps))
        both = self.two(maps)
        return (torch.relu(both) - both + self.three(maps).relu_()).mean((2, 3))


class Tracer(torch.fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def traced(module: nn.Module) -> torch.fx.GraphModule:
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return torch.fx.GraphModule(module.eval(), Tracer().trace(module))


def sample() -> Tensor:
    source = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 18, 15, generator=source).contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not can_join(torch.device("cpu"), torch.float32), reason="this build of torch cannot join")
class TestJoin:
    @pytest.mark.parametrize("conv", CONVOLUTIONS, ids=str)
    @pytest.mark.parametrize("activation", [*ACTIVATIONS, nn.GELU(), nn.GELU("tanh"), nn.Softplus()], ids=str)
    def test_equals_the_plain_ones(self, conv: nn.Conv2d, activation: nn.Module) -> None:
        plain = nn.Sequential(conv, activation, nn.Flatten())
        wanted, graph = plain(sample()), traced(plain)
        assert join_convolutions(graph, sample()[:1]) == 1
        kinds = [type(part) for part in graph.modules()]
        assert JoinedConv2d in kinds
        assert (type(activation) in kinds) == isinstance(activation, nn.Softplus)
        torch.testing.assert_close(graph(sample()), wanted.detach(), rtol=1e-5, atol=1e-6)

    def test_what_is_read_twice_and_what_runs_twice(self) -> None:
        torch.manual_seed(0)
        plain = Behind()
        wanted, graph = plain(sample()), traced(plain)
        assert join_convolutions(graph, sample()[:1]) == 4
        behind = [part.activation[0] for part in graph.modules() if isinstance(part, JoinedConv2d)]
        assert sorted(behind) == ["hardtanh", "none", "relu", "relu"]
        assert len({id(part.weight) for part in graph.modules() if isinstance(part, JoinedConv2d)}) == 3
        torch.testing.assert_close(graph(sample()), wanted.detach(), rtol=1e-5, atol=1e-6)

    def test_reflected_borders_stay(self) -> None:
        graph = traced(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten()))
        assert join_convolutions(graph, sample()[:1]) == 0


def test_only_on_the_cpu_in_float32() -> None:
    assert not can_join(torch.device("cpu"), torch.float64)
    assert not can_join(torch.device("meta"), torch.float32)


@pytest.mark.skipif(not can_join(torch.device("cpu"), torch.float32), reason="this build of torch cannot join")
@pytest.mark.parametrize("size", [3, 4])
def test_maps_smaller_than_the_kernel(size: int) -> None:
    plain = nn.Sequential(SamePad(3, 6, 5), nn.ReLU(), nn.Flatten())
    small = sample()[..., :size, :size].contiguous()
    wanted, graph = plain(small), traced(plain)
    assert join_convolutions(graph, small[:1]) == 1
    torch.testing.assert_close(graph(small), wanted)
