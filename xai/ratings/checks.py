"""The questions: each takes a subject and answers with a check."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from captum.metrics import infidelity, sensitivity_max
from scipy import stats
from torch import Tensor, nn

from xai.core.classifier import Classifier
from xai.errors import XaiError
from xai.metrics.faithfulness import Curves, centre_map, edge_map, moved_copies, removal_curves
from xai.metrics.localisation import hits, mass_inside
from xai.metrics.similarity import pearson, spearman
from xai.ratings.result import Check
from xai.ratings.subject import Subject

CONTROLS = 32  # random maps, all of which must be beaten: a random map does so in 1 of 33 cases
ALIKE, SAME = 0.7, 0.9  # rank correlation to the map of random weights that makes it doubtful, or worthless
COPIES, FEW_COPIES, MANY_ROWS = 8, 3, 100  # noisy copies; fewer for methods that need more rows than this
NUDGES, NUDGE = 32, 1 / 255  # copies with noise of one step of 8 bits, to see whether the map predicts small changes
NOISE = 0.02  # standard deviation of the noise, in pixels of [0, 1]


def evidence(subject: Subject) -> Check:
    """Is there anything to see?"""
    span = float(subject.heatmap.max() - subject.heatmap.min())
    if span > 0:
        return Check("evidence", "trust", "the map is not the same everywhere", {"span": span})
    return Check("evidence", "reject", "the map is the same everywhere, so it shows no evidence", {"span": span})


def reproduction(subject: Subject) -> Check:
    """Does the method, run again, give this map for this class?"""
    name = subject.explanation.method
    if subject.explainer is None:
        reason = f"{name!r} with these settings cannot be run again, so the map's origin is not checked"
        return Check("reproduction", "not checked", reason, {})
    likeness = pearson(subject.again()[0], subject.heatmap)
    values = {"correlation": likeness}
    label = subject.explanation.labels[subject.k]
    if likeness >= 0.95 or float(subject.heatmap.std()) == 0:
        return Check("reproduction", "trust", f"{name} run again gives the same map", values)
    reason = f"the map is not what {name} gives for {label!r}: run again, it correlates {likeness:.2f} with it"
    return Check("reproduction", "reject", reason, values)


def faithfulness(subject: Subject, origin: Check, tick: Callable[[], None]) -> tuple[list[Check], Curves]:
    """Does removing what the map calls relevant change the score more than random maps, the middle, or edges do?"""
    draws = subject.draws(1)
    heat = subject.heatmap
    size = (heat.shape[0], heat.shape[1])
    others = torch.stack([centre_map(size), edge_map(subject.image)])
    maps = torch.cat([heat[None], others, moved_copies(heat, CONTROLS, draws)])
    own, middle, edges, *moved = removal_curves(subject.score, subject.image, maps, generator=draws, tick=tick)
    gaps = torch.tensor([curve.gap for curve in moved])
    found = [_against_random(subject, own, gaps, origin), _against_simple(own, middle, edges, float(gaps.std()))]
    return found, own


def _against_random(subject: Subject, own: Curves, gaps: Tensor, origin: Check) -> Check:
    beaten = int((gaps < own.gap).sum())
    values = {
        "gap": own.gap,
        "random maps": float(gaps.mean()),
        "p": (1 + CONTROLS - beaten) / (1 + CONTROLS),
        "deletion": float(own.most_first.mean()),
        "insertion": float(1 - own.least_first.mean()),
        "infidelity": infidelity_of(subject),
    }
    figure = f"it ranks pixels better than {beaten} of {CONTROLS} random maps of its kind"
    clear = float(own.gap - gaps.mean()) >= 2 * float(gaps.std())  # asked of maps whose origin nobody can check
    if beaten == CONTROLS and (clear or origin.verdict == "trust"):
        return Check("faithfulness", "trust", f"removing what it calls relevant moves the score: {figure}", values)
    if beaten < CONTROLS / 2 or origin.verdict != "trust":
        return Check("faithfulness", "reject", f"what it calls relevant may be chance: {figure}", values)
    return Check("faithfulness", "doubt", f"cannot be told from chance on this picture: {figure}", values)


def _against_simple(own: Curves, middle: Curves, edges: Curves, spread: float) -> Check:
    values = {"gap": own.gap, "centre": middle.gap, "edges": edges.gap}
    better = [
        name
        for name, gap in (("a spot in the middle", middle.gap), ("an edge detector", edges.gap))
        if gap > own.gap + spread
    ]
    if better:
        return Check("controls", "doubt", f"{' and '.join(better)} ranks pixels better than the map does", values)
    return Check("controls", "trust", "no simpler map (middle, edges) ranks pixels clearly better", values)


def stability(subject: Subject) -> list[Check]:
    """Does the map stay when the picture changes so little that nobody would see it?"""
    if subject.explainer is None:
        return []
    cost = subject.explainer.cost
    count = COPIES if cost.forward + cost.backward <= MANY_ROWS else FEW_COPIES
    noise = NOISE * torch.randn(count, *subject.image.shape[1:], generator=subject.draws(2))
    copies = (subject.image + noise.to(subject.image)).clamp(0, 1)
    maps = subject.again(copies, keys=[subject.key] * count)
    likeness = [pearson(one, subject.heatmap) for one in maps]
    mean = sum(likeness) / count
    worst = max_sensitivity(subject, copies, maps)
    values = {"correlation": mean, "lowest correlation": min(likeness), "max-sensitivity": worst}
    verdict = "trust" if mean >= 0.75 else "doubt"
    words = "stays the same" if verdict == "trust" else "changes"
    reason = f"under noise of {NOISE:.0%}, the map {words}: correlation {mean:.2f} over {count} copies"
    return [Check("stability", verdict, reason, values), _beyond_noise(maps, subject.heatmap)]


def max_sensitivity(subject: Subject, copies: Tensor, maps: Tensor) -> float:
    """Return captum's max-sensitivity: the largest change of the map among noisy copies, as a share of its norm.

    Source: Yeh et al. 2019 (arXiv 1901.09392). The copies and their maps are those of the stability check: one that
    draws gets the same draws for each, so that its own noise is not taken for the model's.
    """

    def explained(images: Any) -> tuple[Tensor]:
        return (maps,) if images is copies else (subject.heatmap[None],)

    found = sensitivity_max(
        explained, subject.image, perturb_func=lambda _images: copies, n_perturb_samples=len(copies)
    )
    return float(found[0])


def infidelity_of(subject: Subject) -> float:
    """Return captum's infidelity of the map under noise, at its best scale, as a share of doing without it.

    0: the map predicts what small changes of the pixels do to the score; 1: it says nothing about that. Source: Yeh et
    al. 2019 (arXiv 1901.09392). Differs: one factor for the whole map is free, because most maps have no unit.
    """

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


def _beyond_noise(maps: Tensor, heatmap: Tensor) -> Check:
    """Return the share of the map whose sign the noise leaves standing (95 % t-interval of its mean)."""
    every = torch.cat([maps, heatmap[None]])
    half = float(stats.t.ppf(0.975, len(every) - 1)) * every.std(0) / math.sqrt(len(every))
    shown = heatmap.abs() > 0.1 * heatmap.abs().max()
    share = float(((every.mean(0).abs() > half) & shown).sum()) / max(1, int(shown.sum()))
    verdict = "trust" if share >= 0.5 else "doubt"
    reason = f"{share:.0%} of what the map shows is more than noise"
    return Check("beyond noise", verdict, reason, {"share": share})


def sanity(subject: Subject) -> Check | None:
    """Does the map depend on what the model has learned? (Adebayo et al. 2018, arXiv 1810.03292)."""
    if subject.explainer is None:
        return None
    likeness = []
    for number in range(2):
        try:
            stranger = randomised(subject.classifier, subject.draws(3 + number))
            likeness.append(abs(spearman(subject.again(model=stranger)[0], subject.heatmap)))
        except XaiError as error:
            reason = f"the model with random weights cannot be explained ({error}), so this was not checked"
            return Check("sanity", "not checked", reason, {})
    alike = sum(likeness) / len(likeness)
    values = {"rank correlation": alike}
    if alike < ALIKE:
        return Check(
            "sanity", "trust", f"with random weights the map is another one: rank correlation {alike:.2f}", values
        )
    verdict = "reject" if alike >= SAME else "doubt"
    figure = f"rank correlation {alike:.2f}"
    reason = f"a model with random weights gives much the same map ({figure}): it shows the picture, not the model"
    return Check("sanity", verdict, reason, values)


def randomised(classifier: Classifier, draws: torch.Generator) -> Classifier:
    """Return the classifier with every weight drawn anew, normal with the old root mean square."""
    stranger = copy.copy(classifier)
    stranger.module = copy.deepcopy(classifier.module)
    with torch.no_grad():
        for weight in stranger.module.parameters():
            if weight.is_floating_point():
                scale = weight.detach().double().square().mean().sqrt()
                weight.copy_(torch.randn(weight.shape, generator=draws) * float(scale))
        for part in stranger.module.modules():
            if isinstance(part, nn.modules.batchnorm._NormBase) and part.affine:
                part.weight.abs_()
    return stranger


def own_figures(subject: Subject) -> list[Check]:
    """Judge what the method said of itself: completeness and the fit of local models."""
    details = subject.explanation.details
    own = details[subject.k] if details else {}
    found = []
    if "gap" in own and "difference" in own:
        gap = abs(float(own["gap"])) / max(abs(float(own["difference"])), 1e-12)
        verdict = "trust" if gap <= 0.05 else "doubt"
        reason = f"its values add up to the change of the score but for {gap:.1%}"
        found.append(Check("completeness", verdict, reason, {"gap": gap}))
    if "r2" in own:
        fit = float(own["r2"])
        verdict = "trust" if fit >= 0.5 else "doubt"
        found.append(Check("local fit", verdict, f"its local model explains R2 = {fit:.2f} of the score", {"r2": fit}))
    return found


def localisation(subject: Subject, mask: Tensor) -> Check:
    """Is the map where the object is?"""
    hit = bool(hits(subject.heatmap[None], mask[None])[0])
    mass = float(mass_inside(subject.heatmap[None], mask[None])[0])
    area = float(mask.float().mean())
    values = {"hit": float(hit), "mass inside": mass, "area of the mask": area}
    where = "inside" if hit else "outside"
    reason = f"its peak lies {where} the mask, with {mass:.0%} of its positive values (the mask covers {area:.0%})"
    return Check("localisation", "trust" if hit and mass >= area else "doubt", reason, values)
