"""The questions asked by removing pixels: does the score follow the map, more than it follows simpler maps?"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from xai.metrics.faithfulness import Curves, model_free_maps, moved_copies, removal_curves
from xai.ratings.checks import CLOSE
from xai.ratings.result import Check
from xai.ratings.subject import Subject

LEVEL = 0.05  # of the exact test against moved copies
ASKED_MORE = 0.1  # up to this p-value, and above the level, the mirrored copies are asked as well
CLEAR = 2.0  # standard deviations above the moved copies, asked of maps whose origin cannot be checked
LENIENT, STRICT = 1.0, 0.1  # standard deviations that a map may fall behind model-free ones, or must lead by
NUDGES, NUDGE = 32, 1 / 255  # copies with noise of one step of 8 bits, to see whether the map predicts small changes


def faithfulness(subject: Subject, origin: Check, tick: Callable[[], None]) -> tuple[list[Check], Curves]:
    """Does removing what the map calls relevant change the score more than moved copies and model-free maps do?

    What can be enumerated is not drawn, and the grain of filled pixels is the image's own: the seed changes nothing
    here. A map near the border meets 32 more copies. One that would be rejected is asked again with what its method
    showed instead of hidden pixels, another question than that of imputed ones.
    """
    heat, simple = subject.heatmap, model_free_maps(subject.image)

    def gaps_of(maps: Tensor, instead: Tensor | None = None) -> tuple[Curves, list[float]]:
        draws = subject.fixed_draws(1)
        found = removal_curves(subject.score, subject.image, maps, generator=draws, instead=instead, tick=tick)
        return found[0], [curve.gap for curve in found]

    own, gaps = gaps_of(torch.cat([heat[None], torch.stack(list(simple.values())), moved_copies(heat)]))
    others, copies = gaps[1 : 1 + len(simple)], torch.tensor(gaps[1 + len(simple) :])
    near = LEVEL < chance(own.gap, copies) <= ASKED_MORE
    if near:
        copies = torch.cat([copies, torch.tensor(gaps_of(moved_copies(heat, mirrored=True))[1])])
    priors = dict(zip(simple, others, strict=True))
    checked = origin.values.get("correlation", 0.0) >= CLOSE
    against = _against_copies(subject, own, copies, checked=checked, near=near)
    if against.verdict == "reject" and origin.verdict == "trust" and subject.own_fill is not None:
        first, *rest = gaps_of(torch.cat([heat[None], moved_copies(heat)]), subject.own_fill)[1]
        against = _with_its_own_fill(against, chance(first, torch.tensor(rest)))
    return [
        against,
        _against_simple(own, priors, float(copies.std()) * (LENIENT if checked else -STRICT)),
    ], own


def chance(gap: float, others: Tensor) -> float:
    """Return the p-value of the exact test: the rank of a gap among its own and those of the moved copies (n,)."""
    return (1 + int((others >= gap).sum())) / (1 + len(others))


def _against_copies(subject: Subject, own: Curves, copies: Tensor, *, checked: bool, near: bool) -> Check:
    p, beaten = chance(own.gap, copies), int((copies < own.gap).sum())
    values = {
        "gap": own.gap,
        "moved copies": float(copies.mean()),
        "p": p,
        "deletion": float(own.most_first.mean()),
        "insertion": float(1 - own.least_first.mean()),
        "infidelity": _infidelity(subject),
    }
    figure = f"it ranks pixels better than {beaten} of {len(copies)} copies of it moved elsewhere"
    figure += ", near the border" if near else ""
    if p <= LEVEL and (checked or own.gap - float(copies.mean()) >= CLEAR * float(copies.std())):
        return Check("faithfulness", "trust", f"removing what it calls relevant moves the score: {figure}", values)
    if p > 1 / 2 or not checked:
        return Check("faithfulness", "reject", f"what it calls relevant may be chance: {figure}", values)
    return Check("faithfulness", "doubt", f"no better than chance on this image: {figure}", values)


def _with_its_own_fill(found: Check, p: float) -> Check:
    """Doubt instead of a reject where the map is right about the pixels that its method showed instead."""
    values = {**found.values, "p with the method's own fill": p}
    if p > LEVEL:
        return replace(found, values=values)
    reason = "removing what it calls relevant moves the score only if the method's own fill is shown instead"
    return replace(found, verdict="doubt", reason=reason, values=values)


def _against_simple(own: Curves, priors: dict[str, float], margin: float) -> Check:
    """Compare with maps that know no model: none may be clearly better, and a map of unknown origin must beat them."""
    values = {"gap": own.gap, **priors}
    best = max(priors, key=priors.__getitem__)
    if priors[best] >= own.gap + margin:
        return Check(
            "controls", "doubt", f"{best}, which knows no model, ranks pixels better than the map does", values
        )
    reason = "no map that knows no model (middle, edges, brightness, contrast) ranks pixels clearly better"
    return Check("controls", "trust", reason, values)


def _infidelity(subject: Subject) -> float:
    """Return captum's infidelity of the map under noise, at its best scale, as a share of doing without it.

    0: the map predicts what small changes of the pixels do to the score; 1: it says nothing about that. Source: Yeh et
    al. 2019 (arXiv 1901.09392). Differs: one factor for the whole map is free, because most maps have no unit.
    """
    from captum.metrics import infidelity  # captum loads matplotlib's pyplot: only when asked for

    def perturb(images: Tensor) -> tuple[Tensor, Tensor]:
        noise = NUDGE * torch.randn(len(images), *subject.image.shape[1:], generator=subject.draws(6)).to(images)
        return noise, images - noise

    def asked(attribution: Tensor, *, normalize: bool) -> float:
        found = infidelity(
            subject.score, perturb, subject.image, attribution, n_perturb_samples=NUDGES, normalize=normalize
        )
        return float(found[0])

    spread = subject.heatmap.expand(1, *subject.image.shape[1:]) / subject.image.shape[1]
    without = asked(torch.zeros_like(subject.image), normalize=False)
    return asked(spread.to(subject.image), normalize=True) / max(without, 1e-30)
