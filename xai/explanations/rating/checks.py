"""The checks of a map and its method. They run on one explained image with all that it needs."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.model.classifier import Classifier
from xai.core.model.hooks import copied
from xai.core.model.objective import Objective
from xai.core.results.message import Message
from xai.core.runtime.randomness import generator, image_key
from xai.engine.prepare import Prepared, prepare
from xai.errors import XaiError
from xai.explanations.explanation import Explanation
from xai.explanations.methods.base import EXPLAINERS, Explainer
from xai.explanations.methods.fills import fill_image
from xai.explanations.metrics import attribution_inside, hits, pearson, spearman
from xai.explanations.rating.rating import MapCheck

FILLED = ("mean", "zero", "blur", "noise")  # baselines that are images
_NOT_SETTINGS = ("score", "versus")


@dataclass(frozen=True, eq=False)
class Subject:
    """An explained image.

    Attributes:
        classifier: the model.
        image: (1, C, h, w) its input, on the CPU.
        explanation: of one or several images.
        k: which of them.
        seed: of the rating.
    """

    classifier: Classifier
    image: Tensor
    explanation: Explanation
    k: int
    seed: int

    @cached_property
    def heatmap(self) -> Tensor:
        """The map in the model's input geometry (h, w)."""
        return self.explanation.attribution[self.k].sum(0).float()

    @property
    def target(self) -> int:
        """The explained class."""
        return int(self.explanation.targets[self.k])

    @cached_property
    def versus(self) -> int | None:
        """The class it is explained against, or None."""
        names = self.explanation.settings.get("versus")
        return None if not names else self.classifier.find_target(names[self.k if len(names) > 1 else 0])

    @cached_property
    def key(self) -> bytes:
        """Stands for the image in everything random."""
        return image_key(self.image[0])

    @cached_property
    def prepared(self) -> Prepared:
        """The model without gradients, faster."""
        return prepare(self.classifier, self.image)

    @cached_property
    def limit(self) -> int:
        """How many images go through the model at once."""
        sample = self.image.to(self.classifier.device).expand(32, -1, -1, -1)
        return self.prepared.row_limit(sample, most=32)

    def draws(self, number: int) -> torch.Generator:
        """Return a generator of the rating's seed, the image, and the question's number."""
        return generator(self.seed, self.key, number)

    def fixed_draws(self, number: int) -> torch.Generator:
        """Return a generator of the image and the question's number: for what a verdict should not hang on."""
        return generator(0, self.key, number)

    def score(self, images: Tensor) -> Tensor:
        """Return the explained score (N,) on the CPU of images (N, C, h, w)."""
        objective = Objective(str(self.explanation.settings.get("score", "logit")), self.classifier.read_outputs())
        scores = []
        for part in torch.split(images, self.limit):
            logits = self.prepared.logits(part)
            whole = torch.full((len(part),), self.target, device=logits.device)
            against = None if self.versus is None else torch.full_like(whole, self.versus)
            scores.append(objective.row_scores(logits, whole, against).cpu())
        return torch.cat(scores)

    @cached_property
    def explainer(self) -> Explainer | None:
        """The method with the settings used; None when it is not registered or a setting was an array."""
        if self.explanation.method not in EXPLAINERS.names():
            return None
        method = EXPLAINERS[self.explanation.method]
        known = {f.name for f in fields(method)}  # type: ignore[arg-type]  # every method is a dataclass
        given = {n: v for n, v in self.explanation.settings.items() if n not in _NOT_SETTINGS}
        if set(given) - known or any(isinstance(value, dict) for value in given.values()):
            return None
        return method(**{name: _tuple(value) for name, value in given.items()})

    @cached_property
    def own_fill(self) -> Tensor | None:
        """What the method showed in place of hidden pixels (1, C, h, w), where it hides any and names it."""
        fill = getattr(self.explainer, "baseline", None)
        if not isinstance(fill, str) or fill not in FILLED:
            return None
        return fill_image(self.image, fill, key=self.key, seed=self.explanation.seed)

    def again(
        self, images: Tensor | None = None, *, model: Classifier | None = None, keys: Sequence[bytes] | None = None
    ) -> Tensor:
        """Return maps (N, h, w) of the same method, class, settings and seed for other images or another model."""
        assert self.explainer is not None
        images = self.image if images is None else images
        explanation = self.explainer.explain(
            model or self.classifier,
            images,
            self.target,
            versus=self.versus,
            score=str(self.explanation.settings.get("score", "logit")),
            seed=self.explanation.seed,
            keys=keys,
        )
        return explanation.attribution.sum(1).float()


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


EXACT, CLOSE = 0.01, 0.95  # share of a map that may differ when it is made again; correlation of one much like it
ALIKE, SAME = 0.7, 0.9  # rank correlation to the map of random weights that makes it doubtful, or worthless
STRANGERS, FEW_STRANGERS = 10, 5  # models with random weights, at most; fewer for methods of many rows
COPIES, FEW_COPIES, MANY_ROWS = 8, 3, 100  # noisy copies; fewer for methods that need more rows than this
ROUNDS = 4  # of noisy copies, at most
STEADY, HALF = 0.75, 0.5  # mean correlation of a map that stays; share of a map that must be more than noise
NOISE = 0.02  # standard deviation of the noise, in pixels of [0, 1]


def evidence(subject: Subject) -> MapCheck:
    """Is there anything to see?"""
    span = float(subject.heatmap.max() - subject.heatmap.min())
    if span > 0:
        return MapCheck("evidence", "trust", Message("the map is not uniform"), {"span": span})
    return MapCheck("evidence", "reject", Message("the map is uniform, so it shows no evidence"), {"span": span})


def reproduction(subject: Subject) -> MapCheck:
    """Does the method, run again, give this map for this class?

    A map that cannot be made again may come from anywhere, an edge detector included: it is doubted at best. One that
    is only much like the one made again may have been shifted or smoothed by hand, and is doubted as well.
    """
    name = subject.explanation.method
    if subject.explainer is None:
        reason = Message(
            "{method!r} with these settings cannot be run again, so the map's origin cannot be checked", method=name
        )
        return MapCheck("reproduction", "doubt", reason, {})
    again = subject.again()[0]
    likeness, rest = pearson(again, subject.heatmap), _difference(again, subject.heatmap)
    values = {"correlation": likeness, "difference": rest}
    label = subject.explanation.target_names[subject.k]
    if rest <= EXACT:
        return MapCheck("reproduction", "trust", Message("{method} run again gives the same map", method=name), values)
    if likeness >= CLOSE:
        reason = Message(
            "the map is close to what {method} gives for {target!r}, but not the same: {share:.1%} differ",
            **{"method": name, "target": label, "share": rest},
        )
        return MapCheck("reproduction", "doubt", reason, values)
    reason = Message(
        "the map is not what {method} gives for {target!r}: run again, it correlates {correlation:.2f} with it",
        **{"method": name, "target": label, "correlation": likeness},
    )
    return MapCheck("reproduction", "reject", reason, values)


def _difference(again: Tensor, heatmap: Tensor) -> float:
    """Return what of a map is left beside the other one at its best positive scale, as a share of what it shows."""
    other, own = again.double().flatten(), heatmap.double().flatten()
    scale = max(0.0, float(other @ own) / max(float(other @ other), 1e-300))
    return float((own - scale * other).norm() / (own - own.mean()).norm().clamp_min(1e-300))


def stability(subject: Subject) -> list[MapCheck]:
    """Does the map stay when the image changes so little that nobody would see it?

    Near the border more noisy copies are asked, four times as many at most; one that is then still near it is doubted.
    """
    if subject.explainer is None:
        return []
    cost = subject.explainer.cost
    count = COPIES if cost.forward + cost.backward <= MANY_ROWS else FEW_COPIES
    source = subject.draws(2)
    copies, maps = subject.image[:0], subject.heatmap[None][:0]
    for _ in range(ROUNDS):
        noise = NOISE * torch.randn(count, *subject.image.shape[1:], generator=source)
        more = (subject.image + noise.to(subject.image)).clamp(0, 1)
        copies = torch.cat([copies, more])
        maps = torch.cat([maps, subject.again(more, keys=[subject.key] * count)])
        likeness = torch.tensor([pearson(heatmap, subject.heatmap) for heatmap in maps], dtype=torch.float64)
        near, share = is_near(likeness, STEADY, least=0.01), _beyond_noise(maps, subject.heatmap)
        if not near and abs(share - HALF) > 0.1:
            break
    worst = max_sensitivity(subject, copies, maps)
    return [_stays(likeness, worst, near=near), _is_signal(share)]


def _stays(likeness: Tensor, worst: float, *, near: bool) -> MapCheck:
    mean = float(likeness.mean())
    values = {"correlation": mean, "lowest correlation": float(likeness.min()), "max-sensitivity": worst}
    verdict = "trust" if mean >= STEADY and not near else "doubt"
    effect = Message("stays the same" if verdict == "trust" else "may change" if near else "changes")
    reason = Message(
        "under noise of {noise:.0%}, the map {effect}: correlation {correlation:.2f} over {count} copies",
        **{"noise": NOISE, "effect": effect, "correlation": mean, "count": len(likeness)},
    )
    return MapCheck("stability", verdict, reason, values)


def is_near(draws: Tensor, border: float, *, least: float) -> bool:
    """Whether the mean of some draws lies so near a border that more draws could move it across.

    Args:
        draws: (n,) of one figure.
        border: of the verdict.
        least: standard deviation to reckon with, where few draws agree by chance.
    """
    spread = max(least, float(draws.std()))
    return abs(float(draws.mean()) - border) <= 2.5 * spread / math.sqrt(len(draws))


def max_sensitivity(subject: Subject, copies: Tensor, maps: Tensor) -> float:
    """Return captum's max-sensitivity: the largest change of the map among noisy copies, as a share of its norm.

    Source: Yeh et al. 2019 (arXiv 1901.09392). The copies and their maps are those of the stability check: one that
    draws gets the same draws for each, so that its own noise is not taken for the model's.
    """
    from captum.metrics import sensitivity_max  # captum loads matplotlib's pyplot: only when asked for

    def explained(images: Any) -> tuple[Tensor]:
        return (maps,) if images is copies else (subject.heatmap[None],)

    sensitivity = sensitivity_max(
        explained, subject.image, perturb_func=lambda _images: copies, n_perturb_samples=len(copies)
    )
    return float(sensitivity[0])


def _beyond_noise(maps: Tensor, heatmap: Tensor) -> float:
    """Return the share of what the map shows whose mean over noisy copies exceeds their standard deviation."""
    every = torch.cat([maps, heatmap[None]])
    shown = heatmap.abs() > 0.1 * heatmap.abs().max()
    return float(((every.mean(0).abs() > every.std(0)) & shown).sum()) / max(1, int(shown.sum()))


def _is_signal(share: float) -> MapCheck:
    reason = Message("{share:.0%} of what the map shows is more than noise", share=share)
    return MapCheck("beyond noise", "trust" if share >= HALF else "doubt", reason, {"share": share})


def sanity(subject: Subject) -> MapCheck | None:
    """Does the map depend on what the model has learned? (Adebayo et al. 2018, arXiv 1810.03292).

    Weights are drawn anew twice, and again while the mean rank correlation is near a border; still near it is doubted.
    """
    if subject.explainer is None:
        return None
    cost = subject.explainer.cost
    most = STRANGERS if cost.forward + cost.backward <= MANY_ROWS else FEW_STRANGERS
    likeness: list[float] = []
    while len(likeness) < 2 or (len(likeness) < most and _undecided(likeness)):
        try:
            stranger = randomised(subject.classifier, subject.draws(30 + len(likeness)))
            likeness.append(abs(spearman(subject.again(model=stranger)[0], subject.heatmap)))
        except XaiError as error:
            reason = Message(
                "the model with random weights cannot be explained ({error}), so this was not checked", error=error
            )
            return MapCheck("sanity", "not checked", reason, {})
    return _depends(likeness)


def _undecided(likeness: list[float]) -> bool:
    draws = torch.tensor(likeness, dtype=torch.float64)
    return any(is_near(draws, border, least=0.1) for border in (ALIKE, SAME))


def _depends(likeness: list[float]) -> MapCheck:
    alike, near = sum(likeness) / len(likeness), _undecided(likeness)
    values = {"rank correlation": alike, "models": float(len(likeness))}
    if near:
        template = (
            "models with random weights may give much the same map (rank correlation {value:.2f}): near the limit"
        )
        return MapCheck("sanity", "doubt", Message(template, value=alike), values)
    if alike < ALIKE:
        reason = Message("with random weights the map is another one: rank correlation {value:.2f}", value=alike)
        return MapCheck("sanity", "trust", reason, values)
    reason = Message(
        "a model with random weights gives much the same map (rank correlation {value:.2f}): it shows the image, not "
        "the model",
        value=alike,
    )
    return MapCheck("sanity", "reject" if alike >= SAME else "doubt", reason, values)


def randomised(classifier: Classifier, draws: torch.Generator) -> Classifier:
    """Return the classifier with every weight drawn anew, normal with the old root mean square."""
    stranger = copy.copy(classifier)
    stranger.module = copied(classifier.module)
    with torch.no_grad():
        for weight in stranger.module.parameters():
            if weight.is_floating_point():
                scale = weight.detach().double().square().mean().sqrt()
                weight.copy_(torch.randn(weight.shape, generator=draws) * float(scale))
        for part in stranger.module.modules():
            if isinstance(part, nn.modules.batchnorm._NormBase) and part.affine:
                part.weight.abs_()
    return stranger


def own_figures(subject: Subject) -> list[MapCheck]:
    """Judge what the method said of itself: completeness and the fit of local models."""
    details = subject.explanation.details
    own = details[subject.k] if details else {}
    results = []
    if "gap" in own and "difference" in own:
        gap = abs(float(own["gap"])) / max(abs(float(own["difference"])), 1e-12)
        verdict = "trust" if gap <= 0.05 else "doubt"
        reason = Message("its values add up to the change of the score but for {gap:.1%}", gap=gap)
        results.append(MapCheck("completeness", verdict, reason, {"gap": gap}))
    if "r2" in own:
        fit = float(own["r2"])
        verdict = "trust" if fit >= 0.5 else "doubt"
        reason = Message("its local model explains R2 = {r2:.2f} of the score", r2=fit)
        results.append(MapCheck("local fit", verdict, reason, {"r2": fit}))
    return results


def localisation(subject: Subject, mask: Tensor) -> MapCheck:
    """Is the map where the object is?"""
    hit = bool(hits(subject.heatmap[None], mask[None])[0])
    mass = float(attribution_inside(subject.heatmap[None], mask[None])[0])
    area = float(mask.float().mean())
    values = {"hit": float(hit), "attribution inside": mass, "area of the mask": area}
    reason = Message(
        "its peak lies {place} the mask, with {mass:.0%} of its positive values (the mask covers {area:.0%})",
        **{"place": Message("inside" if hit else "outside"), "mass": mass, "area": area},
    )
    return MapCheck("localisation", "trust" if hit and mass >= area else "doubt", reason, values)
