"""`xai.attack`: adversarial examples by one method."""

from dataclasses import fields
from typing import Any

from torch import nn

from xai.core.images.inputs import ImageLike
from xai.core.model.classifier import Classifier, as_classifier
from xai.core.model.objective import Target
from xai.core.model.usage_checks import with_doubts
from xai.core.runtime.batching import Progress, ShouldStop
from xai.errors import NameLookupError
from xai.robust.attacks.base import ATTACKS
from xai.robust.attacks.result import AttackResult


def attack(
    model: Classifier | nn.Module,
    images: ImageLike,
    labels: Any = None,
    method: str = "pgd",
    eps: float | None = None,
    norm: str = "linf",
    steps: int | None = None,
    targeted: Target = None,
    seed: int = 0,
    *,
    progress: bool | Progress | None = None,
    should_stop: ShouldStop | None = None,
    **settings: Any,
) -> AttackResult:
    """Search for small changes that make a classifier answer wrongly.

    Args:
        model: from `xai.load`, an `xai.Classifier`, or a bare `nn.Module` that takes pixels in [0, 1].
        images: in any form that `xai.explain` takes, or a data set; what is changed are the model's inputs.
        labels: the truth (N,), as indices or names; None takes those of a data set. Pictures that are wrong to begin
            with are left alone.
        method: fgsm, bim, pgd, mifgsm, apgd-ce, apgd-dlr, apgd-t, fab-t, square, autoattack, deepfool, cw, ddn, fmn,
            spatial, noise.
        eps: radius in the scale of pixels in [0, 1] (8/255, not 8). None takes 8/255 (linf), 0.5 (l2) or 12 (l1);
            methods that look for the smallest change then take what they find.
        norm: "linf", "l2" or "l1".
        steps: of methods that have them; None takes the method's own.
        targeted: class to reach, one for all or one per picture; None takes any wrong one.
        seed: fixes everything random, per image: neither batch size nor order matter.
        progress: None, True for a bar, or a callable `(done, total)`.
        should_stop: asked at every forward; True ends the work with `xai.errors.Stopped`.
        settings: of the method; a wrong name suggests near ones.

    Returns:
        AttackResult; `.robust_accuracy` is an upper bound of the truth: no attack proves robustness, see `xai.certify`.

    Raises:
        InputError: a picture, label or setting that cannot be used.
        NameLookupError: no such method, norm or setting.
        UnsupportedModelError: the model lets no gradient through and the method needs one.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(8)
        >>> found = xai.attack(clf, data.images[:], data.labels, "pgd", eps=8 / 255, steps=5)
        >>> bool((found.distance <= 8 / 255 + 1e-6).all())
        True
    """
    attacker = ATTACKS[method]
    settings |= {} if steps is None else {"steps": steps}
    known = [f.name for f in fields(attacker)]  # type: ignore[arg-type]  # every attack is a dataclass
    for name in settings:
        if name not in known:
            raise NameLookupError(f"setting of {method}", name, known)
    classifier = as_classifier(model)
    asked: dict[str, Any] = {"eps": eps, "norm": norm, "targeted": targeted, "seed": seed, "progress": progress}
    found = attacker(**settings).run(classifier, images, labels, **asked, should_stop=should_stop)
    return with_doubts(classifier, found.clean, found)
