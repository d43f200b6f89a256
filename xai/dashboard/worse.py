"""The page "Stress", corruptions: one picture that gets worse."""

import streamlit as st

import xai
from xai.dashboard.changes import SEVERITIES, STEP, Worsened, to_worsen
from xai.dashboard.charts import draw, probability_by_severity
from xai.dashboard.controls import show_bars
from xai.dashboard.gallery import Shot, magnified, show_beside, show_row
from xai.dashboard.jobs import Job, result_of
from xai.dashboard.pictures import Picture
from xai.dashboard.script import show_script
from xai.dashboard.words import percent, safe, sentence
from xai.dashboard.work import Model

_USUAL = "gaussian_noise"


def worsen(model: Model, picture: Picture) -> list[Job]:
    """Let the user make a picture worse; return what is still to be done."""
    infos = {info.name: info for info in xai.methods(kind="corruption")}
    first, second, third = st.columns([1.4, 2, 0.7])
    name = first.selectbox(
        "Corruption",
        list(infos),
        index=list(infos).index(_USUAL),
        format_func=lambda n: infos[n].title,
        key="corruption",
        bind="query-params",
    )
    severity = second.slider("Severity", 0.0, 5.0, 3.0, STEP, key="severity", bind="query-params")
    seed = int(third.number_input("Seed", 0, 2**31 - 1, 0, key="corruption_seed", bind="query-params"))
    st.caption(f"{safe(sentence(infos[name].summary))} 0 is the clean picture, 1 to 5 are as in ImageNet-C.")
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
    added = f"Difference times {times}" if times > 1 else "Difference"
    shots = [
        _shot(found, 0, "Clean"),
        _shot(found, k, f"Severity {severity:g}"),
        Shot(difference, f"{added} (grey: no change)", f"{added} between the clean and the changed picture"),
    ]
    clean, changed, _ = show_beside(shots)
    for place, row in ((clean, 0), (changed, k)):
        with place:
            show_bars(found.prediction[row].top(3))
    st.markdown(_when(found))
    show_row([_shot(found, SEVERITIES.index(float(whole)), f"{whole}") for whole in range(6)])
    label, answer = found.prediction[0].label, found.prediction[0].index
    shares = found.prediction.probabilities[:, answer].tolist()
    said = f"Probability of {label} falls from {percent(shares[0])} to {percent(shares[-1])} at severity 5"
    st.caption(f"Probability of {safe(label)} by severity")
    draw(probability_by_severity(SEVERITIES, shares, severity), "by severity", said)


def _shot(found: Worsened, k: int, title: str) -> Shot:
    one = found.prediction[k]
    said = f"{title}: {one.label}, {percent(one.probability)}"
    return Shot(found.pixels[k], safe(said, 80), said)


def _when(found: Worsened) -> str:
    """Say in a sentence when the answer changes."""
    label = safe(found.prediction[0].label)
    if found.flips_at is None:
        return f"The answer stays **{label}** at every severity up to 5."
    new = safe(found.prediction[SEVERITIES.index(found.flips_at)].label)
    back = f" At some higher severities it is {label} again." if found.returns else ""
    steps = f"(tried in steps of {STEP:g})"
    return f"The answer first changes at severity **{found.flips_at:g}** {steps}: from {label} to **{new}**.{back}"
