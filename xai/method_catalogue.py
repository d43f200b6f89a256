"""What there is to choose from: explanation methods, attacks and corruptions, described as data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from xai.core.model.classifier import Classifier, as_classifier
from xai.core.results.codec import plain
from xai.core.results.message import Message
from xai.core.runtime.batching import Progress, ShouldStop, reporting
from xai.errors import NameLookupError, Stopped, XaiError
from xai.explanations.methods.base import EXPLAINERS
from xai.ood.detectors.base import DETECTORS
from xai.ood.selection import advise
from xai.robust.attacks.base import ATTACKS
from xai.robust.corruptions.base import CORRUPTIONS

_FEW = {"samples": 40, "steps": 4, "window": 0.5}  # settings that are enough to see whether a method runs


@dataclass(frozen=True)
class MethodInfo:
    """What is known of a method.

    Attributes:
        name: as in `xai.explain(method=...)`, `xai.attack(method=...)`, `xai.fit_ood(method=...)` or `xai.corrupt`.
        title: as people call it.
        family: methods that work alike.
        unit: what its values are measured in.
        needs: "gradients", "maps" (a layer that is a map of the image), "tokens", "attention"; of a detector
            "features" (a last linear layer), "head" (its weights).
        stochastic: whether the seed matters.
        forward: rows per image sent through the network.
        backward: rows per image sent back.
        summary: one line.
        advised: for the given model; None when none was given.
        why: the reason for that.
        kind: "explanation", "attack", "corruption" or "detector".
        settings: names and defaults of its own settings.
        norms: of an attack, those it works in.
        choices: of an explanation's settings that take a name, all names; several are joined by "+" where the default
            is.

    Example:
        >>> import xai
        >>> lime = next(method for method in xai.methods() if method.name == "lime")
        >>> lime.stochastic, lime.forward
        (True, 1000)
    """

    name: str
    title: str
    family: str
    unit: str
    needs: tuple[str, ...]
    stochastic: bool
    forward: int
    backward: int
    summary: str
    advised: bool | None = None
    why: str = ""
    kind: str = "explanation"
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    norms: tuple[str, ...] = ()
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def with_settings(self, **settings: Any) -> "MethodInfo":
        """Return the method with other settings, and the rows that they cost. Nothing is run.

        Raises:
            NameLookupError: no such setting, or a name that a setting cannot be.
            RangeError: a number that a setting cannot be.

        Example:
            >>> import xai
            >>> pgd = next(method for method in xai.methods(kind="attack") if method.name == "pgd")
            >>> pgd.forward, pgd.with_settings(steps=10).forward
            (41, 11)
        """
        for name in settings:
            if name not in self.settings:
                raise NameLookupError(f"setting of {self.name}", name, list(self.settings) or ["none"])
        if not settings:
            return self
        made = _WITH_SETTINGS[self.kind][self.name](**{**self.settings, **settings})
        rows = getattr(made, "cost", self)  # a detector costs the same whatever its settings
        return replace(self, settings=_defaults(made), forward=rows.forward, backward=rows.backward)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, JSON-ready."""
        rest = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: plain(value) for name, value in rest.items()}


def methods(
    model: Classifier | nn.Module | None = None,
    kind: str = "explanation",
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> list[MethodInfo]:
    """Return every registered method of a kind. With a model, each says whether it is advised for it and why.

    Explanations are tried; of detectors published figures are told; attacks and corruptions are only listed.

    Args:
        model: to be advised for; None gives no advice.
        kind: "explanation", "attack", "corruption" or "detector".
        progress: None, True for a bar, or a callable `(done, total)` in methods.
        should_stop: asked before each method is tried; True ends the work with `xai.errors.Stopped`.

    Raises:
        NameLookupError: no such kind.
        Stopped: `should_stop()` was true.

    Cost: nothing without a model; with one, a few dozen rows of a small image per explanation, one per detector.

    Example:
        >>> import xai
        >>> "fog" in [method.name for method in xai.methods(kind="corruption")]
        True
    """
    if kind not in _KINDS:
        raise NameLookupError("kind of method", kind, list(_KINDS))
    names, describe = _KINDS[kind]
    infos = []
    with reporting(progress, "methods") as report:
        for done, name in enumerate(names):
            if should_stop is not None and should_stop():
                raise Stopped(f"Stopped after {done} of {len(names)} methods, as asked.")
            infos.append(describe(name, model))
            if report is not None:
                report(done + 1, len(names))
    return infos


def _explanation(name: str, model: Classifier | nn.Module | None) -> MethodInfo:
    explainer = EXPLAINERS[name]
    made = explainer()
    advised, why = (None, "") if model is None else _try(name, as_classifier(model))
    return MethodInfo(
        name,
        explainer.title,
        explainer.family,
        explainer.unit,
        explainer.needs,
        explainer.stochastic,
        made.cost.forward,
        made.cost.backward,
        summary=_first_line(explainer),
        advised=advised,
        why=why,
        settings=_defaults(made),
        choices=MappingProxyType(dict(explainer.choices)),
    )


def _attack(name: str, _model: Classifier | nn.Module | None) -> MethodInfo:
    attack = ATTACKS[name]
    made = attack()
    return MethodInfo(
        name,
        attack.title,
        attack.family,
        "distance" if attack.minimal else "radius",
        attack.needs,
        attack.stochastic,
        made.cost.forward,
        made.cost.backward,
        summary=_first_line(attack),
        kind="attack",
        settings=_defaults(made),
        norms=attack.norms if attack.ball else (),
    )


def _corruption(name: str, _model: Classifier | nn.Module | None) -> MethodInfo:
    corruption = CORRUPTIONS[name]
    title = name.replace("_", " ").capitalize()
    return MethodInfo(
        name,
        title,
        corruption.family,
        "severity",
        (),
        corruption.stochastic,
        1,
        0,
        corruption.summary,
        kind="corruption",
    )


def _detector(name: str, model: Classifier | nn.Module | None) -> MethodInfo:
    detector = DETECTORS[name]
    advised, why = (None, "") if model is None else advise(name, as_classifier(model))
    return MethodInfo(
        name,
        detector.title,
        detector.family,
        detector.unit,
        detector.needs,
        False,
        *detector.rows,
        summary=_first_line(detector),
        advised=advised,
        why=why,
        kind="detector",
        settings=_defaults(detector()),
    )


_Describe = Callable[[str, Classifier | nn.Module | None], MethodInfo]
_KINDS: dict[str, tuple[list[str], _Describe]] = {
    "explanation": (EXPLAINERS.names(), _explanation),
    "attack": (ATTACKS.names(), _attack),
    "corruption": (CORRUPTIONS.names(), _corruption),
    "detector": (DETECTORS.names(), _detector),
}
_WITH_SETTINGS: Mapping[str, Any] = {"explanation": EXPLAINERS, "attack": ATTACKS, "detector": DETECTORS}


def _first_line(thing: type) -> str:
    return (thing.__doc__ or "").strip().splitlines()[0]


def _defaults(method: Any) -> Mapping[str, Any]:
    return MappingProxyType({f.name: getattr(method, f.name) for f in fields(method)})


def _cheap(method: Any) -> Any:
    """Return a method with settings that are enough to see whether it runs."""
    known = {f.name for f in fields(method)}
    return method(**{name: value for name, value in _FEW.items() if name in known})


def _try(name: str, classifier: Classifier) -> tuple[bool, str]:
    """Run a method on a small grey image and see."""
    grey = torch.full((1, classifier.channels, *(classifier.input_size or (224, 224))), 0.5)
    try:
        explanation = _cheap(EXPLAINERS[name]).explain(classifier, grey)
    except XaiError as error:
        return False, error.message
    works = Message("works on this model")
    if explanation.layer:
        works = Message("works on this model, looking at layer {layer!r}", layer=explanation.layer)
    caution = EXPLAINERS[name].caution
    if caution:
        return False, Message("{works}, but {caution}", works=works, caution=Message(caution))
    return True, works
