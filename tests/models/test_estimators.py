"""A network for features and a scikit-learn classifier behind it: its own decision function, with gradients."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC
from small_models import GapCnn, pictures

import xai
from xai.errors import InputError, UnsupportedModelError

EXTRACTOR = GapCnn(classes=7, seed=3)
CLASSES = ["ant", "bee", "cat"]
IMAGES = pictures(60)
with torch.no_grad():
    FEATURES = EXTRACTOR(IMAGES).numpy().astype(np.float64)
LABELS = np.array(CLASSES)[np.digitize(FEATURES[:, 0], np.quantile(FEATURES[:, 0], [1 / 3, 2 / 3]))]
TWO = np.where(FEATURES[:, 3] > np.median(FEATURES[:, 3]), "yes", "no")

ESTIMATORS = {
    "logistic": LogisticRegression(max_iter=500),
    "LinearSVC": LinearSVC(),
    "ridge": RidgeClassifier(),
    "SGD": SGDClassifier(random_state=0),
    "LDA": LinearDiscriminantAnalysis(),
    "linear": SVC(kernel="linear"),
    "rbf": SVC(kernel="rbf"),
    "poly": SVC(kernel="poly", degree=2, coef0=1.0),
    "sigmoid": SVC(kernel="sigmoid", gamma=0.05),
    "scaled": make_pipeline(StandardScaler(), SVC()),
    "between": make_pipeline(MinMaxScaler(), LogisticRegression()),
    "unit length": make_pipeline(Normalizer(), LogisticRegression()),
    "whitened": make_pipeline(PCA(4, whiten=True), LogisticRegression()),
    "without mean": make_pipeline(TruncatedSVD(4, random_state=0), LogisticRegression()),
    "clipped": make_pipeline(MinMaxScaler((-1, 2), clip=True), LogisticRegression()),
    "norm l1": make_pipeline(Normalizer("l1"), LogisticRegression()),
    "norm max": make_pipeline(Normalizer("max"), LogisticRegression()),
    "robust": make_pipeline(RobustScaler(), LinearSVC()),
    "robust without centre": make_pipeline(RobustScaler(with_centering=False), LogisticRegression()),
    "largest": make_pipeline(MaxAbsScaler(), LogisticRegression()),
    "against the rest": OneVsRestClassifier(LogisticRegression()),
    "few": make_pipeline(PCA(4), StandardScaler(with_std=False), SVC()),
}


def fitted(name, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ESTIMATORS[name].fit(FEATURES, labels)


@pytest.mark.parametrize("labels", [LABELS, TWO], ids=["three", "two"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_scores_are_those_of_scikit_learn(name, labels):
    estimator = fitted(name, labels)
    found = xai.load(EXTRACTOR, estimator=estimator, input_size=(16, 16))
    scores = found.logits_of(IMAGES).numpy()
    wanted = estimator.decision_function(FEATURES)
    if wanted.ndim == 1:
        scores = scores[:, 1] - scores[:, 0]
    same = np.isclose(scores, wanted, rtol=0, atol=2e-3 * np.abs(wanted).max()).reshape(len(scores), -1).all(1)
    last = getattr(estimator, "steps", [("", estimator)])[-1][1]
    assert same.mean() >= (0.95 if hasattr(last, "support_vectors_") else 1.0)
    assert found.class_names == tuple(estimator.classes_)
    agreed = np.mean(np.array(found.class_names)[found.logits_of(IMAGES).argmax(1)] == estimator.predict(FEATURES))
    assert agreed >= 0.95  # votes between two machines within rounding of 0 may change sides
    assert "of scikit-learn" in " ".join(found.notes)


def test_probabilities_of_logistic_regression():
    estimator = fitted("logistic", LABELS)
    found = xai.load(EXTRACTOR, estimator=estimator)
    np.testing.assert_allclose(found.logits_of(IMAGES).softmax(1), estimator.predict_proba(FEATURES), atol=1e-5)
    assert not any("margins" in note for note in found.notes)
    assert any("margins" in note for note in xai.load(EXTRACTOR, estimator=fitted("LinearSVC", LABELS)).notes)


def test_values_beyond_those_of_the_fit_are_clipped():
    estimator = make_pipeline(MinMaxScaler((-1, 2), clip=True), LogisticRegression()).fit(
        FEATURES[:20] / 2, LABELS[:20]
    )
    scores = xai.load(EXTRACTOR, estimator=estimator, input_size=(16, 16)).logits_of(IMAGES).numpy()
    np.testing.assert_allclose(scores, estimator.decision_function(FEATURES), atol=1e-4)


@pytest.mark.parametrize(
    ("estimator", "labels", "margins"),
    [
        (SGDClassifier(loss="log_loss", random_state=0), LABELS, True),
        (SGDClassifier(loss="log_loss", random_state=0), TWO, False),
        (SGDClassifier(loss="modified_huber", random_state=0), LABELS, True),
        (make_pipeline(StandardScaler(), SGDClassifier(loss="modified_huber", alpha=1.0, random_state=0)), TWO, True),
        (OneVsRestClassifier(LogisticRegression()), LABELS, True),
        (make_pipeline(RobustScaler(), LogisticRegression()), LABELS, False),
        (LinearDiscriminantAnalysis(), LABELS, False),
        (LinearDiscriminantAnalysis(), TWO, False),
    ],
)
def test_scores_whose_softmax_is_no_probability_are_noted(estimator, labels, margins):
    estimator.fit(FEATURES, labels)
    found = xai.load(EXTRACTOR, estimator=estimator, input_size=(16, 16))
    assert any("scores are margins" in note for note in found.notes) == margins
    mine = found.predict(IMAGES).probabilities.numpy()
    assert bool(np.abs(mine - estimator.predict_proba(FEATURES)).max() > 1e-3) == margins


@pytest.mark.parametrize("name", ["logistic", "rbf", "scaled"])
def test_gradients_reach_the_pixels(name):
    estimator = fitted(name, LABELS)
    found = xai.load(EXTRACTOR, estimator=estimator, input_size=(16, 16))
    images = pictures(1).requires_grad_()
    (slope,) = torch.autograd.grad(found.logits(images)[0, 1], images)
    step = torch.zeros_like(images)
    step[0, 1, 7, 7] = 1e-2
    with torch.no_grad():
        change = [float(found.logits((images + sign * step).clamp(0, 1))[0, 1]) for sign in (-1, 1)]
    assert float(slope[0, 1, 7, 7]) == pytest.approx((change[1] - change[0]) / 2e-2, rel=0.2, abs=1e-3)
    assert xai.explain(found, pictures(1), target="bee").heatmap.shape == (16, 16)


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (LogisticRegression(), "has no `classes_`. Fit it first"),
        (RandomForestClassifier(n_estimators=3).fit(FEATURES, LABELS), "trees have no gradients"),
        (
            make_pipeline(PolynomialFeatures(2), LogisticRegression(max_iter=2000)).fit(FEATURES, LABELS),
            "The step PolynomialFeatures of the pipeline has no torch form here. Use one of StandardScaler, .*PCA",
        ),
        (SVC(decision_function_shape="ovo").fit(FEATURES, LABELS), "decision_function_shape='ovr'"),
        (SVC(kernel=lambda a, b: a @ b.T).fit(FEATURES, LABELS), "one of the kernels"),
        ("svm", "Expected a fitted scikit-learn classifier"),
    ],
    ids=["not fitted", "trees", "a step without gradients", "pairs", "own kernel", "text"],
)
def test_what_has_no_torch_form_is_refused(estimator, words):
    with pytest.raises(UnsupportedModelError, match=words) as caught:
        xai.load(EXTRACTOR, estimator=estimator)
    assert "\n" not in str(caught.value)


def test_a_classifier_has_its_head_already():
    with pytest.raises(InputError, match="to give it estimator"):
        xai.load(xai.Classifier(EXTRACTOR), estimator=fitted("logistic", LABELS))
