"""The page "Stress", attacks: one picture that is changed to mislead the network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

import streamlit as st

import xai
from xai.dashboard.attack_settings import choose_attack_settings
from xai.dashboard.balls import choose_eps, choose_norm, eps_code
from xai.dashboard.changes import Attacked, to_attack
from xai.dashboard.controls import class_names, show_bars
from xai.dashboard.gallery import TIMES, Shot, show_beside, show_row
from xai.dashboard.jobs import Job, asked_for, result_of
from xai.dashboard.language import t, told
from xai.dashboard.pictures import Picture
from xai.dashboard.script import show_script
from xai.dashboard.words import cost, percent, radius, safe, sentence, size_of_change
from xai.dashboard.work import Model

_USUAL, _NEAREST = "pgd", "fmn"
_LARGEST = {"linf": 32, "l2": 8, "l1": 192}  # linf in 1/255
_CHOSEN = {"linf": 8.0, "l2": 0.5, "l1": 12.0}
_DOUBLINGS = 6  # radii of the strip: the largest one halved again and again
_AT_ONCE = 1000  # rows up to which the strip is not asked for by a button


@dataclass(frozen=True)
class _Plan:
    """An attack as it was chosen; `eps` is None where the attack has no radius."""

    method: xai.MethodInfo
    norm: str
    eps: float | None
    targeted: int | None
    seed: int
    settings: Mapping[str, Any]

    @property
    def asked(self) -> Mapping[str, Any]:
        """What any attack takes."""
        aim = {} if self.targeted is None else {"targeted": self.targeted}
        return {"norm": self.norm, "seed": self.seed, **aim}

    @property
    def fully_asked(self) -> Mapping[str, Any]:
        """The same with the settings of this one."""
        return {**self.asked, **self.settings}


def attack(model: Model, picture: Picture, prediction: xai.Prediction) -> list[Job]:
    """Let the user attack a picture; return what is still to be done."""
    infos = {info.name: info for info in xai.methods(kind="attack")}
    plan = _choose(infos, prediction)
    job = to_attack(model, picture, plan.method, plan.fully_asked, (plan.eps,), st.container())
    found = result_of(job)
    if found is not None:
        clean, changed, _ = _show(found, t("Attacked"))
        for place, k in ((clean, 0), (changed, 1)):
            with place:
                show_bars(found.prediction[k].top(3))
        _say(found)
    nearest = _show_nearest(model, picture, infos[_NEAREST], plan, found)
    along = _show_along(model, picture, plan)
    if found is not None:
        _code(model, picture, plan)
    return [one for one in (job, nearest, along) if one is not None]


def _choose(infos: Mapping[str, xai.MethodInfo], prediction: xai.Prediction) -> _Plan:
    first, second, third = st.columns([1.5, 1.1, 1.2])
    norm = choose_norm("norm", second)
    able = [name for name, info in infos.items() if norm in info.norms or not info.norms]
    name = first.selectbox(
        t("Attack"),
        able,
        index=able.index(_USUAL),
        format_func=lambda n: told(infos[n].title),
        key="attack",
        bind="query-params",
    )
    names = class_names(prediction)
    targeted = third.selectbox(
        t("Towards"),
        [k for k in names if k != prediction.index],
        index=None,
        format_func=names.__getitem__,
        key="towards",
        placeholder=t("any other class"),
        bind="query-params",
    )
    info = infos[name]
    free = info.unit == "distance" or not info.norms
    left, right = st.columns([3.1, 0.7])
    tip = t(
        "Radius of the ball that the changed picture stays in. Some attacks have none: they "
        "look for the smallest change, or turn and shift the picture."
    )
    eps = choose_eps(norm, "eps", _LARGEST, _CHOSEN, tip, left, disabled=free)
    seed = int(right.number_input(t("Seed"), 0, 2**31 - 1, 0, key="attack_seed", bind="query-params"))
    info, settings = choose_attack_settings(info)
    st.caption(
        t("{summary} Rows through the network, at most: {info}.", summary=safe(sentence(info.summary)), info=cost(info))
    )
    return _Plan(info, norm, None if free else eps, targeted, seed, settings)


def _show(found: Attacked, title: str) -> list[Any]:
    """Show clean picture, changed picture and difference; return their columns."""
    added = t("Difference times {times}", times=TIMES)
    return show_beside(
        [
            _shot(found, 0, t("Clean")),
            _shot(found, 1, title),
            Shot(
                found.differences[1],
                t("{added} (grey: no change)", added=added),
                t("{added} between clean and changed picture", added=added),
            ),
        ]
    )


def _say(found: Attacked) -> None:
    """Say what happened, and what to beware of."""
    st.markdown(_what(found))
    for note in found.results[0].notes:
        st.caption(safe(sentence(note)))


def _shot(found: Attacked, k: int, title: str) -> Shot:
    one = found.prediction[k]
    said = f"{title}: {one.label}, {percent(one.probability)}"
    return Shot(found.pixels[k], safe(said, 80), said)


def _what(found: Attacked) -> str:
    """Say in a sentence what an attack did."""
    result, before, after = found.results[0], found.prediction[0].label, found.prediction[1].label
    if not bool(result.success[0]):
        aim = (
            "" if result.targeted is None else t(" to {label}", label=safe(found.prediction.labels[result.targeted[0]]))
        )
        return t(
            "The attack could not change the answer{aim}: it is **{after}**. That is no proof of "
            "robustness; another attack may succeed.",
            aim=aim,
            after=safe(after),
        )
    size = f": {size_of_change(_size(found), result.norm)}" if isfinite(_size(found)) else ""
    by = (
        ""
        if result.broken_by[0] == result.method
        else t(" (found by {broken_by})", broken_by=safe(result.broken_by[0]))
    )
    return t(
        "The answer changes from **{before}** to **{after}**{by}{size}.",
        before=safe(before),
        after=safe(after),
        by=by,
        size=size,
    )


def _size(found: Attacked) -> float:
    """Return how large the change is that did what was asked; infinite where none did, or where pictures are turned."""
    result = found.results[0]
    sized = any(info.norms for info in xai.methods(kind="attack") if info.name == result.method)
    return float(result.distance[0]) if sized and bool(result.success[0]) else inf


def _show_nearest(
    model: Model, picture: Picture, info: xai.MethodInfo, plan: _Plan, above: Attacked | None
) -> Job | None:
    """Show the smallest change that flips the answer; return the job, unless it is the one above."""
    if plan.method.name == info.name:
        return None
    st.markdown(t("**The smallest change found that flips the answer**"), help=safe(sentence(info.summary)))
    job = to_attack(model, picture, info, plan.asked, (None,), st.container())
    found = result_of(job)
    if found is not None:
        _show(found, told(info.title))
        _say(found)
        if above is not None and _size(above) < _size(found):
            st.markdown(t("The change above is smaller still."))
    return job


def _show_along(model: Model, picture: Picture, plan: _Plan) -> Job | None:
    """Show the picture along the radii; return the job when there is one to do."""
    if plan.eps is None:
        return None
    largest = _LARGEST[plan.norm] / (255 if plan.norm == "linf" else 1)
    radii = tuple(largest / 2**k for k in reversed(range(_DOUBLINGS)))
    st.markdown(t("**The same picture along eps**"))
    job = to_attack(model, picture, plan.method, plan.fully_asked, radii, st.container())
    if job.rows > _AT_ONCE and not asked_for(
        job, t("Attack at {count} radii", count=len(radii)), t("Up to {rows} rows", rows=job.rows)
    ):
        return None
    found = result_of(job)
    if found is not None:
        _show_strip(found, radii, plan.norm)
    return job


def _show_strip(found: Attacked, radii: Sequence[float], norm: str) -> None:
    titles = [t("Clean"), *(radius(eps, norm) for eps in radii)]
    show_row([_shot(found, k, title) for k, title in enumerate(titles)], "along_eps")
    st.caption(t("Difference times {times} (grey: no change)", times=TIMES))
    show_row(
        [
            Shot(found.differences[k], safe(title), t("Difference times {times} at {title}", times=TIMES, title=title))
            for k, title in enumerate(titles)
        ],
        "differences",
    )
    enough = [eps for eps, result in zip(radii, found.results, strict=True) if bool(result.success[0])]
    if enough:
        st.markdown(
            t(
                "The smallest radius tried that is enough for this attack is **{radius}**.",
                radius=radius(enough[0], norm),
            )
        )
    else:
        st.markdown(t("No radius tried here is enough for this attack. That is no proof of robustness."))


def _code(model: Model, picture: Picture, plan: _Plan) -> None:
    arguments = [repr(plan.method.name)]
    if plan.eps is not None:
        arguments.append(f"eps={eps_code(plan.eps, plan.norm)}")
    arguments += [f"{name}={value!r}" for name, value in plan.fully_asked.items()]
    show_script(
        model,
        f"image = {picture.code}",
        f"r = xai.attack(clf, image, clf.predict(image).index, {', '.join(arguments)})",
        "print(r.success, r.distance, clf.predict(r.adversarial)[0].top(3))",
    )
