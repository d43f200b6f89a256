"""One image under a corruption, at every severity."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard.session import Job, Report, SharedModel, SourceImage
from xai.dashboard.text import file_stem, percent, safe, t
from xai.dashboard.widgets.background import result_of
from xai.dashboard.widgets.gallery import GalleryImage, as_pixels, magnified, show_beside, show_row
from xai.dashboard.widgets.inputs import show_bars
from xai.dashboard.widgets.results import offer_chart_rows, show_chart, show_script

STEP = 0.25  # of severity
SEVERITIES = tuple(STEP * k for k in range(21))


@dataclass(frozen=True, eq=False)
class CorruptedImage:
    """An image at each of `SEVERITIES`, and what the model answers.

    Attributes:
        pixels: (S, h, w, 3) uint8, as the model sees them.
        prediction: of the S images.
    """

    pixels: np.ndarray
    prediction: xai.results.Prediction

    @property
    def flips_at(self) -> float | None:
        """Smallest severity with another answer than the clean image's; None where there is none."""
        changed = np.flatnonzero(self._other)
        return SEVERITIES[int(changed[0])] if len(changed) else None

    @property
    def returns(self) -> bool:
        """Whether the clean image's answer comes back at a higher severity than that."""
        return bool(np.any(np.diff(self._other.astype(int)) < 0))

    @property
    def _other(self) -> np.ndarray:
        predictions = self.prediction.index.numpy()
        result: np.ndarray = predictions != predictions[0]
        return result

    def image(self, k: int, title: str) -> GalleryImage:
        """Return the image at a severity with the predicted class."""
        prediction = self.prediction[k]
        return GalleryImage.of(self.pixels[k], f"{title}: {prediction.label}, {percent(prediction.probability)}")


def corrupted_job(model: SharedModel, image: SourceImage, name: str, seed: int, slot: Any) -> Job:
    """Return the job whose result is the image at all severities."""

    def corrupt(classifier: xai.Classifier, report: Report | None) -> CorruptedImage:
        import torch

        clean = classifier.prepare(image.open()).inputs
        rows = []
        for done, severity in enumerate(SEVERITIES, 1):
            rows.append(xai.corrupt(clean, name, severity, seed))  # the same draws at every severity
            if report is not None:
                report(done, len(SEVERITIES) + 1)
        images = torch.cat(rows)
        return CorruptedImage(as_pixels(images), classifier.predict(images))

    key = ("corrupted", model.key, image.identity, name, seed)
    title = f"{name.replace('_', ' ').capitalize()} at {len(SEVERITIES)} severities"
    return Job(key, title, model.ask(corrupt), slot, rows=len(SEVERITIES))


def show_corrupted(model: SharedModel, image: SourceImage, name: str, severity: float, seed: int) -> Job:
    """Show an image at a severity and along all of them, as far as it is known; return the job."""
    job = corrupted_job(model, image, name, seed, st.container())
    result = result_of(job)
    if result is not None:
        _show_severity(result, severity)
        _show_all(result, severity)
        show_script(
            model,
            f"image = {image.code}",
            "clean = clf.prepare(image).inputs",
            f"worse = xai.corrupt(clean, {name!r}, severity={severity:g}, seed={seed})",
            "print(clf.predict(worse)[0].top(3))",
        )
    return job


def _show_severity(result: CorruptedImage, severity: float) -> None:
    k = SEVERITIES.index(severity)
    difference = GalleryImage.difference(*magnified(result.pixels[0], result.pixels[k]))
    changed = result.image(k, t("Severity {severity:g}", severity=severity))
    places = show_beside([result.image(0, t("Clean")), changed, difference])
    for place, row in zip(places, (0, k), strict=False):
        with place:
            show_bars(result.prediction[row].top(3))


def _show_all(result: CorruptedImage, severity: float) -> None:
    from xai.dashboard import charts  # imports altair, which not every page needs

    st.markdown(_when(result))
    show_row([result.image(SEVERITIES.index(float(whole)), f"{whole}") for whole in range(6)], "severities")
    label, predicted = result.prediction[0].label, result.prediction[0].index
    shares = result.prediction.probabilities[:, predicted].tolist()
    text = t(
        "Probability of {label} falls from {first} to {last} at severity 5",
        label=label,
        first=percent(shares[0]),
        last=percent(shares[-1]),
    )
    st.caption(t("Probability of {label} by severity", label=safe(label)))
    show_chart(charts.probability_by_severity(SEVERITIES, shares, severity), "by severity", text)
    rows = [
        {"severity": s, "probability": share, "class": label, "prediction": prediction.label}
        for s, share, prediction in zip(SEVERITIES, shares, result.prediction, strict=True)
    ]
    offer_chart_rows(rows, file_stem(label, "by severity"), "severity_csv")


def _when(result: CorruptedImage) -> str:
    """Say in a sentence when the prediction changes."""
    label = safe(result.prediction[0].label)
    if result.flips_at is None:
        return t("The prediction stays **{label}** at every severity up to 5.", label=label)
    new = safe(result.prediction[SEVERITIES.index(result.flips_at)].label)
    back = t(" At some higher severities it is {label} again.", label=label) if result.returns else ""
    steps = t("(tried in steps of {step:g})", step=STEP)
    return t(
        "The prediction first changes at severity **{flips_at:g}** {steps}: from {label} to **{new}**.{back}",
        flips_at=result.flips_at,
        steps=steps,
        label=label,
        new=new,
        back=back,
    )
