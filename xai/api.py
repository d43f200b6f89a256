"""The public verbs."""

from dataclasses import fields
from importlib import import_module
from typing import Any

import torch
from torch import nn

from xai.attacks import ATTACKS, AttackResult
from xai.audits import (
    Audit,
    AuditComparison,
    AuditPlan,
    CheckInfo,
    Finding,
    audit,
    audit_checks,
    compare,
    init_audit,
    judge_again,
    plan_audit,
    positive_control,
    share_audit,
)
from xai.bounds import Certificate, OutputBounds, certify, output_bounds
from xai.calibrations import Calibration, ConformalPredictor, PredictionSets, calibration, fit_conformal
from xai.core.bands import to_rgb
from xai.core.broken import broken_copy
from xai.core.classifier import Classifier, as_classifier
from xai.core.door import load_with
from xai.core.doubts import with_doubts
from xai.core.drawing import draw_with
from xai.core.explanation import Explanation
from xai.core.images import ImageLike, read_images
from xai.core.layers import spatial_layers, spread_layers
from xai.core.prediction import Prediction
from xai.core.resizing import ResizeComparison, compare_resizing
from xai.core.rows import Progress, ShouldStop
from xai.core.targets import Target
from xai.corruptions import CorruptionResult, corrupt, corruption_robustness, mce
from xai.cues import ShortcutResult, shortcuts
from xai.curves import RobustnessCurve, Trust, robustness
from xai.datasets import Dataset, Photo, load_data, sample_photos
from xai.diagnosis import Diagnosis, diagnose
from xai.dreams import DeepDream, Settings, Wish, dream
from xai.drifts import Drift, drift
from xai.errors import NameLookupError, RangeError
from xai.explainers import EXPLAINERS
from xai.fairness import BiasResult, DataFaults, SliceResult, bias, bias_of_predictions, data_faults, slices
from xai.handling import Treatment, treatment
from xai.listing import MethodInfo, methods
from xai.models import ModelInfo, Probe, catalogue, known_networks, load, untrained
from xai.outliers import Judgement, OODAttack, OODComparison, OODDetector, compare_ood, fit_ood
from xai.probing import fit_probe
from xai.ratings import Agreement, Check, Rating, agreement, compare_baselines, rate_explanation
from xai.reports import report, translate, write_report, write_tests

__all__ = [
    "Agreement",
    "AttackResult",
    "Audit",
    "AuditComparison",
    "AuditPlan",
    "BiasResult",
    "Calibration",
    "Certificate",
    "Check",
    "CheckInfo",
    "Classifier",
    "ConformalPredictor",
    "CorruptionResult",
    "DataFaults",
    "Dataset",
    "DeepDream",
    "Diagnosis",
    "Drift",
    "Explanation",
    "Finding",
    "Judgement",
    "MethodInfo",
    "ModelInfo",
    "OODAttack",
    "OODComparison",
    "OODDetector",
    "OutputBounds",
    "Photo",
    "Prediction",
    "PredictionSets",
    "Probe",
    "Rating",
    "ResizeComparison",
    "RobustnessCurve",
    "ShortcutResult",
    "SliceResult",
    "Treatment",
    "Trust",
    "agreement",
    "attack",
    "audit",
    "audit_checks",
    "bias",
    "bias_of_predictions",
    "broken_copy",
    "calibration",
    "catalogue",
    "certify",
    "compare",
    "compare_baselines",
    "compare_ood",
    "compare_resizing",
    "corrupt",
    "corruption_robustness",
    "data_faults",
    "deep_dream",
    "diagnose",
    "drift",
    "explain",
    "fit_conformal",
    "fit_ood",
    "fit_probe",
    "init_audit",
    "judge_again",
    "known_networks",
    "layers",
    "load",
    "load_data",
    "mce",
    "methods",
    "output_bounds",
    "plan_audit",
    "positive_control",
    "rate_explanation",
    "report",
    "robustness",
    "sample_photos",
    "share_audit",
    "shortcuts",
    "slices",
    "to_rgb",
    "translate",
    "treatment",
    "untrained",
    "write_tests",
]


def _artist(module: str, function: str, *, file: bool = False) -> Any:
    """Return a function of `xai.plots` that is imported when it first draws; or one for the bytes of its PNG."""

    def draw(*arguments: Any, **settings: Any) -> Any:
        artist = getattr(import_module(f"xai.plots.{module}"), function)
        artist = import_module("xai.plots.canvas").png(artist) if file else artist
        return artist(*arguments, **settings)

    return draw


load_with(load_data)
draw_with(
    report=write_report,
    explanation=_artist("explanation", "figure"),
    explanation_file=_artist("explanation", "render"),
    overlay=_artist("explanation", "covered"),
    agreement=_artist("side_by_side", "agreement_figure"),
    side_by_side_file=_artist("side_by_side", "render"),
    rating=_artist("rating", "figure"),
    dream=_artist("dream", "figure"),
    robustness=_artist("robustness", "curve"),
    robustness_png=_artist("robustness", "curve", file=True),
    strip=_artist("robustness", "strip"),
    calibration=_artist("calibration", "figure"),
    prediction_sets=_artist("prediction_sets", "figure"),
    drift=_artist("drift", "figure"),
    bias=_artist("bias", "figure"),
    shortcuts=_artist("shortcuts", "figure"),
    slices=_artist("slices", "figure"),
    ood=_artist("ood", "detector"),
    ood_comparison=_artist("ood", "comparison"),
    faults=_artist("faults", "figure"),
    strip_png=_artist("robustness", "strip", file=True),
    corruptions=_artist("corruptions", "matrix"),
    corruptions_png=_artist("corruptions", "matrix", file=True),
)


def explain(
    model: Classifier | nn.Module,
    image: ImageLike,
    method: str = "gradcam",
    target: Target = None,
    seed: int = 0,
    *,
    versus: Target = None,
    score: str = "logit",
    bits: int | None = None,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> Explanation:
    """Say why a classifier answers as it does.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        image: a path, PIL.Image, array (H, W), (H, W, C) or (N, H, W, C) in uint8 or in [0, 1], tensor (C, H, W) or
            (N, C, H, W) in [0, 1], or a list of single ones. Never normalised. C is the number of bands.
        method: a name from `xai.methods()`.
        target: class index or name, or None for the predicted class. A list means one per image, or, for one image,
            several maps from one sweep where the method can.
        versus: a class, or one per map: why `target` rather than this one. What is explained is the difference.
        score: "logit", "probability" (saturates where the model is sure) or "margin" (against the best other class).
        seed: fixes everything random, per image.
        bits: how many bits of 16-bit samples are used, such as 12; None takes what the file says, or all 16.
        progress: None, True for a bar, or a callable `(done, total)`, in images or in hundredths of them.
        should_stop: asked between chunks; True ends the work with `xai.errors.Stopped`.
        settings: of the method; a wrong name suggests near ones.

    Returns:
        Explanation; `.heatmap` is (H, W) in the original picture's pixels, raw and signed.

    Raises:
        InputError: a picture, target or setting that cannot be used.
        NameLookupError: no such method, setting or layer.
        UnsupportedModelError: the model cannot be explained this way.
        NonFiniteError: the model answered NaN or infinity.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(1)
        >>> xai.explain(clf, data.images[0], "occlusion", target="Shirt", versus="Coat").heatmap.shape
        (28, 28)
    """
    explainer = EXPLAINERS[method]
    known = [f.name for f in fields(explainer)]  # type: ignore[arg-type]  # every method is a dataclass
    for name in settings:
        if name not in known:
            raise NameLookupError(f"setting of {method}", name, known)
    image = image if bits is None else read_images(image, bits)
    return explainer(**settings).explain(
        model, image, target, versus=versus, score=score, seed=seed, progress=progress, should_stop=should_stop
    )


def attack(
    model: Classifier | nn.Module,
    images: ImageLike,
    labels: Any = None,
    method: str = "pgd",
    eps: float | None = None,
    norm: str = "linf",
    steps: int | None = None,
    targeted: Target = None,
    seed: int = 0,
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> AttackResult:
    """Search for small changes that make a classifier answer wrongly.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        images: in any form that `xai.explain` takes, or a data set; what is changed are the model's inputs.
        labels: the truth (N,), as indices or names; None takes those of a data set. Pictures that are wrong to begin
            with are left alone.
        method: fgsm, bim, pgd, mifgsm, apgd-ce, apgd-dlr, apgd-t, fab-t, square, autoattack, deepfool, cw, ddn, fmn,
            spatial, noise.
        eps: radius in the scale of pixels in [0, 1] (8/255, not 8). None takes 8/255 (linf), 0.5 (l2) or 12 (l1);
            methods that look for the smallest change then take what they find.
        norm: "linf", "l2" or "l1".
        steps: of methods that have them; None takes the method's own.
        targeted: class to reach, one for all or one per picture; None takes any wrong one.
        seed: fixes everything random, per image: neither batch size nor order matter.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked at every forward; True ends the work with `xai.errors.Stopped`.
        settings: of the method; a wrong name suggests near ones.

    Returns:
        AttackResult; `.robust_accuracy` is an upper bound of the truth: no attack proves robustness, see `xai.certify`.

    Raises:
        InputError: a picture, label or setting that cannot be used.
        NameLookupError: no such method, norm or setting.
        UnsupportedModelError: the model lets no gradient through and the method needs one.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(8)
        >>> found = xai.attack(clf, data.images[:], data.labels, "pgd", eps=8 / 255, steps=5)
        >>> bool((found.distance <= 8 / 255 + 1e-6).all())
        True
    """
    attacker = ATTACKS[method]
    settings |= {} if steps is None else {"steps": steps}
    known = [f.name for f in fields(attacker)]  # type: ignore[arg-type]  # every attack is a dataclass
    for name in settings:
        if name not in known:
            raise NameLookupError(f"setting of {method}", name, known)
    classifier = as_classifier(model)
    asked: dict[str, Any] = {"eps": eps, "norm": norm, "targeted": targeted, "seed": seed, "progress": progress}
    found = attacker(**settings).run(classifier, images, labels, **asked, should_stop=should_stop)
    return with_doubts(classifier, found.clean, found)


def deep_dream(
    model: Classifier | nn.Module,
    layer: str | None = None,
    channel: int | None = None,
    target: int | str | None = None,
    image: ImageLike = None,
    octaves: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> DeepDream:
    """Make a picture that a layer, one of its channels or a class of a network likes: deep dream, feature picture.

    Gradient ascent over octaves, from noise or into a photograph. The forward ends at the layer; no gradient of a
    parameter is ever computed.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        layer: name as in `module.named_modules()`; alone, the mean square of its output is raised. None, without a
            `target`, takes the last block with a place for every 16 pixels, and says so in `notes`.
        channel: of the layer; its mean is raised.
        target: index or name of a class; its logit is raised. Neither `layer` nor `channel` go with it.
        image: one picture to start from, in any form that `xai.explain` takes; None starts from noise.
        octaves: sizes, each 1.4 times the one before; None takes 6 from noise, 4 into a picture.
        steps: at each octave; None takes 25 from noise, 15 into a picture.
        seed: fixes everything random.
        progress: None, True for a bar, or a callable `(done, total)` in steps.
        should_stop: asked before each step; True ends the work with `xai.errors.Stopped`. To end early and keep the
            picture use `until` or `patience`.
        settings: `size`, `octave_scale`, `step_size`, `jitter`, `laplacian`, `tile`, `tv`, `decorrelated`, `fourier`,
            `frames_every`, `until`, `patience`, `sure`; see `xai.dreams.Settings`. From noise, `tv` is 0.15,
            `decorrelated` on, and `fourier` on for a class; into a picture all three are off.

    Returns:
        DeepDream; `.image` is (H, W, 3) in [0, 1], `.objective` has one value per step, `.save("dream.png")` writes it.

    Raises:
        InputError: a picture, class, channel, size or setting that cannot be used.
        NameLookupError: no such layer or setting.
        UnsupportedModelError: the model lets no gradient through, or has no such output.
        NonFiniteError: the model answered NaN or infinity.
        Stopped: `should_stop` said so.

    Cost: a forward to the layer and a backward per step; memory is that of `tile` x `tile` pixels (512). A class takes
        the whole network at its input size, and up to 100 more steps where its probability is below `sure` (0.95).

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> dream = xai.deep_dream(clf, target="Sandal", octaves=1, steps=2, sure=0)
        >>> dream.image.shape[2]
        3
    """
    known = [f.name for f in fields(Settings)]
    for name in settings:
        if name not in known:
            raise NameLookupError("setting of deep_dream", name, known)
    chosen = Settings(octaves=octaves, steps=steps, **settings)
    wish = Wish(layer, channel, target)
    return dream(model, wish, image, seed, settings=chosen, progress=progress, should_stop=should_stop)


def layers(model: Classifier | nn.Module, size: tuple[int, int] | None = None, *, most: int | None = None) -> list[str]:
    """Return the names of the layers that CAM methods can look at, first to last.

    Args:
        model: a classifier or a bare module.
        size: (height, width) of the input; None takes the classifier's `input_size`, or 224 x 224.
        most: only so many, spread over the network: the last of each size of map, then some between. None for all.

    Raises:
        RangeError: `most` below 1.
        UnsupportedModelError: the model is no classifier of pictures.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> len(xai.layers(clf)) > 1
        True
    """
    classifier = as_classifier(model)
    blank = torch.full((1, classifier.channels, *(size or classifier.input_size or (224, 224))), 0.5)
    if most is None:
        return spatial_layers(classifier, blank)
    if isinstance(most, bool) or not isinstance(most, int) or most < 1:
        raise RangeError(f"Expected `most` as a whole number from 1, or None for all layers, but got {most!r}.")
    return spread_layers(classifier, blank, most)
