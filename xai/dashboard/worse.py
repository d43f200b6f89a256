"""The page "Stress", corruptions: one picture that gets worse."""

import streamlit as st

import xai
from xai.dashboard.changes import SEVERITIES, STEP, Worsened, to_worsen
from xai.dashboard.charts import draw, offer_rows, probability_by_severity
from xai.dashboard.controls import show_bars
from xai.dashboard.gallery import Shot, magnified, show_beside, show_row
from xai.dashboard.jobs import Job, result_of
from xai.dashboard.language import t, told
from xai.dashboard.pictures import Picture
from xai.dashboard.script import show_script
from xai.dashboard.words import file_stem, percent, safe, sentence
from xai.dashboard.work import Model

_USUAL = "gaussian_noise"


def worsen(model: Model, picture: Picture) -> list[Job]:
    """Let the user make a picture worse; return what is still to be done."""
    infos = {info.name: info for info in xai.methods(kind="corruption")}
    first, second, third = st.columns([1.4, 2, 0.7])
    name = first.selectbox(
        t("Corruption"),
        list(infos),
        index=list(infos).index(_USUAL),
        format_func=lambda n: told(infos[n].title),
        key="corruption",
        bind="query-params",
    )
    severity = second.slider(t("Severity"), 0.0, 5.0, 3.0, STEP, key="severity", bind="query-params")
    seed = int(third.number_input(t("Seed"), 0, 2**31 - 1, 0, key="corruption_seed", bind="query-params"))
    st.caption(
        t("{summary} 0 is the clean picture, 1 to 5 are as in ImageNet-C.", summary=safe(sentence(infos[name].summary)))
    )
    return [show_worse(model, picture, name, severity, seed)]


def show_worse(model: Model, picture: Picture, name: str, severity: float, seed: int) -> Job:
    """Show a picture at a severity and along all of them, as far as it is known; return the job."""
    job = to_worsen(model, picture, name, seed, st.container())
    found = result_of(job)
    if found is not None:
        _show(found, severity)
        show_script(
            model,
            f"image = {picture.code}",
            "clean = clf.prepare(image).inputs",
            f"worse = xai.corrupt(clean, {name!r}, severity={severity:g}, seed={seed})",
            "print(clf.predict(worse)[0].top(3))",
        )
    return job


def _show(found: Worsened, severity: float) -> None:
    k = SEVERITIES.index(severity)
    difference, times = magnified(found.pixels[0], found.pixels[k])
    added = t("Difference times {times}", times=times) if times > 1 else t("Difference")
    shots = [
        _shot(found, 0, t("Clean")),
        _shot(found, k, t("Severity {severity:g}", severity=severity)),
        Shot(
            difference,
            t("{added} (grey: no change)", added=added),
            t("{added} between the clean and the changed picture", added=added),
        ),
    ]
    clean, changed, _ = show_beside(shots)
    for place, row in ((clean, 0), (changed, k)):
        with place:
            show_bars(found.prediction[row].top(3))
    st.markdown(_when(found))
    show_row([_shot(found, SEVERITIES.index(float(whole)), f"{whole}") for whole in range(6)], "severities")
    label, answer = found.prediction[0].label, found.prediction[0].index
    shares = found.prediction.probabilities[:, answer].tolist()
    said = t(
        "Probability of {label} falls from {first} to {last} at severity 5",
        label=label,
        first=percent(shares[0]),
        last=percent(shares[-1]),
    )
    st.caption(t("Probability of {label} by severity", label=safe(label)))
    draw(probability_by_severity(SEVERITIES, shares, severity), "by severity", said)
    answers = [one.label for one in found.prediction]
    rows = [
        {"severity": s, "probability": share, "class": label, "answer": one}
        for s, share, one in zip(SEVERITIES, shares, answers, strict=True)
    ]
    offer_rows(rows, file_stem(label, "by severity"), "severity_csv")


def _shot(found: Worsened, k: int, title: str) -> Shot:
    one = found.prediction[k]
    said = f"{title}: {one.label}, {percent(one.probability)}"
    return Shot(found.pixels[k], safe(said, 80), said)


def _when(found: Worsened) -> str:
    """Say in a sentence when the answer changes."""
    label = safe(found.prediction[0].label)
    if found.flips_at is None:
        return t("The answer stays **{label}** at every severity up to 5.", label=label)
    new = safe(found.prediction[SEVERITIES.index(found.flips_at)].label)
    back = t(" At some higher severities it is {label} again.", label=label) if found.returns else ""
    steps = t("(tried in steps of {step:g})", step=STEP)
    return t(
        "The answer first changes at severity **{flips_at:g}** {steps}: from {label} to **{new}**.{back}",
        flips_at=found.flips_at,
        steps=steps,
        label=label,
        new=new,
        back=back,
    )
