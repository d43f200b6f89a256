"""The page "Stress": one image, corrupted or attacked, and certificates for its prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import numpy as np
import streamlit as st

import xai
from xai.dashboard import widgets as ui
from xai.dashboard.pages.stress.certification import certify_prediction
from xai.dashboard.session import Job, Report, SharedModel, SourceImage, progress_arguments, progress_parts, rows_of
from xai.dashboard.text import cost, eps_code, m, percent, radius, safe, sentence, size_of_change, t, told

LABELS = {
    "steps": m("steps"),
    "restarts": m("restarts"),
    "eot": m("gradients averaged per step"),
    "targets": m("classes aimed at"),
    "version": m("version"),
    "loss": m("loss"),
    "step_size": m("step size"),
    "searches": m("weights tried"),
    "rate": m("learning rate"),
    "weight": m("first weight of the margin"),
    "confidence": m("margin to reach, in logits"),
    "gamma": m("share by which the radius changes"),
    "radius": m("first radius"),
    "levels": m("values per pixel"),
    "candidates": m("classes tried per step"),
    "overshoot": m("overshoot"),
    "step": m("first step"),
    "decay": m("decay of the momentum"),
    "samples": m("samples"),
    "random_start": m("random start"),
    "rotation": m("largest rotation (degrees)"),
    "shift": m("largest shift (share of the side)"),
    "angles": m("rotations tried"),
    "shifts": m("shifts tried per direction"),
    "fill": m("value beyond the border"),
    "queries": m("queries"),
    "share": m("pixels in the first squares (share)"),
}
CHOICES = {"loss": ("ce", "margin", "dlr"), "version": ("standard", "rand")}
KINDS = {"levels": int}
_USUAL, _NEAREST = "pgd", "fmn"
_LARGEST = {"linf": 32, "l2": 8, "l1": 192}  # linf in 1/255
_CHOSEN = {"linf": 8.0, "l2": 0.5, "l1": 12.0}
_DOUBLINGS = 6  # radii of the strip: the largest one halved again and again
_AT_ONCE = 1000  # rows up to which the strip is not asked for by a button


@dataclass(frozen=True)
class AttackPlan:
    """An attack as it was chosen; `eps` is None where the attack has no radius."""

    method: xai.results.MethodInfo
    norm: str
    eps: float | None
    targeted: int | None
    seed: int
    settings: Mapping[str, Any]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What any attack takes."""
        aim = {} if self.targeted is None else {"targeted": self.targeted}
        return {"norm": self.norm, "seed": self.seed, **aim}

    @property
    def all_arguments(self) -> Mapping[str, Any]:
        """The same with the settings of this one."""
        return {**self.arguments, **self.settings}


@dataclass(frozen=True, eq=False)
class AttackedImage:
    """An image before and after attacks.

    Attributes:
        results: R of `xai.attack`, of the same clean image.
        pixels: (1 + R, h, w, 3) uint8, the clean image first, as the model sees them.
        differences: (1 + R, h, w, 3) uint8, ten times what was added, around grey.
        prediction: of the 1 + R images.
    """

    results: tuple[xai.results.AttackResult, ...]
    pixels: np.ndarray
    differences: np.ndarray
    prediction: xai.results.Prediction

    def image(self, k: int, title: str) -> ui.GalleryImage:
        """Return an image with the predicted class."""
        prediction = self.prediction[k]
        return ui.GalleryImage.of(self.pixels[k], f"{title}: {prediction.label}, {percent(prediction.probability)}")

    @property
    def size(self) -> float:
        """How large the change is that did what was asked; infinite where none did, or where images are turned."""
        result = self.results[0]
        sized = any(info.norms for info in xai.methods(kind="attack") if info.name == result.method)
        return float(result.distance[0]) if sized and bool(result.success[0]) else inf


def attack_job(
    model: SharedModel,
    image: SourceImage,
    method: xai.results.MethodInfo,
    arguments: Mapping[str, Any],
    radii: tuple[float | None, ...],
    slot: Any,
) -> Job:
    """Return the job whose result is the attacked image.

    Args:
        model: attacked; what it answers to the clean image counts as the truth.
        image: the clean one.
        method: the attack.
        arguments: further arguments of `xai.attack`.
        radii: one attack for each; None leaves the radius to the attack.
        slot: of the page.
    """

    def attack(classifier: xai.Classifier, report: Report | None) -> AttackedImage:
        import torch

        clean = classifier.prepare(image.open()).inputs
        label = classifier.predict(clean).index
        results = tuple(
            xai.attack(classifier, clean, label, method.name, eps, **arguments, **progress_arguments(part))
            for eps, part in zip(radii, progress_parts(report, len(radii)), strict=True)
        )
        images = torch.cat([results[0].clean.cpu(), *(r.adversarial.cpu() for r in results)])
        added = ui.differences(images, images[:1])
        return AttackedImage(results, ui.as_pixels(images), added, classifier.predict(images))

    key = ("attacked", model.key, image.identity, method.name, *sorted(arguments.items()), radii)
    title = told(method.title)
    title = title if len(radii) == 1 else t("{title} at {count} radii", title=title, count=len(radii))
    return Job(key, title, model.ask(attack), slot, len(radii) * rows_of(method))


def attack_image(model: SharedModel, image: SourceImage, prediction: xai.results.Prediction) -> list[Job]:
    """Let the user attack an image; return what is still to be done."""
    infos = {info.name: info for info in xai.methods(kind="attack")}
    plan = _choose_attack(infos, prediction)
    job = attack_job(model, image, plan.method, plan.all_arguments, (plan.eps,), st.container())
    result = ui.result_of(job)
    if result is not None:
        places = _show_attack(result, t("Attacked"))
        for place, k in zip(places, (0, 1), strict=False):
            with place:
                ui.show_bars(result.prediction[k].top(3))
        _say(result)
    nearest = _show_nearest(model, image, infos[_NEAREST], plan, result)
    along = _show_along(model, image, plan)
    if result is not None:
        _code(model, image, plan)
    return [todo for todo in (job, nearest, along) if todo is not None]


def _choose_attack(infos: Mapping[str, xai.results.MethodInfo], prediction: xai.results.Prediction) -> AttackPlan:
    first, second, third = st.columns([1.5, 1.1, 1.2])
    norm = ui.choose_norm("norm", second)
    able = {name: info for name, info in infos.items() if norm in info.norms or not info.norms}
    info = ui.choose_method(t("Attack"), able, _USUAL, "attack", first)
    names = ui.class_names(prediction.class_names)
    targeted = third.selectbox(
        t("Target class"),
        [k for k in names if k != prediction.index],
        index=None,
        format_func=names.__getitem__,
        key="towards",
        placeholder=t("any other class"),
        bind="query-params",
    )
    free = info.unit == "distance" or not info.norms
    left, right = st.columns([3.1, 0.7])
    tip = t(
        "Radius of the ball that contains the perturbed image. Some attacks have none: they "
        "search for the smallest perturbation, or rotate and shift the image."
    )
    eps = ui.choose_eps(norm, "eps", _LARGEST, _CHOSEN, tip, left, disabled=free)
    seed = ui.choose_seed("attack_seed", right)
    info, settings = _choose_settings(info)
    st.caption(
        t("{summary} Rows through the model, at most: {info}.", summary=safe(sentence(info.summary)), info=cost(info))
    )
    return AttackPlan(info, norm, None if free else eps, targeted, seed, settings)


def _choose_settings(info: xai.results.MethodInfo) -> tuple[xai.results.MethodInfo, Mapping[str, Any]]:
    """Let the user set an attack; return it with the rows that this costs, and what is not the default.

    What the attack refuses is a sentence on the page, and ends the run there.
    """
    with st.expander(t("Settings of {title}", title=info.title), icon=":material/tune:"):
        settings = ui.choose_settings(info.settings, info.name, LABELS, CHOICES, KINDS)
    with ui.stop_on_error():
        return info.with_settings(**settings), settings


def _show_attack(result: AttackedImage, title: str) -> list[Any]:
    """Show clean image, changed image and difference; return their columns."""
    difference = ui.GalleryImage.difference(result.differences[1])
    return ui.show_beside([result.image(0, t("Clean")), result.image(1, title), difference])


def _say(result: AttackedImage) -> None:
    """Say what happened, and what to beware of."""
    st.markdown(_what(result))
    ui.show_notes(result.results[0].notes)


def _what(attacked: AttackedImage) -> str:
    """Say in a sentence what an attack did."""
    result, before, after = attacked.results[0], attacked.prediction[0].label, attacked.prediction[1].label
    if not bool(result.success[0]):
        target = "" if result.targeted is None else attacked.prediction.class_names[result.targeted[0]]
        return t(
            "The attack could not change the prediction{aim}: it is **{after}**. This does not "
            "certify robustness; another attack may succeed.",
            aim=t(" to {label}", label=safe(target)) if target else "",
            after=safe(after),
        )
    size = f": {size_of_change(attacked.size, result.norm)}" if isfinite(attacked.size) else ""
    other = "" if result.broken_by[0] == result.method else result.broken_by[0]
    return t(
        "The prediction changes from **{before}** to **{after}**{by}{size}.",
        before=safe(before),
        after=safe(after),
        by=t(" (found by {broken_by})", broken_by=safe(other)) if other else "",
        size=size,
    )


def _show_nearest(
    model: SharedModel, image: SourceImage, info: xai.results.MethodInfo, plan: AttackPlan, above: AttackedImage | None
) -> Job | None:
    """Show the smallest change that flips the prediction; return the job, unless it is the one above."""
    if plan.method.name == info.name:
        return None
    st.markdown(t("**Smallest perturbation found that changes the prediction**"), help=safe(sentence(info.summary)))
    job = attack_job(model, image, info, plan.arguments, (None,), st.container())
    result = ui.result_of(job)
    if result is not None:
        _show_attack(result, told(info.title))
        _say(result)
        if above is not None and above.size < result.size:
            st.markdown(t("The perturbation above is even smaller."))
    return job


def _show_along(model: SharedModel, image: SourceImage, plan: AttackPlan) -> Job | None:
    """Show the image along the radii; return the job when there is one to do."""
    if plan.eps is None:
        return None
    largest = _LARGEST[plan.norm] / (255 if plan.norm == "linf" else 1)
    radii = tuple(largest / 2**k for k in reversed(range(_DOUBLINGS)))
    st.markdown(t("**The same image along eps**"))
    job = attack_job(model, image, plan.method, plan.all_arguments, radii, st.container())
    label, tip = t("Attack at {count} radii", count=len(radii)), t("Up to {rows} rows", rows=job.rows)
    if job.rows > _AT_ONCE and not ui.requested(job, label, tip):
        return None
    result = ui.result_of(job)
    if result is not None:
        _show_strip(result, radii, plan.norm)
    return job


def _show_strip(attacked: AttackedImage, radii: Sequence[float], norm: str) -> None:
    titles = [t("Clean"), *(radius(eps, norm) for eps in radii)]
    ui.show_row([attacked.image(k, title) for k, title in enumerate(titles)], "along_eps")
    st.caption(t("Difference times {times} (grey: no change)", times=ui.TIMES))
    text = [t("Difference times {times} at {title}", times=ui.TIMES, title=title) for title in titles]
    shots = zip(attacked.differences, titles, text, strict=True)
    ui.show_row([ui.GalleryImage.of(*shot) for shot in shots], "differences")
    enough = [eps for eps, result in zip(radii, attacked.results, strict=True) if bool(result.success[0])]
    st.markdown(
        t("The smallest radius tried at which this attack succeeds is **{radius}**.", radius=radius(enough[0], norm))
        if enough
        else t("No radius tried here is enough for this attack. This does not certify robustness.")
    )


def _code(model: SharedModel, image: SourceImage, plan: AttackPlan) -> None:
    arguments = [repr(plan.method.name)]
    if plan.eps is not None:
        arguments.append(f"eps={eps_code(plan.eps, plan.norm)}")
    arguments += [f"{name}={value!r}" for name, value in plan.all_arguments.items()]
    ui.show_script(
        model,
        f"image = {image.code}",
        f"r = xai.attack(clf, image, clf.predict(image).index, {', '.join(arguments)})",
        "print(r.success, r.distance, clf.predict(r.adversarial)[0].top(3))",
    )


def corrupt(model: SharedModel, image: SourceImage) -> list[Job]:
    """Let the user corrupt an image; return what is still to be done."""
    infos = {info.name: info for info in xai.methods(kind="corruption")}
    first, second, third = st.columns([1.4, 2, 0.7])
    info = ui.choose_method(t("Corruption"), infos, "gaussian_noise", "corruption", first)
    severity = second.slider(t("Severity"), 0.0, 5.0, 3.0, ui.STEP, key="severity", bind="query-params")
    seed = ui.choose_seed("corruption_seed", third)
    st.caption(t("{summary} 0 is the clean image, 1 to 5 are as in ImageNet-C.", summary=safe(sentence(info.summary))))
    return [ui.show_corrupted(model, image, info.name, severity, seed)]


if __name__ == "__main__":  # Streamlit runs it as a script
    ui.show_heading("stress")
    left, right = st.columns([1, 2.4], gap="medium")

    with left:
        model, image, prediction = ui.choose_case()

    with right:
        ways = (m("Corruptions"), m("Attacks"), m("Certificates"))
        way = ui.choose_one(t("What changes"), ways, "way")
        if way == ways[0]:
            jobs = corrupt(model, image)
        elif way == ways[1]:
            jobs = attack_image(model, image, prediction)
        else:
            jobs = certify_prediction(model, image, prediction)
        ui.run_next(jobs)
