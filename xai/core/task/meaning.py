"""The meaning of a model's outputs: task, scale and position.

The scale is logits or probabilities; the position is which of several outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xai.core.model.predictions import (
    DeclaredTask,
    Key,
    OutputMeaning,
    look_like_log_probabilities,
    look_like_probabilities,
    output_tensor,
    score_table,
)
from xai.core.results.message import Message, constant
from xai.core.task.evidence import TWICE, Declared, Ending, declared_by, probe_images
from xai.core.task.output_choice import (
    choose,
    inside_unit,
    like_percentages,
    may_have_other_scale,
    other_scale,
    side_of_zero,
    varies,
)
from xai.errors import UnsupportedModelError

_ROWS_OF_ONE = 8  # images whose only output is looked at, besides the probe images
_NEAR, _USUAL = 3.0, 30.0  # of the logit of two classes: its smallest and its median size on images of any kind
_ENOUGH = 6  # numbers that must lie between 0 and 1 before it is said
_OVERRIDE = 'if it is the logit of two classes, pass task="binary"'
_ASKED_LOGITS = "the model's outputs look like probabilities, not logits: pass output='probabilities'"
_PERCENT = 'if these are percentages, divide them by 100 and pass output="probabilities"'
_INSIDE_UNIT = (
    "all outputs lie between 0 and 1: if they are probabilities and no logits, pass "
    'task="multilabel", output="probabilities"'
)
_SOFTMAX = "ends in a softmax: its logarithm is used as the logits"
_SUM_TO_ONE = "its outputs sum to 1, as after a softmax: their logarithm is used as the logits"
_DECISIONS = (
    "every output is 0 or 1: these are decisions, without confidence or gradients; return what they are made of"
)
_SIGMOIDS = {
    "sigmoid": "ends in a sigmoid: what goes into it is the logits",
    "hardsigmoid": "ends in a hard sigmoid: the log-odds of its outputs are used as the logits",
}
_SIGMOID_OF_ONE_CLASS = "ends in a sigmoid, with one right class per image: the logarithm of it is used as the logits"
_SEVERAL = "several classes may be right at once: where one class per image is compared, it is the most probable one"
Run = Callable[[Tensor], Any]
_BOUNDED = {"relu": "a ReLU", "softplus": "a softplus", "exp": "an exponential", "tanh": "a tanh"}
_LOGARITHMS = {"log_softmax": "a log-softmax", "log_sigmoid": "a log-sigmoid"}
_NO_LOGIT = {**_BOUNDED, **_LOGARITHMS, "softmax": "a softmax", TWICE: "a softmax"}
_MAY_BE_PROBABILITIES = {"", "exp", "softmax", TWICE}  # ends whose only number may be a probability


@dataclass(frozen=True, eq=False)
class _Seen:
    """One look at a model: its name, what it returned for how many images, and how to ask it again."""

    name: str
    scores: Tensor
    ending: str
    images: Tensor
    run: Run | None
    key: Key | None


def read_meaning(
    module: nn.Module, name: str, images: Tensor, seen: tuple[Any, Ending], run: Run | None, declared: DeclaredTask
) -> OutputMeaning:
    """Return how a model's outputs are to be read.

    Args:
        module: the model, borrowed; its configuration and loss functions may say what it was trained for.
        name: of the model, for messages.
        images: (n, C, h, w) in [0, 1], near what the model is for where possible.
        seen: what the model returned for these images, and how its forward ends, see `watched`.
        run: the forward of such images, before anything is read from it; None judges no values of a single output.
        declared: what the caller says, which nothing here overrules.

    Raises:
        UnsupportedModelError: one number that does not look like a logit, a softmax over another axis than the
            classes, or outputs that contradict what the caller says.
    Cost: nothing, but for models with one output, of which nothing else tells: a forward of up to 16 images.
    """
    (raw, ending), rows = seen, len(images)
    key, notes = (declared.key, []) if declared.key is not None else choose(raw, rows, declared.names)
    chosen = output_tensor(raw, key)
    scores = score_table(chosen.detach(), rows)
    if not bool(torch.isfinite(scores).all()):
        return OutputMeaning(
            declared.task or "multiclass", declared.output or "logits", key, scores.shape[1] == 1, tuple(notes)
        )
    view = _Seen(name, scores, ending(chosen), images, run, key)
    _check_probabilities(view, declared)
    meaning = (
        _of_one(view, declared, declared_by(module)) if scores.shape[1] == 1 else _of_several(view, declared, module)
    )
    return replace(meaning, key=key, notes=(*notes, *meaning.notes))


def _check_probabilities(seen: _Seen, declared: DeclaredTask) -> None:
    low, high = (float(value) for value in seen.scores.aminmax())
    if declared.output == "probabilities" and not (low >= 0 and high <= 1):
        raise UnsupportedModelError(
            f"Expected probabilities, as `output` says, but the model returned values in [{low:.3g}, {high:.3g}]. "
            'Leave `output` out, or give output="logits".'
        )


def _of_several(seen: _Seen, declared: DeclaredTask, module: nn.Module) -> OutputMeaning:
    """Read K numbers per image."""
    if declared.task == "binary" and seen.scores.shape[1] > 2:
        raise UnsupportedModelError(
            f"Expected one or two outputs, as task='binary' says, but {seen.name!r} returns {seen.scores.shape[1]}. "
            'Give task="multiclass" or task="multilabel".'
        )
    output, notes = _output_of_several(seen, declared)
    task = declared.task
    if task is None:
        task, task_notes = _task_of_several(seen, declared_by(module), declared)
        notes += task_notes
    if task == "multilabel":
        notes.append(_SEVERAL)
    return OutputMeaning(task, output, notes=tuple(notes))


def _task_of_several(seen: _Seen, declared: Declared | None, by_caller: DeclaredTask) -> tuple[str, list[str]]:
    if declared is not None and declared.task == "regression" and by_caller.names is None:
        raise UnsupportedModelError(
            f"{seen.name!r} predicts {seen.scores.shape[1]} numbers per image, as {declared.source} says, and no "
            'classes. If they are class scores, pass task="multiclass" or task="multilabel".'
        )
    if declared is not None and declared.task == "multilabel":
        return "multilabel", [Message("each class has a sigmoid of its own, as {source} says", source=declared.source)]
    if declared is not None or by_caller.output == "logits":
        return "multiclass", []
    if (
        by_caller.output == "probabilities"
        and seen.ending not in _SIGMOIDS
        and not look_like_probabilities(seen.scores)
    ):
        return "multilabel", ["each class has a probability of its own: those of an image do not sum to 1"]
    return "multilabel" if seen.ending in _SIGMOIDS else "multiclass", []


def _output_of_several(seen: _Seen, declared: DeclaredTask) -> tuple[str, list[str]]:
    """Say whether K numbers are logits or probabilities.

    Raises:
        UnsupportedModelError: a softmax whose rows do not sum to one, or numbers of another scale.
    """
    shares = look_like_probabilities(seen.scores) and _sum_to_one_elsewhere(seen)
    if seen.ending in {"softmax", TWICE} and not shares:
        raise UnsupportedModelError(
            f"{seen.name!r} ends in a softmax over another axis than the classes: the {seen.scores.shape[1]} outputs "
            "of an image do not sum to 1. Give the softmax dim=1, or leave it out."
        )
    if declared.output is not None:
        doubtful = declared.output == "logits" and shares and declared.task != "multilabel"
        return declared.output, [_ASKED_LOGITS] if doubtful else []
    if shares and seen.ending not in _SIGMOIDS:
        return "probabilities", _shares_noted(seen)
    if seen.ending in _SIGMOIDS:
        return "probabilities", [_SIGMOIDS[seen.ending] if declared.task != "multiclass" else _SIGMOID_OF_ONE_CLASS]
    if seen.ending == "log_softmax" or look_like_log_probabilities(seen.scores):
        return "logits", ["ends in a log-softmax, whose outputs are logits"]
    _refuse_other_scale(seen)
    return "logits", _logits_noted(seen) or _two_doubted(seen, declared)


def _shares_noted(seen: _Seen) -> list[str]:
    """Say why K numbers are read as probabilities that sum to 1."""
    if seen.ending in {"softmax", TWICE}:
        flat = ["two softmaxes follow each other at its end, which flattens its probabilities: leave one out"]
        return [_SOFTMAX, *(flat if seen.ending == TWICE else [])]
    decided = bool(((seen.scores == 0) | (seen.scores == 1)).all())
    return [_SUM_TO_ONE, *([_DECISIONS] if decided else [])]


def _sum_to_one_elsewhere(seen: _Seen) -> bool:
    """Whether outputs that no softmax was seen to make sum to 1 for probe images too: a few may do so by chance."""
    if seen.run is None or seen.ending in {"softmax", TWICE}:
        return True
    return look_like_probabilities(_probe_scores(seen, seen.run))


def _probe_scores(seen: _Seen, run: Run) -> Tensor:
    """Return the scores of the first images and of probe images (m, K)."""
    probes = probe_images(seen.images.shape[1], (seen.images.shape[2], seen.images.shape[3]))
    with torch.inference_mode(False), torch.no_grad():
        pixels = torch.cat([seen.images[:_ROWS_OF_ONE].cpu().float(), probes])
        return score_table(output_tensor(run(pixels), seen.key).detach(), len(pixels)).double().cpu()


def _refuse_other_scale(seen: _Seen) -> None:
    """Raise where K numbers are told to be neither logits nor probabilities, by the first images and by probe images.

    Raises:
        UnsupportedModelError: percentages, other shares, costs, or logarithms of another base.
    """
    if seen.run is None or not may_have_other_scale(seen.scores):
        return
    why = other_scale(_probe_scores(seen, seen.run))
    if why:
        raise UnsupportedModelError(f"Expected logits or probabilities, but {seen.name!r} returns {why}.")


def _logits_noted(seen: _Seen) -> list[str]:
    """Say what makes it doubtful that K numbers are logits."""
    if seen.ending in _BOUNDED:
        end = constant(_BOUNDED[seen.ending])
        return [Message("ends in {end}: are these class scores, or features of a layer before?", end=end)]
    if seen.ending == "log_sigmoid":
        return ["ends in a log-sigmoid: if each class has a probability of its own, return what goes into it"]
    if seen.scores.numel() < _ENOUGH or not varies(seen.scores):
        return []
    if inside_unit(seen.scores):
        return [_INSIDE_UNIT]
    if seen.ending == "linear" or seen.run is None or not like_percentages(seen.scores):
        return []
    percent = like_percentages(_probe_scores(seen, seen.run))
    return [f"all outputs lie between 0 and 100: {_PERCENT}"] if percent else []


def _two_doubted(seen: _Seen, declared: DeclaredTask) -> list[str]:
    """Say that two outputs are apart as those of two classes are not: a regression may return a mean and a variance."""
    if seen.scores.shape[1] != 2 or declared.names == 2 or seen.run is None or not _far(_apart(seen.scores)):
        return []
    apart = _apart(_probe_scores(seen, seen.run))
    if not _far(apart):
        return []
    template = "the second of two outputs minus the first is {span}: are they class scores, or a regression?"
    return [Message(template, span=_range_of(apart))]


def _apart(scores: Tensor) -> Tensor:
    return scores[:, 1] - scores[:, 0]


def _far(values: Tensor) -> bool:
    return bool(side_of_zero(values)) and float(values.abs().median()) > _USUAL


def _of_one(seen: _Seen, by_caller: DeclaredTask, declared: Declared | None) -> OutputMeaning:
    """Read one number per image, which stands for two classes; one label that is there or not is two classes as well.

    Raises:
        UnsupportedModelError: it is not known to.
    """
    if by_caller.task == "multiclass":
        raise UnsupportedModelError(
            f"Expected several class scores, as task='multiclass' says, but {seen.name!r} returns one number per "
            'image. Give task="binary" if it is the logit or the probability of the second class.'
        )
    if by_caller.output is not None:
        doubtful = by_caller.output == "logits" and seen.ending in _SIGMOIDS
        return OutputMeaning("binary", by_caller.output, single=True, notes=(_ASKED_LOGITS,) if doubtful else ())
    if seen.ending in _SIGMOIDS:
        return OutputMeaning("binary", "probabilities", single=True, notes=(_SIGMOIDS[seen.ending],))
    if by_caller.task is None and declared is not None and declared.task == "regression":
        raise UnsupportedModelError(
            f"{seen.name!r} predicts a number, as {declared.source} says, and no classes: {_OVERRIDE}."
        )
    if seen.ending in _MAY_BE_PROBABILITIES:
        values = seen.scores[:, 0] if seen.run is None else _probe_scores(seen, seen.run)[:, 0]
        if inside_unit(values) and (seen.run is None or varies(values)):
            return _probability(values)
        _refuse_constant(seen, values)
    notes = _logit_noted(seen, declared, by_caller) if by_caller.task is None else _logit_doubted(seen)
    return OutputMeaning("binary", "logits", single=True, notes=tuple(notes))


def _probability(values: Tensor) -> OutputMeaning:
    note = Message(
        "one output is read as the probability of the second of two classes ({span}); if it is a logit, pass "
        'output="logits"',
        span=_range_of(values),
    )
    return OutputMeaning("binary", "probabilities", single=True, notes=(note,))


def _refuse_constant(seen: _Seen, values: Tensor) -> None:
    """Raise for one number that is the same for all images and may be a logit or a probability.

    Raises:
        UnsupportedModelError: it lies between 0 and 1, and neither is.
    """
    low, high = float(values.min()), float(values.max())
    if seen.ending == "" and seen.run is not None and low >= 0 and 0 < high <= 1 and not varies(values):
        raise UnsupportedModelError(
            f"{seen.name!r} returns the same number, {low:.3g}, for {len(values)} images, which may be a logit or a "
            'probability. Pass output="probabilities" or output="logits".'
        )


def _logit_doubted(seen: _Seen) -> list[str]:
    """Say what makes it doubtful that one number is the logit of two classes, though the caller says two classes."""
    if seen.ending in _NO_LOGIT:
        template = (
            "one output comes out of {end}, which is no logit: return what goes into it; if it is one all the same, "
            'pass output="logits"'
        )
        return [Message(template, end=constant(_NO_LOGIT[seen.ending]))]
    if seen.ending or seen.run is None:
        return []
    return _one_sided(_probe_scores(seen, seen.run)[:, 0])


def _one_sided(values: Tensor) -> list[str]:
    """Say that one number is never on one side of 0, so that as a logit it always means the same class."""
    side = side_of_zero(values)
    if not side or not varies(values):
        return []
    cure = f": {_PERCENT}" if like_percentages(values) else ': is it a logit? If so, pass output="logits"'
    return [Message(f"one output is never {side} 0 ({{span}}){cure}", span=_range_of(values))]


def _range_of(values: Tensor) -> Message:
    low, high = float(values.min()), float(values.max())
    return Message("{low:.3g} to {high:.3g} on {count} images", low=low, high=high, count=len(values))


def _logit_noted(seen: _Seen, declared: Declared | None, by_caller: DeclaredTask) -> list[str]:
    """Say why one number is taken for the logit of two classes.

    Raises:
        UnsupportedModelError: its source, its end or its values contradict it.
    """
    if seen.ending in _NO_LOGIT:
        raise UnsupportedModelError(
            f"{seen.name!r} returns one number per image that comes out of {_NO_LOGIT[seen.ending]}, "
            f"which is no logit. Return what goes into it; {_OVERRIDE}."
        )
    if declared is not None:
        return [Message("one output is read as the logit of two classes, as {source} says", source=declared.source)]
    if by_caller.names == 1:
        raise UnsupportedModelError(f"{seen.name!r} returns one number per image and has one class name: {_OVERRIDE}.")
    if seen.run is None:
        return []
    values = _probe_scores(seen, seen.run)[:, 0]
    where = _range_of(values)
    doubts = [] if seen.ending == "linear" else _one_sided(values)
    if by_caller.names == 2:
        template = "its values, {span}, are far from those of a logit: is it a regression?"
        far = [] if _plausible(values) else [Message(template, span=where)]
        return ["one output is read as the logit of two classes, as there are two class names", *far, *doubts]
    if _plausible(values):
        template = (
            'one output is read as the logit of two classes ({span}); pass task="binary" if that is right: a '
            "regression may look the same"
        )
        return [Message(template, span=where), *doubts]
    raise UnsupportedModelError(
        f"{seen.name!r} returns one unbounded number per image ({where}), which may be a regression: {_OVERRIDE}."
    )


def _plausible(values: Tensor) -> bool:
    """Whether these may be logits of two classes: on both sides of 0 or near it, and of a usual size."""
    sizes = values.abs()
    both = bool(values.min() < 0) and bool(values.max() > 0)
    return float(sizes.median()) <= _USUAL and (both or float(sizes.min()) <= _NEAR)


def names_of(names: Sequence[str], meaning: OutputMeaning) -> tuple[str, ...]:
    """Return the class names of a model, two where one name is given for one output."""
    return (f"not {names[0]}", names[0]) if meaning.single and len(names) == 1 else tuple(names)
