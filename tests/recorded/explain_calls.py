"""Recorded calls of explanations, of what rates and compares them, and of deep dream."""

from collections.abc import Callable
from typing import Any

import numpy as np

import xai
from tests.recorded.material import SIZE, convolutional, images, transformer

Call = Callable[[], dict[str, Any]]

_PHOTO = (14, 18)  # not the model's size: maps go back to these pixels
_FEWER: dict[str, dict[str, Any]] = {
    "gradient_shap": {"samples": 6},
    "kernelshap": {"samples": 120, "segments": "grid", "regions": 12},
    "lime": {"samples": 120, "segments": "grid", "regions": 12},
    "rise": {"samples": 60, "grid": 4},
    "smoothgrad": {"samples": 6},
    "integrated_gradients": {"steps": 12},
    "occlusion": {"window": 0.3, "stride": 3},
}
_ATTENDING = ("attention_rollout", "gradcam", "hirescam", "integrated_gradients", "deeplift", "occlusion")
CALLS: dict[str, Call] = {}


def _photo() -> np.ndarray:
    return images(1, size=_PHOTO, seed=3)[0].permute(1, 2, 0).numpy()


def _explained(found: xai.Explanation) -> dict[str, Any]:
    return {
        "heatmaps": np.stack(found.heatmaps),
        "attribution": found.attribution,
        "targets": found.targets,
        "logits": found.logits,
        "layer": found.layer,
        "probabilities": found.probabilities,
    }


def _explain(method: str, model: Callable[[], xai.Classifier] = convolutional, **settings: Any) -> dict[str, Any]:
    return _explained(xai.explain(model(), _photo(), method, seed=5, **_FEWER.get(method, {}) | settings))


def _with(method: str, model: Callable[[], xai.Classifier], **settings: Any) -> Call:
    return lambda: _explain(method, model, **settings)


for _info in xai.methods():
    _first = transformer if "attention" in _info.needs else convolutional
    CALLS[f"explain {_info.name}"] = _with(_info.name, _first)
for _method in _ATTENDING[1:]:
    CALLS[f"explain {_method}, attention"] = _with(_method, transformer)
CALLS["explain gradcam, target"] = _with("gradcam", convolutional, target="cat")
CALLS["explain integrated_gradients, versus"] = _with("integrated_gradients", convolutional, target=1, versus=3)
CALLS["explain saliency, probability"] = _with("saliency", convolutional, score="probability")
CALLS["explain layercam, early layer"] = _with("layercam", convolutional, layer="body.2")
for _fill in ("zero", "blur", "noise", "inpaint"):
    CALLS[f"explain occlusion, {_fill}"] = _with("occlusion", convolutional, baseline=_fill)
for _segments in ("slic", "quickshift", "felzenszwalb"):
    CALLS[f"explain kernelshap, {_segments}"] = _with("kernelshap", convolutional, segments=_segments)


def _explain_many() -> dict[str, Any]:
    return _explained(xai.explain(convolutional(), images(3, seed=4), "gradcam"))


def _rate(model: Callable[[], xai.Classifier], method: str) -> dict[str, Any]:
    explanation = xai.explain(model(), images(2, seed=4), method, seed=1)
    rating = xai.rate_explanation(model(), images(2, seed=4), explanation, seed=1)
    found: dict[str, Any] = {"verdicts": rating.verdicts}
    for k, checks in enumerate(rating.checks):
        for number, check in enumerate(checks):
            found[f"image {k}, check {number}, verdict"] = check.verdict
            found[f"image {k}, check {number}, values"] = np.array(list(check.values.values()))
    for k, curves in enumerate(rating.curves):
        found[f"image {k}, curves"] = [np.array(curve) for curve in curves.values()]
    return found


def _agreed(found: xai.results.Agreement) -> dict[str, Any]:
    return {
        "rank correlation": found.rank_correlation,
        "overlap": found.overlap,
        "disagreements": np.stack(found.disagreements),
    }


def _agreement() -> dict[str, Any]:
    rows = images(2, seed=4)
    return _agreed(
        xai.agreement({name: xai.explain(convolutional(), rows, name) for name in ("gradcam", "saliency", "deeplift")})
    )


def _compare_baselines() -> dict[str, Any]:
    return _agreed(xai.compare_baselines(convolutional(), _photo(), baselines=("mean", "zero", "blur"), window=0.3))


def _dream(**settings: Any) -> Call:
    def call() -> dict[str, Any]:
        dream = xai.deep_dream(convolutional(), image=images(1, seed=6)[0], octaves=2, steps=3, seed=2, **settings)
        return {"image": dream.image, "objective": dream.objective, "octave": dream.octave, "sizes": dream.sizes} | {
            "channel": dream.channel,
            "target": dream.target,
            "probability": dream.probability,
        }

    return call


def _layers() -> dict[str, Any]:
    return {"convolutional": xai.layers(convolutional(), SIZE), "transformer": xai.layers(transformer(), SIZE)}


CALLS |= {
    "explain gradcam, three images": _explain_many,
    "rate_explanation gradcam": lambda: _rate(convolutional, "gradcam"),
    "rate_explanation attention_rollout": lambda: _rate(transformer, "attention_rollout"),
    "agreement": _agreement,
    "compare_baselines": _compare_baselines,
    "deep_dream layer": _dream(layer="body.4"),
    "deep_dream channel": _dream(layer="body.4", channel=3),
    "deep_dream class": _dream(target="bee"),
    "layers": _layers,
}
