"""`xai.fit_probe`: a head of one's own on the features of a model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai.core.model.classifier import Classifier
from xai.core.model.features import Outputs, read_some
from xai.core.model.fingerprint import fingerprint_module
from xai.core.model.hooks import borrowed
from xai.core.results.message import Message
from xai.core.runtime.batching import Progress, ShouldStop
from xai.core.validation import check_choice, check_number, check_seed
from xai.errors import DataError, Stopped, UnsupportedModelError
from xai.models.loading import load
from xai.models.probes import FeatureNet, Probe, ProbeHead, ProbeNet, kept_settings
from xai.models.sources import MODELS
from xai.stats.intervals import wilson
from xai.uncertainty.calibration_scores import fit_temperature

HEADS = ("logistic", "svm", "linear_svm")
_FOLDS, _FEWEST = 5, 4
_STRENGTHS = {
    "logistic": (1e-3, 1e-2, 0.1, 1.0, 10.0),
    "svm": (0.1, 1.0, 10.0, 100.0),
    "linear_svm": (1e-4, 1e-3, 1e-2, 0.1),
}
_Around = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], float]  # shift and scale of the features, temperature
_SAME = 1e-4  # of the largest feature: how far those of the copy may be from those of the model


def fit_probe(
    model: Classifier | nn.Module | str,
    data: Any,
    head: str = "logistic",
    *,
    held_out: float = 0.25,
    seed: int = 0,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> Probe:
    """Fit a classifier on the features of a model. A few images per class are enough.

    Features are the inputs of the model's last linear layer, or what it returns where it has none; the model itself
    is not trained. The strength of the penalty is chosen by cross-validation, the temperature is fitted on scores of
    images that the head was not fitted on, and the accuracy is measured on images held out from all of this. Gradients
    pass through features and head, so every explanation, attack and check works as on any classifier.

    Args:
        model: a name or file of `xai.load`, a classifier, or a module. Of a model of `xai.catalogue()`, also
            one that was loaded, `save` writes only the name.
        data: a labelled data set of `xai.load_data`; its classes become those of the classifier.
        head: "logistic"; "svm", support vector machines with Gaussian kernels, one for each class; or "linear_svm".
        held_out: share of each class that is left out for the accuracy, above 0 and below 1.
        seed: of the division into parts.
        progress: of the pass over the data: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked between chunks of images and between fits.

    Returns:
        Probe: a classifier; `.accuracy` and `.interval` on `.held_out` images, `.save("probe.safetensors")`, and
        `xai.load("probe.safetensors")` brings it back.

    Raises:
        NameLookupError: no such head.
        DataError: no labels, one class, or fewer than four images of one.
        UnsupportedModelError: a model without features in rows.
        Stopped: `should_stop()` was true.

    Cost: one pass over the data; fits of seconds for thousands of images.
    Source: Alain & Bengio 2016 (arXiv 1610.01644) for linear probes; Guo et al. 2017 for the temperature.

    Example:
        >>> import xai
        >>> train = xai.load_data("example:fashion-train").subset(300)
        >>> probe = xai.fit_probe("example:fashion", train)
        >>> len(probe.class_names)
        10
    """
    check_choice("head", head, HEADS)
    classifier = model if isinstance(model, Classifier) else load(model)
    outputs = classifier.outputs(data, progress=progress, should_stop=should_stop)
    names, labels = _classes(data, outputs)
    rng = np.random.default_rng(check_seed(seed))
    test = _held_out(labels, held_out, rng)
    fitter = _Fitter(head, _rows(outputs), labels, rng, should_stop)
    fitted, notes = fitter.best(~test)
    hits = int((fitted(_tensor(fitter.features[test])).argmax(1).numpy() == labels[test]).sum())
    low, high = wilson(hits, int(test.sum()))
    share, count = hits / int(test.sum()), int(test.sum())
    template = "accuracy {share:.1%} ({low:.1%} to {high:.1%}) on {count} held-out images"
    measured = Message(template, share=share, low=float(low), high=float(high), count=count)
    notes = [_source(classifier, outputs), *notes, measured]
    extractor = _extractor(classifier, outputs, data)
    record: dict[str, Any] = {
        "base": _base(model, classifier),
        "layer": outputs.layer,
        "extractor": fingerprint_module(extractor),
        "settings": {},
    }
    record |= {"accuracy": share, "interval": [float(low), float(high)], "count": count, "notes": notes}
    return _probe(classifier, ProbeNet(extractor, fitted, record), names, head, notes)


def _base(model: object, classifier: Classifier) -> str | None:
    """Return the model's name in the catalogue, so that a file need not hold its weights; None where it has none.

    A classifier may have any name, and may have been trained since it was loaded: its weights are compared.
    """
    name = model if isinstance(model, str) else classifier.name
    if name not in MODELS.names():
        return None
    same = isinstance(model, str) or fingerprint_module(MODELS[name].build()[0]) == fingerprint_module(
        classifier.module
    )
    return name if same else None


def _probe(classifier: Classifier, net: ProbeNet, names: list[str], head: str, notes: list[str]) -> Probe:
    """Return the classifier with the preprocessing of the model behind it."""
    settings = kept_settings(classifier)
    size = settings.pop("input_size")
    net.to(classifier.device)
    return Probe(
        net,
        class_names=names,
        input_size=tuple(size) if size else None,
        name=f"{head} on {classifier.name}",
        notes=notes,
        one_by_one=classifier.one_by_one,
        **settings,
    )


def _source(classifier: Classifier, outputs: Outputs) -> str:
    if outputs.layer is None:
        return Message("features of {model}: what it returns", model=classifier.name)
    width = 0 if outputs.features is None else outputs.features.shape[1]
    template = "features of {model}: the {width} inputs of its last linear layer {layer!r}"
    return Message(template, model=classifier.name, width=width, layer=outputs.layer)


def _rows(outputs: Outputs) -> np.ndarray[Any, Any]:
    """Return the features (N, D): inputs of the last linear layer, or what the model returns."""
    features = outputs.logits if outputs.features is None else outputs.features
    return features.double().numpy()


def _classes(data: Any, outputs: Outputs) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Return names of the classes that occur, and labels (N,) among them.

    Raises:
        DataError: no labels, one class, or too few images of one.
    """
    if outputs.labels is None:
        raise DataError("Expected a labelled data set to fit a head on, but this one has no labels.")
    known, labels, counts = np.unique(np.asarray(outputs.labels), return_inverse=True, return_counts=True)
    given: list[Any] = list(getattr(data, "class_names", None) or getattr(data, "classes", None) or ())
    names = [str(given[int(k)]) if 0 <= int(k) < len(given) else str(k) for k in known]
    if len(known) < 2:
        raise DataError(f"Expected images of two classes at least, but all are of class {names[0]!r}.")
    if counts.min() < _FEWEST:
        few = names[int(counts.argmin())]
        raise DataError(
            f"Expected {_FEWEST} images of each class at least, but got {counts.min()} of {few!r}. Add more."
        )
    return names, labels


def _extractor(classifier: Classifier, outputs: Outputs, data: Any) -> FeatureNet:
    """Return the model up to its features, compared with those of the pass over the data.

    Raises:
        UnsupportedModelError: they differ.
    """
    extractor = FeatureNet(classifier.module, outputs.layer)
    images = data.images if hasattr(data, "images") else data
    inputs = classifier.prepare(read_some(images, 0, 4)).inputs
    with borrowed(extractor), torch.inference_mode():
        rows = torch.cat([extractor(row[None]) for row in classifier.normalise(inputs)]).double().cpu().numpy()
    expected = _rows(outputs)[: len(rows)]
    if rows.shape != expected.shape or np.abs(rows - expected).max() > _SAME * max(1e-12, np.abs(expected).max()):
        raise UnsupportedModelError(
            f"The features of {classifier.name!r} cannot be taken out of it: cut before its last linear layer, it "
            "behaves otherwise. Give a module that returns features (N, D)."
        )
    return extractor


def _held_out(labels: np.ndarray[Any, Any], share: float, rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return which images are left out: this share of each class, one at least, and three remain."""
    check_number("held_out", share, "(0, 1)")
    chosen = np.zeros(len(labels), dtype=bool)
    for k in range(int(labels.max()) + 1):
        rows = rng.permutation(np.flatnonzero(labels == k))
        chosen[rows[: min(max(1, round(share * len(rows))), len(rows) - 3)]] = True
    return chosen


@dataclass(frozen=True)
class _Fitter:
    """Fits heads of one kind on rows of features."""

    kind: str
    features: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]
    rng: np.random.Generator
    should_stop: ShouldStop | None

    def best(self, rows: np.ndarray[Any, Any]) -> tuple[ProbeHead, list[str]]:
        """Return the head with the least loss on images it was not fitted on, with its temperature, and notes."""
        from sklearn.model_selection import StratifiedKFold

        features, labels = self.features[rows], self.labels[rows]
        folds = min(_FOLDS, int(np.bincount(labels).min()))
        split = StratifiedKFold(folds, shuffle=True, random_state=int(self.rng.integers(1 << 31)))
        parts, ground_truth = list(split.split(features, labels)), torch.from_numpy(labels)
        tried = []
        for strength in _STRENGTHS[self.kind]:
            scores = torch.zeros(len(labels), int(labels.max()) + 1)
            for inside, outside in parts:
                scores[outside] = self._fit(features[inside], labels[inside], strength)(_tensor(features[outside]))
            temperature = fit_temperature(scores, ground_truth).value
            loss = float(nn.functional.cross_entropy(scores.double() / temperature, ground_truth))
            tried.append((loss, strength, temperature))
        loss, strength, temperature = min(tried)
        head = self._fit(features, labels, strength, temperature)
        notes: list[str] = [
            Message(
                "head {head}: C = {strength:g} by {folds}-fold cross-validation on {count} images",
                head=self.kind,
                strength=strength,
                folds=folds,
                count=len(labels),
            ),
            Message(
                "temperature {temperature:.3g}, fitted on scores of images that the head was not fitted on",
                temperature=temperature,
            ),
        ]
        return head, notes

    def _fit(
        self, features: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], strength: float, temperature: float = 1.0
    ) -> ProbeHead:
        if self.should_stop is not None and self.should_stop():
            raise Stopped("Stopped between two fits, as asked.")
        shift, scale = features.mean(0), features.std(0)
        scale[scale < 1e-12] = 1.0
        return _FITS[self.kind]((features - shift) / scale, labels, strength, (shift, scale, temperature))


def _tensor(values: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _head(weights: Any, bias: Any, vectors: Any, gamma: float, around: _Around) -> ProbeHead:
    """Return a head whose logits are the scores over the temperature; one score s of two classes is (-s / 2, s / 2)."""
    shift, scale, temperature = around
    weights, bias = np.asarray(weights) / temperature, np.asarray(bias) / temperature
    if len(weights) == 1:
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    parts = {"weights": weights, "bias": bias, "vectors": vectors, "shift": shift, "scale": scale, "gamma": [gamma]}
    return ProbeHead(**{name: _tensor(np.asarray(value)) for name, value in parts.items()})


def _linear(estimator: Any, rows: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], around: _Around) -> ProbeHead:
    """Return a linear head on the features as they are: shift and scale go into weights and bias.

    The weights of least penalty lie in the span of the rows: with more features than rows, they are sought there.
    """
    shift, scale, temperature = around
    axes, placed = np.linalg.qr(rows.T) if rows.shape[1] > len(rows) else (None, rows.T)
    fitted = estimator.fit(placed.T, labels)
    weights = (fitted.coef_ if axes is None else fitted.coef_ @ axes.T) / scale
    plain = (np.zeros_like(shift), np.ones_like(scale), temperature)
    return _head(weights, fitted.intercept_ - weights @ shift, np.zeros((0, len(shift))), 0.0, plain)


def _logistic(rows: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], strength: float, around: _Around) -> ProbeHead:
    from sklearn.linear_model import LogisticRegression

    return _linear(LogisticRegression(C=strength, max_iter=2000), rows, labels, around)


def _linear_svm(
    rows: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], strength: float, around: _Around
) -> ProbeHead:
    from sklearn.svm import LinearSVC

    return _linear(LinearSVC(C=strength, max_iter=5000, random_state=0), rows, labels, around)


def _svm(rows: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], strength: float, around: _Around) -> ProbeHead:
    """Fit one machine for each class against the rest; of two classes, one for the second."""
    from sklearn.svm import SVC

    gamma = 1 / (rows.shape[1] * max(float(rows.var()), 1e-12))
    classes = int(labels.max()) + 1
    weights, bias = np.zeros((classes, len(rows))), np.zeros(classes)
    for k in range(1 if classes == 2 else 0, classes):
        fitted = SVC(C=strength, gamma=gamma).fit(rows, labels == k)
        weights[k, fitted.support_], bias[k] = fitted.dual_coef_[0], fitted.intercept_[0]
    first = 1 if classes == 2 else 0
    used = weights.any(0)
    return _head(weights[first:, used], bias[first:], rows[used], gamma, around)


_FITS = {"logistic": _logistic, "svm": _svm, "linear_svm": _linear_svm}
