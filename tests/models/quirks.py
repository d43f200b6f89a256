"""Networks with what explanations stumble over, each with a plain twin that has the same maps, or the refusal due."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from small_models import (
    Answer,
    BatchNormNet,
    DetachModel,
    GapCnn,
    NaNModel,
    OneLogit,
    Returns,
    ReusedModule,
    as_dict,
    as_tuple,
    inplace_relu,
    randomise,
)
from torch import Tensor, nn
from torch.nn import functional as F

import xai
from xai.errors import NonFiniteError, UnsupportedModelError
from xai.explanations.methods.base import EXPLAINERS

SETTINGS: dict[str, dict[str, Any]] = {
    "gradient_shap": {"samples": 4},
    "integrated_gradients": {"steps": 4},
    "occlusion": {"window": 4, "stride": 4},
    "lime": {"samples": 40, "segments": "grid", "regions": 16},
    "kernelshap": {"samples": 40, "segments": "grid", "regions": 16},
    "rise": {"samples": 30},
    "smoothgrad": {"samples": 3},
    "scorecam": {},
}
FEW = ["gradcam", "saliency", "integrated_gradients", "occlusion", "lime"]
REST = [name for name in EXPLAINERS.names() if name not in {*FEW, "attention_rollout"}]


class Then(nn.Module):
    """A network with something behind it."""

    def __init__(self, net: nn.Module, after: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net, self.after = net, after
        self.eval()

    def forward(self, images: Tensor) -> Any:
        return self.after(self.net(images))


class First(nn.Module):
    """A network with something before it."""

    def __init__(self, net: nn.Module, before: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.before = net, before
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.before(images))


class Branching(nn.Module):
    """Goes one way or the other by what is in each image."""

    def __init__(self) -> None:
        super().__init__()
        self.net = GapCnn()
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        rows = [self.net(image[None]) for image in images]  # each image takes its own way
        return torch.cat([row if float(row.detach().sum()) < 1e9 else -row for row in rows])


class BatchBranching(GapCnn):
    """Goes one way or the other by what is in the whole batch."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * (1.0 if len(images) == 1 else -1.0)


class Counting(GapCnn):
    """Counts its forwards in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.seen += 1
        return super().forward(images)


class TwoInputs(GapCnn):
    """Wants more than images."""

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        return super().forward(images * mask)


class OneByOne(GapCnn):
    """Flattens the batch away."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.reshape(1, 3, 16, 16))


class Fixed(nn.Module):
    """Takes images of one size only."""

    def __init__(self, side: int = 16, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(4 * side * side, 4)
        randomise(self, scale=2.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.relu(self.conv(images)).flatten(1))


def made(net: nn.Module, change: Callable[[nn.Module], Any]) -> nn.Module:
    """Return the network, changed in place."""
    change(net)
    return net


def strided(net: nn.Module) -> None:
    """Give every weight matrix a layout that is not contiguous."""
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3)


def no_running_statistics() -> nn.Module:
    net = BatchNormNet()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.track_running_stats, part.running_mean, part.running_var = False, None, None
    return net


def never_frozen() -> nn.Module:
    """Return a network whose batch norm keeps learning in evaluation mode."""

    class Learning(nn.BatchNorm2d):
        def forward(self, maps: Tensor) -> Tensor:
            return F.batch_norm(maps, self.running_mean, self.running_var, self.weight, self.bias, True, 0.1)

    return nn.Sequential(nn.Conv2d(3, 4, 3), Learning(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@dataclass(frozen=True)
class Quirk:
    """A network and what must come of it: the maps of its twin, with a note; or a refusal."""

    build: Callable[[], nn.Module]
    twin: Callable[[], nn.Module] | None = GapCnn
    says: str = ""
    refused: type[xai.XaiError] = UnsupportedModelError
    settings: dict[str, Any] = field(default_factory=dict)
    of_twin: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-5
    methods: tuple[str, ...] = ()  # those that can work; () = all


LOG = {"output": "logits"}
SAME = "8 probe images, none of them from your data, the same output|2 of the given images the same output"
WITHOUT_GRADIENTS = ("occlusion", "lime", "kernelshap", "rise")
QUIRKS = {
    "softmax": Quirk(
        lambda: Then(GapCnn(), lambda z: (z / 9).softmax(1)),
        lambda: Then(GapCnn(), lambda z: (z / 9).log_softmax(1)),
        "ends in a softmax: its logarithm is used",
        of_twin=LOG,
        tolerance=1e-3,
    ),
    "softmax by hand": Quirk(
        lambda: Then(GapCnn(), lambda z: (z / 9).exp() / (z / 9).exp().sum(1, keepdim=True)),
        lambda: Then(GapCnn(), lambda z: (z / 9).log_softmax(1)),
        "ends in a softmax",
        of_twin=LOG,
        tolerance=1e-3,
    ),
    "log softmax": Quirk(
        lambda: Then(GapCnn(), lambda z: (z / 9).log_softmax(1)),
        lambda: Then(GapCnn(), lambda z: z / 9 - (z / 9).logsumexp(1, keepdim=True)),
        "log-softmax, whose outputs are logits",
        tolerance=1e-3,
    ),
    "sigmoid": Quirk(
        lambda: Then(GapCnn(), lambda z: torch.sigmoid(z / 9)),
        lambda: Then(GapCnn(), lambda z: z / 9),
        "ends in a sigmoid",
        of_twin={"task": "multilabel"},
        tolerance=1e-3,
    ),
    "one probability": Quirk(
        lambda: Then(GapCnn(classes=1), lambda z: torch.sigmoid(z / 9)),
        lambda: Then(GapCnn(classes=1), lambda z: z / 9),
        "ends in a sigmoid",
        tolerance=1e-3,
    ),
    "one class": Quirk(
        lambda: OneLogit().eval(),
        lambda: Then(GapCnn(classes=1), lambda z: torch.cat([0 * z, z], 1)),
        "one output is read as the logit of two classes",
        methods=("saliency", "occlusion", "integrated_gradients", "lime"),  # the other class of the twin has no layer
    ),
    "one logit, flat": Quirk(
        lambda: OneLogit(flat=True).eval(), lambda: OneLogit().eval(), "one output is read as the logit of two classes"
    ),
    "one logit, as said": Quirk(
        lambda: OneLogit().eval(), lambda: OneLogit().eval(), settings={"task": "binary"}, of_twin={"task": "binary"}
    ),
    "tuple": Quirk(lambda: Returns(as_tuple).eval(), says="returns 2 things: the first"),
    "dict": Quirk(lambda: Returns(as_dict).eval(), says="returns a dict: 'logits' is read"),
    "object": Quirk(lambda: Returns(Answer).eval()),
    "(N, K, 1, 1)": Quirk(lambda: Then(GapCnn(), lambda z: z[..., None, None])),
    "training mode": Quirk(lambda: BatchNormNet().train(), BatchNormNet, "came in training mode"),
    "float64": Quirk(lambda: GapCnn().double(), tolerance=1e-4),
    "bfloat16": Quirk(
        lambda: GapCnn().bfloat16(), says="computes in bfloat16", tolerance=0.2, methods=("saliency", "deeplift")
    ),
    "float16": Quirk(
        lambda: GapCnn().half(), says="computes in float16", tolerance=0.2, methods=("saliency", "deeplift")
    ),
    "channels last": Quirk(lambda: GapCnn().to(memory_format=torch.channels_last)),
    "not contiguous": Quirk(lambda: made(GapCnn(), strided)),
    "frozen": Quirk(lambda: GapCnn().requires_grad_(False)),
    "DataParallel": Quirk(lambda: nn.DataParallel(GapCnn()), says="the model behind DataParallel is used"),
    "compiled": Quirk(
        lambda: torch.compile(GapCnn(), backend="eager"), says="the model behind OptimizedModule is used"
    ),
    "in place": Quirk(lambda: GapCnn(relu=inplace_relu)),
    "reused in place": Quirk(
        ReusedModule, lambda: made(ReusedModule(), lambda net: setattr(net.relu, "inplace", False)), tolerance=1e-4
    ),
    "functional": Quirk(
        lambda: GapCnn(relu=None), lambda: GapCnn(), methods=("saliency", "occlusion", "integrated_gradients", "lime")
    ),
    "overwrites its input": Quirk(
        lambda: First(GapCnn(), lambda x: x.relu_()), lambda: First(GapCnn(), lambda x: x.relu())
    ),
    "branches by image": Quirk(
        Branching, tolerance=1e-4, methods=("saliency", "occlusion", "integrated_gradients", "lime", "rise")
    ),
    "blocks gradients": Quirk(DetachModel, DetachModel, "no gradient reaches the pixels", methods=WITHOUT_GRADIENTS),
    "under no_grad": Quirk(
        lambda: DetachModel("no_grad"), lambda: DetachModel("no_grad"), "no gradient reaches", methods=WITHOUT_GRADIENTS
    ),
    "grey": Quirk(lambda: Fixed(channels=1), lambda: Fixed(channels=1), "channels=1, as the first conv"),
    "one size": Quirk(
        Fixed, Fixed, r"input_size=\(16, 16\), found by trying", of_twin={"input_size": (16, 16)}, methods=FEW
    ),
    "random in eval": Quirk(
        lambda: Then(GapCnn(), lambda z: F.dropout(z, 0.5, training=True)),
        GapCnn,
        "two outputs for the same image differ",
        methods=("none",),
    ),
    "all zero": Quirk(
        lambda: made(GapCnn(), lambda net: [p.data.zero_() for p in net.parameters()]),
        None,
        methods=("none",),
        says=SAME,
    ),
    "same for all": Quirk(
        lambda: Then(GapCnn(), lambda z: 0 * z + torch.arange(4.0)),
        None,
        methods=("none",),
        says=SAME,
    ),
    "between 0 and 1": Quirk(
        lambda: Then(GapCnn(), lambda z: 0.5 + z.atan() / 3.2),
        lambda: Then(GapCnn(), lambda z: 0.5 + z.atan() / 3.2),
        "all outputs lie between 0 and 1",
    ),
    "branches by batch": Quirk(  # used to be refused; alone, each image has one answer, which is explained
        BatchBranching,
        GapCnn,
        "depends on the others in its batch .* images run one at a time",
        tolerance=1e-4,
    ),
    "batch statistics": Quirk(no_running_statistics, None, "depends on the others in its batch"),
    "learns in eval": Quirk(never_frozen, None, "changes its own buffers"),
    "counts": Quirk(Counting, says="writes 'seen' while it predicts; no prediction was seen to depend on it"),
    "one at a time": Quirk(
        OneByOne, says="takes one image at a time", settings={"input_size": (16, 16)}, tolerance=1e-4
    ),
    "two inputs": Quirk(TwoInputs, None, r"takes more than images: mask\. Give .*`inputs=\{\"mask\": tensor"),
    "mixed types": Quirk(lambda: made(GapCnn(), lambda net: net.head.double()), None, "cannot run on images"),
    "class numbers": Quirk(
        lambda: Then(GapCnn(), lambda z: z.argmax(1)), None, "Return the logits, not the predicted class"
    ),
    "segmentation": Quirk(lambda: nn.Conv2d(3, 4, 3).eval(), None, "one row of class scores per image"),
    "unknown dict": Quirk(lambda: Then(GapCnn(), lambda z: {"a": z, "b": z}), None, r"returned dict with \['a', 'b'\]"),
    "lazy": Quirk(lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), None, "have no values yet"),
    "meta": Quirk(lambda: GapCnn().to("meta"), None, "have no values yet"),
    "NaN weight": Quirk(lambda: NaNModel(weight=True), None, "'net.conv2.weight' hold NaN", NonFiniteError),
    "NaN answer": Quirk(NaNModel, None, r"first in the output of layer 'net\.relu1\.1'", NonFiniteError),
    "infinite answer": Quirk(lambda: Then(GapCnn(), lambda z: z / 0), None, "returned NaN or infinity", NonFiniteError),
    "labels": Quirk(
        GapCnn, None, "has 3 class names, but the model returns 4", settings={"class_names": ["a", "b", "c"]}
    ),
    "wrong channels": Quirk(GapCnn, None, r"cannot run on images \(1, 224, 224\)", settings={"channels": 1}),
    "no probabilities": Quirk(
        GapCnn, None, "Expected probabilities, as `output` says", settings={"output": "probabilities"}
    ),
}


def opened(quirk: Quirk) -> xai.Classifier:
    return xai.load(quirk.build(), **quirk.settings)


WORK = [name for name, quirk in QUIRKS.items() if quirk.twin]
UNCOMPARED = {"lazy", "meta", "bfloat16", "counts", "learns in eval"}  # no numbers, no numpy type, change by themselves
REFUSED = [name for name, quirk in QUIRKS.items() if not quirk.twin and not quirk.methods]
