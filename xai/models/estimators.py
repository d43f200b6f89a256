"""A feature extractor and a scikit-learn classifier as one network. Gradients reach the pixels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.model.predictions import Key, output_tensor
from xai.core.results.message import Message
from xai.core.runtime.batching import tensors_in
from xai.errors import UnsupportedModelError

_KERNELS = ("linear", "rbf", "poly", "sigmoid")
_ROWS = 32  # random features whose probabilities are compared
_CLOSE = 1e-3


def attach(extractor: nn.Module, estimator: Any, key: Key | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Return a network whose class scores are those of `estimator.decision_function` on the extractor's output.

    Args:
        extractor: images to features (N, D), or to maps, which are flattened.
        estimator: a fitted linear classifier (LogisticRegression, LinearSVC, RidgeClassifier, SGDClassifier, LDA, ...),
            a OneVsRestClassifier of linear ones, an SVC with a linear, rbf, poly or sigmoid kernel, or a Pipeline of
            scalers, projections and norms before one.
        key: name or place of the features where the extractor returns several things; None takes those of the width
            that the estimator was fitted on.

    Returns:
        The network, and class names and notes for its classifier.

    Raises:
        UnsupportedModelError: another kind of estimator, or one that is not fitted.
    """
    *before, last = [step for _, step in getattr(estimator, "steps", [("", estimator)])]
    if not hasattr(last, "classes_"):
        raise UnsupportedModelError(
            f"Expected a fitted scikit-learn classifier, but {type(last).__name__} has no `classes_`. Fit it first."
        )
    parts = [_scaler(step) for step in before if step not in {None, "passthrough"}]
    head = _kernel_head(last) if hasattr(last, "support_vectors_") else _linear_head(last)
    width = int(getattr(estimator, "n_features_in_", 0) or last.n_features_in_)
    class_names = [str(label) for label in last.classes_]
    template = "features go into {estimator} of scikit-learn: {count} classes, scores as decision_function"
    notes: list[str] = [Message(template, estimator=type(last).__name__, count=len(class_names))]
    if not _softmax_is_its_probability(estimator, width):
        notes.append("its scores are margins: their softmax is no probability")
    return _Joined(extractor, nn.Sequential(*parts, head), width, key).eval(), {
        "class_names": class_names,
        "notes": notes,
    }


def _softmax_is_its_probability(estimator: Any, width: int) -> bool:
    """Whether the probabilities of an estimator are the softmax (of two classes, the sigmoid) of its scores.

    One class against the rest (SGDClassifier, OneVsRestClassifier) and clipped scores (`modified_huber`) are others.
    """
    last = getattr(estimator, "steps", [("", estimator)])[-1][1]
    if not hasattr(estimator, "predict_proba") or getattr(last, "loss", None) == "modified_huber":
        return False  # far from the boundary, clipped scores and sigmoids are the same
    features = np.random.default_rng(0).standard_normal((_ROWS, width))
    scores = torch.from_numpy(np.asarray(estimator.decision_function(features), dtype=np.float64))
    own = torch.from_numpy(np.asarray(estimator.predict_proba(features), dtype=np.float64))
    mine = scores.softmax(1) if scores.ndim == 2 else torch.stack([1 - scores.sigmoid(), scores.sigmoid()], 1)
    return mine.shape == own.shape and float((mine - own).abs().max()) < _CLOSE


class _Joined(nn.Module):
    def __init__(self, extractor: nn.Module, head: nn.Module, width: int, key: Key | None) -> None:
        super().__init__()
        self.extractor, self.head, self.width, self.key = extractor, head, width, key

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.head(self._features(self.extractor(images)).flatten(1))
        return scores

    def _features(self, output: Any) -> Tensor:
        """Return the features: what the key says, or the only tensor of the width that the estimator takes."""
        if self.key is not None:
            return output_tensor(output, self.key)
        tensors = tensors_in(output)
        fitting = [t for t in tensors if t.ndim and t.shape[1:].numel() == self.width]
        if len(tensors) > 1 and len(fitting) != 1:
            raise UnsupportedModelError(
                f"Expected one tensor of features with {self.width} numbers per image, but the extractor returns "
                f"{[tuple(t.shape) for t in tensors]}. Choose one by `output_key`."
            )
        if not tensors:
            raise UnsupportedModelError("Expected features as a tensor from the extractor.")
        return (fitting or tensors)[0]


class _Affine(nn.Module):
    """(x - shift) / scale, column by column."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Any, scale: Any) -> None:
        super().__init__()
        self.register_buffer("shift", _tensor(shift))
        self.register_buffer("scale", _tensor(scale))

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.shift) / self.scale


class _Kernel(nn.Module):
    """Scores of an SVC: one machine per pair of classes, then votes as scikit-learn counts them."""

    vectors: Tensor
    weights: Tensor
    offsets: Tensor

    def __init__(self, svc: Any) -> None:
        super().__init__()
        self.kernel, self.degree, self.shift = svc.kernel, int(svc.degree), float(svc.coef0)
        self.gamma, self.classes = float(svc._gamma), len(svc.classes_)
        self.ranked = svc.decision_function_shape == "ovr"
        self.register_buffer("vectors", _tensor(svc.support_vectors_))
        self.register_buffer("weights", _tensor(_pair_weights(svc)))
        self.register_buffer("offsets", _tensor(svc.intercept_))

    def forward(self, features: Tensor) -> Tensor:
        pairs = self._similar(features) @ self.weights.T + self.offsets
        if self.classes == 2:
            return pairs
        return self._votes(pairs)

    def _similar(self, features: Tensor) -> Tensor:
        if self.kernel == "rbf":
            squares = features.square().sum(1, keepdim=True) + self.vectors.square().sum(1)
            return torch.exp(-self.gamma * (squares - 2 * features @ self.vectors.T).clamp_min(0))
        products = features @ self.vectors.T
        if self.kernel == "linear":
            return products
        scaled = self.gamma * products + self.shift
        return scaled**self.degree if self.kernel == "poly" else scaled.tanh()

    def _votes(self, pairs: Tensor) -> Tensor:
        votes = pairs.new_zeros(len(pairs), self.classes)
        sums = [pairs.new_zeros(len(pairs)) for _ in range(self.classes)]
        k = 0
        for first in range(self.classes):
            for second in range(first + 1, self.classes):
                won = (pairs[:, k] > 0).to(pairs.dtype)
                sums[first], sums[second] = sums[first] + pairs[:, k], sums[second] - pairs[:, k]
                votes[:, first] += won
                votes[:, second] += 1 - won
                k += 1
        total = torch.stack(sums, 1)
        return votes + total / (3 * (total.abs() + 1))


def _pair_weights(svc: Any) -> np.ndarray[Any, Any]:
    """Return (pairs, support vectors): the coefficients of each machine of one class against another."""
    counts, dual = svc.n_support_, np.asarray(svc.dual_coef_)
    starts = np.concatenate([[0], np.cumsum(counts)])
    if len(counts) == 2:
        return dual
    rows = []
    for first in range(len(counts)):
        for second in range(first + 1, len(counts)):
            row = np.zeros(dual.shape[1])
            row[starts[first] : starts[first + 1]] = dual[second - 1, starts[first] : starts[first + 1]]
            row[starts[second] : starts[second + 1]] = dual[first, starts[second] : starts[second + 1]]
            rows.append(row)
    return np.stack(rows)


def _linear_head(estimator: Any) -> nn.Module:
    parts = getattr(estimator, "estimators_", None) if type(estimator).__name__ == "OneVsRestClassifier" else None
    if parts is not None and all(hasattr(part, "coef_") for part in parts) and not estimator.multilabel_:
        return _linear(
            [np.ravel(part.coef_) for part in parts], [float(np.ravel(part.intercept_)[0]) for part in parts]
        )
    weights = getattr(estimator, "coef_", None)
    if weights is None or not hasattr(estimator, "intercept_"):
        raise UnsupportedModelError(
            f"{type(estimator).__name__} has neither linear coefficients nor support vectors. Use LogisticRegression, "
            "LinearSVC, RidgeClassifier, SGDClassifier, LDA, SVC or a OneVsRestClassifier of linear ones on one "
            "label per image; trees have no gradients."
        )
    weights = np.atleast_2d(weights)
    return _linear(weights, np.broadcast_to(estimator.intercept_, len(weights)))


def _linear(weights: Any, bias: Any) -> nn.Linear:
    weights = _tensor(weights)
    layer = nn.Linear(weights.shape[1], weights.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weights)
        layer.bias.copy_(_tensor(bias))
    return layer


def _kernel_head(estimator: Any) -> nn.Module:
    if estimator.kernel not in _KERNELS:
        raise UnsupportedModelError(f"Expected an SVC with one of the kernels {', '.join(_KERNELS)}.")
    if hasattr(estimator.support_vectors_, "toarray") or estimator.decision_function_shape != "ovr":
        raise UnsupportedModelError("Expected an SVC fitted on dense features, with decision_function_shape='ovr'.")
    return _Kernel(estimator)


def _scaler(step: Any) -> nn.Module:
    kind = type(step).__name__
    if kind not in _STEPS:
        raise UnsupportedModelError(
            f"The step {kind} of the pipeline has no torch form here. Use one of {', '.join(_STEPS)} in its place, or "
            "apply it in the feature extractor."
        )
    return _STEPS[kind](step)


def _standard(step: Any) -> nn.Module:
    shift = step.mean_ if step.with_mean else np.zeros(step.n_features_in_)
    return _Affine(shift, step.scale_ if step.with_std else np.ones(step.n_features_in_))


def _robust(step: Any) -> nn.Module:
    shift = step.center_ if step.with_centering else np.zeros(step.n_features_in_)
    return _Affine(shift, step.scale_ if step.with_scaling else np.ones(step.n_features_in_))


def _min_max(step: Any) -> nn.Module:
    scaled = _Affine(-step.min_ / step.scale_, 1 / step.scale_)
    low, high = step.feature_range
    return nn.Sequential(scaled, nn.Hardtanh(float(low), float(high))) if step.clip else scaled


def _projection(step: Any) -> nn.Module:
    """Return PCA, whitened or not, or TruncatedSVD, which subtracts no mean."""
    weights = np.asarray(step.components_, dtype=np.float64)
    if getattr(step, "whiten", False):
        scale = np.sqrt(step.explained_variance_)
        weights = weights / np.maximum(scale, np.finfo(scale.dtype).eps)[:, None]
    return _linear(weights, -weights @ getattr(step, "mean_", np.zeros(weights.shape[1])))


class _UnitLength(nn.Module):
    """Divides each row by its norm; a row of zeros stays as it is."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.order = {"l1": 1.0, "l2": 2.0, "max": float("inf")}[norm]

    def forward(self, features: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(features, self.order, dim=1, keepdim=True)
        return features / norms.clamp_min(1e-12)


_STEPS: dict[str, Callable[[Any], nn.Module]] = {
    "StandardScaler": _standard,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": lambda step: _Affine(np.zeros(step.n_features_in_), step.scale_),
    "RobustScaler": _robust,
    "Normalizer": lambda step: _UnitLength(step.norm),
    "PCA": _projection,
    "IncrementalPCA": _projection,
    "TruncatedSVD": _projection,
}


def _tensor(values: Any) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32))
