"""What a model says of itself: its configuration, its loss functions, and the kinds that are no classifiers."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from xai.core.hooks import parts_of
from xai.errors import UnsupportedModelError

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
    found = [declared for part in parts if (declared := _of_config(part)) is not None]
    found = found or [Declared(_LOSSES[kind], f"its {kind}") for kind in _kinds(parts) if kind in _LOSSES]
    return found[0] if len({declared.task for declared in found}) == 1 else None


def _kinds(parts: list[nn.Module]) -> list[str]:
    return [type(part).__name__ for part in parts if type(part).__module__.startswith("torch.nn")]


def _of_config(part: nn.Module) -> Declared | None:
    """Read `config` as transformers writes it; one label without a problem type is trained as a regression there."""
    config = getattr(part, "config", None)
    problem = getattr(config, "problem_type", None)
    if isinstance(problem, str) and problem in _PROBLEMS:
        return Declared(_PROBLEMS[problem], f"problem_type={problem!r} of its configuration")
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
