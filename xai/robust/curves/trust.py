"""Whether an evaluation can be believed: checks of the model, its gradients, the attacks and what they found."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xai.core.model.hooks import borrowed, gradients_on
from xai.core.results.message import Message, joined
from xai.robust.curves import attack_checks, model_checks
from xai.robust.curves.evaluation_check import EXPLAINED, FIRED, NOT_CHECKED, PASSED, Evaluation, EvaluationCheck

__all__ = ["EXPLAINED", "FIRED", "NOT_CHECKED", "PASSED", "Evaluation", "EvaluationCheck", "Trust", "assess"]

_SEARCH = (
    *("black_box_beats_white_box", "noise_beats_attack", "one_step_beats_many", "unbounded_attack_fails"),
    *("loss_still_rising", "dies_as_8_bit", "flips_at_batch_1", "flips_in_float64"),
)
EXPLAINS: Mapping[str, tuple[str, ...]] = {
    "random_outputs": (
        "nan_gradients",
        "masked_gradients",
        "zero_gradients",
        "wrong_gradients",
        "scaled_logits",
        *_SEARCH,
    ),
    "softmax_outputs": ("masked_gradients", "zero_gradients", "wrong_gradients", "scaled_logits", *_SEARCH),
    "nan_gradients": ("zero_gradients", "wrong_gradients", "scaled_logits", *_SEARCH),
    "masked_gradients": ("zero_gradients", "wrong_gradients", "scaled_logits", *_SEARCH),
    "zero_gradients": ("wrong_gradients", "scaled_logits", *_SEARCH),
    "wrong_gradients": _SEARCH,
    "scaled_logits": _SEARCH,
}
"""What follows from what: a flag is raised for the cause, its consequences are named as such."""

CHECKS: tuple[Callable[[Evaluation], EvaluationCheck], ...] = (
    model_checks.train_mode,
    model_checks.random_outputs,
    model_checks.softmax_outputs,
    attack_checks.nan_gradients,
    attack_checks.masked_gradients,
    attack_checks.zero_gradients,
    attack_checks.scaled_logits,
    attack_checks.wrong_gradients,
    attack_checks.black_box_beats_white_box,
    attack_checks.noise_beats_attack,
    attack_checks.one_step_beats_many,
    attack_checks.unbounded_attack_fails,
    attack_checks.loss_still_rising,
    model_checks.outside_ball,
    model_checks.dies_as_8_bit,
    model_checks.flips_at_batch_1,
    model_checks.flips_in_float64,
    model_checks.too_few_images,
    model_checks.scale_mistaken,
)


@dataclass(frozen=True)
class Trust:
    """What the checks of one evaluation say.

    Attributes:
        checks: all of them, in a fixed order.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(4)
        >>> curve = xai.robustness(clf, data, eps=8 / 255, attacks=["fgsm", "pgd"], certificates=())
        >>> len(curve.trust.checks)
        19
    """

    checks: tuple[EvaluationCheck, ...]

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the checks that fired; empty where no problem was found."""
        return tuple(check.name for check in self.checks if check.status == FIRED)

    @property
    def not_checked(self) -> tuple[str, ...]:
        """Names of the checks that could not be made."""
        return tuple(check.name for check in self.checks if check.status == NOT_CHECKED)

    def __getitem__(self, name: str) -> EvaluationCheck:
        """Return the check of that name.

        Raises:
            KeyError: no such check.
        """
        return {check.name: check for check in self.checks}[name]

    def __str__(self) -> str:
        """One line per flag: what was seen and what to do."""
        fired = [check for check in self.checks if check.status == FIRED]
        if not fired:
            return Message("Evaluation checks: no problem found.")
        return joined(
            [
                Message("{name}: {reason} {step}", name=check.name, reason=check.reason, step=check.next_step)
                for check in fired
            ],
            "\n",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything, JSON-ready."""
        return {"flags": list(self.flags), "checks": [asdict(check) for check in self.checks]}


def assess(evaluation: Evaluation) -> Trust:
    """Make all checks; those that another one explains are named as its consequences and raise no flag.

    Counterexamples that the checks find are taken into the curve: nothing is lost.
    """
    with borrowed(evaluation.classifier.module), gradients_on():
        checks = [check(evaluation) for check in CHECKS]
    fired = {check.name for check in checks if check.status == FIRED}
    causes: dict[str, str] = {}
    for cause, consequences in EXPLAINS.items():
        if cause in fired and cause not in causes:
            causes |= {name: cause for name in consequences if name not in causes}
    return Trust(tuple(check.explained(causes[check.name]) if check.name in causes else check for check in checks))
