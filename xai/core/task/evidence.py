"""Evidence about the meaning of outputs. It comes from declarations of a model and from its outputs on probe images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from xai.core.images.inputs import decode_images
from xai.core.model.fingerprint import parts_of
from xai.core.model.hooks import gradients
from xai.core.results.message import Message
from xai.core.runtime.batching import tensors_in
from xai.errors import UnsupportedModelError

COUNT = 8
_DISKS = 40
_PHOTOS = ("astronaut.png", "coffee.png")  # in the package of scikit-image


def probe_images(channels: int, size: tuple[int, int]) -> Tensor:
    """Return `COUNT` images (COUNT, C, H, W) in [0, 1]: noise, a ramp, soft and rough textures, disks, photographs.

    Where scikit-image brings no photographs, further textures stand for them. Colour channels are correlated, as in
    photographs; any other number of channels than three repeats the grey image.
    """
    colour = _colour_images(size)
    if channels == 3:
        return colour.clone()
    return colour.mean(1, keepdim=True).repeat(1, channels, 1, 1)


@lru_cache(maxsize=4)
def _colour_images(size: tuple[int, int]) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(3, *size, generator=draw)
    ramp = torch.linspace(0, 1, size[1]).expand(3, *size)
    made = [noise, ramp, _texture(size, 1.0, draw), _texture(size, 2.0, draw), _disks(size, draw), _soft(size, draw)]
    photos = _photographs(size) or [_texture(size, 1.5, draw), _disks(size, draw)]
    return torch.stack([*made, *photos])


def _texture(size: tuple[int, int], slope: float, draw: torch.Generator) -> Tensor:
    """Return noise whose amplitude falls with frequency to the power `slope`; photographs have about 1 to 1.5."""
    rows, columns = torch.fft.fftfreq(size[0])[:, None], torch.fft.fftfreq(size[1])[None]
    falls = (rows.square() + columns.square()).sqrt().clamp_min(1 / max(size)) ** -slope
    grey, tint = (torch.fft.fft2(torch.randn(n, *size, generator=draw)) * falls for n in (1, 3))
    values: Tensor = torch.fft.ifft2(grey + 0.3 * tint).real
    values = (values - values.mean()) / values.std().clamp_min(1e-6)
    return (0.45 + 0.2 * values).clamp(0, 1)


def _disks(size: tuple[int, int], draw: torch.Generator) -> Tensor:
    """Return disks of one colour each that cover each other, which gives the edges and areas of photographs."""
    image = torch.full((3, *size), 0.5)
    rows, columns = torch.arange(size[0])[:, None], torch.arange(size[1])[None]
    for _ in range(_DISKS):
        top, left, radius, *colour = torch.rand(6, generator=draw).tolist()
        reach = max(1.0, min(size) * 0.3 * radius**2)
        inside = (rows - top * size[0]).square() + (columns - left * size[1]).square() <= reach**2
        image = torch.where(inside, torch.tensor(colour).view(3, 1, 1), image)
    return image


def _soft(size: tuple[int, int], draw: torch.Generator) -> Tensor:
    """Return a smooth image: three by three colours, interpolated."""
    coarse = torch.rand(1, 3, 3, 3, generator=draw)
    return F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)[0]


def _photographs(size: tuple[int, int]) -> list[Tensor]:
    """Return the photographs in scikit-image's folder, reduced; none where its package lies without them."""
    package = find_spec("skimage")
    folder = Path(package.origin).parent / "data" if package is not None and package.origin else Path()
    photos = [folder / name for name in _PHOTOS]
    if not all(photo.is_file() for photo in photos):
        return []
    images, _ = decode_images(photos)
    return [F.interpolate(image.pixels[None], size=size, mode="area")[0] for image in images]


BLOCKED = "no gradient reaches the pixels: use occlusion, lime, kernelshap or rise"
_NOT_CONCLUSIVE = "which is not conclusive: the first images that are given are looked at, too"
_OF_IMAGES = (  # the same answer to all, no gradient
    "the model gives {count} of the given images the same output: are its weights loaded?",
    "no gradient reaches the pixels of {count} given images: use occlusion, lime, kernelshap or rise",
)
_OF_PROBES = (
    f"the model gives {{count}} probe images, none of them from your data, the same output, {_NOT_CONCLUSIVE}",
    f"no gradient reaches the pixels of {{count}} probe images, none of them from your data, {_NOT_CONCLUSIVE}",
)


@dataclass(frozen=True)
class Flatness:
    """What a model does on some images.

    Attributes:
        count: number of images.
        same: all of them get the same answer.
        blocked: why no gradient can come back to the pixels, whatever the image: the forward cuts the graph, or
            checkpoints its activations; "" where one can.
        zero: every gradient towards the pixels is 0.
    """

    count: int
    same: bool
    blocked: str
    zero: bool

    @property
    def may_differ(self) -> bool:
        """Whether another look at other images may find otherwise."""
        return (self.same and self.count > 1) or (self.zero and not self.blocked)

    def notes(self, *, probes: bool) -> list[str]:
        """Return what is to be said; `probes` when the images are none of the user's own."""
        if probes:
            return [*([self.blocked] if self.blocked else []), *self._of_probes()]
        same, zero = (Message(template, count=self.count) for template in _OF_IMAGES)
        flat = [zero] if self.zero and not self.blocked else []
        return [*([self.blocked] if self.blocked else []), *([same] if self.same and self.count > 1 else []), *flat]

    def _of_probes(self) -> list[str]:
        same, zero = (Message(template, count=self.count) for template in _OF_PROBES)
        return [*([same] if self.same else []), *([zero] if self.zero and not self.blocked else [])]


def flatness(run: Callable[[Tensor], Tensor], images: Tensor) -> Flatness:
    """Return what a model does on some images.

    Args:
        run: scores (N, K) of images (N, C, H, W), with gradients; the module borrowed.
        images: different ones, as near the data as possible.

    Cost: a forward and a backward of the images.
    """
    with torch.inference_mode(False), torch.enable_grad():
        pixels = images.detach().clone().requires_grad_()
        scores = run(pixels)
        try:
            slope, blocked = _slope(scores, pixels), BLOCKED
        except UnsupportedModelError as error:
            slope, blocked = None, str(error)
    values = scores.detach()
    same = bool((values == values[:1]).all())
    return Flatness(len(images), same, blocked if slope is None else "", slope is not None and not bool(slope.any()))


def _slope(scores: Tensor, pixels: Tensor) -> Tensor | None:
    weights = torch.rand(scores.shape, generator=torch.Generator().manual_seed(1)).to(scores)
    return gradients((scores * weights).sum(), [pixels])[0]


_ENDS = {
    "_softmax": "softmax",
    "softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "log_softmax": "log_softmax",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    **dict.fromkeys(("hardsigmoid", "hardsigmoid_"), "hardsigmoid"),
    "relu": "relu",
    "relu_": "relu",
    "clamp_min": "relu",
    "softplus": "softplus",
    "exp": "exp",
    "tanh": "tanh",
    "tanh_": "tanh",
    "log_sigmoid_forward": "log_sigmoid",
    "log_sigmoid": "log_sigmoid",
    **dict.fromkeys(("addmm", "mm", "mv", "bmm", "baddbmm", "linear", "convolution", "_convolution"), "linear"),
}
_KEEPS_LINEAR = frozenset({"mean", "sum", "add", "add_", "sub", "sub_", "rsub", "mul", "mul_", "div", "div_", "neg"})
_SHARES = frozenset({"softmax", "sigmoid", "hardsigmoid"})
_PASSING = frozenset(
    {
        *(
            "view",
            "_unsafe_view",
            "reshape",
            "_reshape_alias",
            "flatten",
            "squeeze",
            "unsqueeze",
            "expand",
            "as_strided",
        ),
        *(
            "as_strided",
            "_to_copy",
            "clone",
            "contiguous",
            "alias",
            "detach",
            "lift_fresh",
            "permute",
            "transpose",
            "t",
        ),
        *("select", "slice", "index_select", "split", "unbind", "dropout", "native_dropout"),
    }
)
TWICE = "softmax of a softmax"
_SUM = "sum of exp"  # over the classes: a softmax that is written out divides by it
Ending = Callable[[Tensor], str]


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps, for each place in memory, the name of the operation that wrote it last; no tensor is kept."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made: dict[int, str] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        sources = [self.made.get(tensor.data_ptr(), "") for tensor in tensors_in(args) if tensor.numel()]
        result = function(*args, **(kwargs or {}))
        name = _named(function.overloadpacket.__name__, sources)
        for tensor in tensors_in(result):
            if tensor.numel() and (name or tensor.data_ptr() in self.made):
                self.made[tensor.data_ptr()] = name
        return result


def _named(operation: str, sources: list[str]) -> str:
    """Return the name of what an operation wrote: its own, that of its sources where it only moves them, or ""."""
    ending = _ENDS.get(operation, "")
    if ending == "softmax" and sources and sources[0] in {"softmax", TWICE}:
        return TWICE
    if ending:
        return "" if ending == "linear" and _SHARES & set(sources) else ending  # a mixture of probabilities is one
    if "exp" in sources and operation in {"sum", "div", "div_"}:
        return _SUM if operation == "sum" else "softmax" if sources == ["exp", _SUM] else ""
    if operation in _KEEPS_LINEAR and "linear" in sources:
        return "linear" if set(sources) <= {"linear", ""} else ""
    moves = operation in _PASSING or (operation in {"cat", "stack"} and len(set(sources)) == 1)
    return sources[0] if moves and sources else ""


def watched(run: Callable[[], Any]) -> tuple[Any, Ending]:
    """Run a forward, once, and find how it ends.

    Args:
        run: the forward.

    Returns:
        What it returned, and a function from one of its tensors to how that was made: "softmax", "log_softmax",
        "sigmoid", "hardsigmoid", "log_sigmoid", "relu", "softplus", "exp", "tanh", `TWICE`, "linear" for a linear
        layer or convolution, scaled, shifted or averaged, or "" for anything else. A softmax that is written out as
        exp and a division is one. Views, casts and concatenations of several such outputs do not hide it.
    """
    with _Watch() as watch:
        output = run()
    made = {place: name for place, name in watch.made.items() if name != _SUM}
    return output, lambda tensor: made.get(tensor.data_ptr(), "")


_PROBLEMS = {
    "single_label_classification": "multiclass",
    "multi_label_classification": "multilabel",
    "regression": "regression",
}
_LOSSES = {
    **dict.fromkeys(("BCEWithLogitsLoss", "BCELoss", "MultiLabelSoftMarginLoss", "MultiLabelMarginLoss"), "multilabel"),
    **dict.fromkeys(("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss"), "multiclass"),
    **dict.fromkeys(
        ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "PoissonNLLLoss", "GaussianNLLLoss"), "regression"
    ),
}


IMAGES_AND_TEXTS = (
    "compares images with texts and has no classes of its own. Wrap it in a module that returns the similarity of an "
    "image to one text per class, (N, K), or load an image classifier."
)


@dataclass(frozen=True)
class Declared:
    """What a model was trained for.

    Attributes:
        task: "multiclass", "multilabel" (of one output: "binary") or "regression".
        source: what says so, for notes.
    """

    task: str
    source: str


def declared_by(module: nn.Module) -> Declared | None:
    """Return what a model's own configuration or loss function says; None where nothing does, or several things."""
    parts = parts_of(module)
    declarations = [declared for part in parts if (declared := _of_config(part)) is not None]
    declarations = declarations or [
        Declared(_LOSSES[kind], Message("its {loss}", loss=kind)) for kind in _kinds(parts) if kind in _LOSSES
    ]
    return declarations[0] if len({declared.task for declared in declarations}) == 1 else None


def _kinds(parts: list[nn.Module]) -> list[str]:
    return [type(part).__name__ for part in parts if type(part).__module__.startswith("torch.nn")]


def _of_config(part: nn.Module) -> Declared | None:
    """Read `config` as transformers writes it; one label without a problem type is trained as a regression there."""
    config = getattr(part, "config", None)
    problem = getattr(config, "problem_type", None)
    if isinstance(problem, str) and problem in _PROBLEMS:
        source = Message("problem_type={problem!r} of its configuration", problem=problem)
        return Declared(_PROBLEMS[problem], source)
    if type(part).__name__.endswith("ForImageClassification") and getattr(config, "num_labels", None) == 1:
        return Declared("regression", "num_labels=1 of its configuration, which transformers trains as a regression")
    return None


def refuse_other_kinds(module: nn.Module, name: str) -> None:
    """Raise when a model is known to be no classifier of images.

    Raises:
        UnsupportedModelError: it takes volumes or clips, compares images with texts, or returns features.
    """
    why = _of_volumes(module) or _of_texts(module) or _of_features(module)
    if why:
        raise UnsupportedModelError(f"{name!r} {why}")


def _of_volumes(module: nn.Module) -> str:
    kinds = [type(part) for part in parts_of(module)]
    if not any(issubclass(kind, nn.Conv3d) for kind in kinds) or any(issubclass(kind, nn.Conv2d) for kind in kinds):
        return ""
    return (
        "takes volumes or clips (N, C, D, H, W), as its Conv3d says; xai takes 2-D images. Wrap it in a module that "
        "takes (N, C, H, W), with the slices or frames as channels."
    )


def _of_texts(module: nn.Module) -> str:
    if not reads_texts(getattr(module, "config", None)) or type(module).__name__.endswith("ForImageClassification"):
        return ""
    return IMAGES_AND_TEXTS


def reads_texts(config: Any) -> bool:
    """Return True for a configuration of transformers with an image and a text model."""
    return getattr(config, "text_config", None) is not None and getattr(config, "vision_config", None) is not None


def _of_features(module: nn.Module) -> str:
    if getattr(module, "num_classes", None) != 0 or isinstance(getattr(module, "num_classes", None), bool):
        return ""
    return "has num_classes=0: it returns features and no class scores. Make it with its classes, or put a head on it."
