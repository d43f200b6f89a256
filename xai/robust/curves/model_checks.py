"""Checks of a model's properties and of the examples that attacks found.

They look at randomness, head, mode, ball, 8 bits, batch and precision.
"""

import copy

import torch
from torch import Tensor

from xai.core.model.classifier import Classifier
from xai.core.model.hooks import copied
from xai.core.results.message import Message, joined
from xai.core.validation import radius_doubts
from xai.errors import NonFiniteError
from xai.robust.attacks.search import distance, margin, project, steepest
from xai.robust.curves.evaluation_check import SEARCHED, Evaluation, EvaluationCheck, judged, not_checked
from xai.robust.curves.stages import SLACK, predictions_of

_REPEATS = 5
_SAME = 1e-4  # relative difference of logits that rounding may make
_SUMS = 1e-5
_FEW = 30
_LEVELS = 255
_DIE, _FLIP = 0.1, 0.05  # shares
_PUSHES = 10
_DARK = 2 / 255
_NOTHING = Message("no counterexample was found")


def train_mode(seen: Evaluation) -> EvaluationCheck:
    """A part is in training mode, and answers otherwise there."""
    return judged(
        "train_mode",
        float(_mode_matters(seen)),
        0.0,
        Message("The model is in training mode, where its outputs differ; it was evaluated in evaluation mode."),
        Message("Call model.eval() before you ship it or compare it."),
    )


def _mode_matters(seen: Evaluation) -> bool:
    """Whether some part is in training mode and a copy of the model answers otherwise in it."""
    if not seen.training:
        return False
    twin, images = copy.copy(seen.classifier), seen.bounds.images[:SEARCHED].to(seen.classifier.device)
    twin.module = copied(seen.classifier.module).train()
    with torch.no_grad():
        try:
            return not torch.allclose(twin.raw_logits(images), seen.classifier.raw_logits(images), rtol=_SAME)
        except (ValueError, NonFiniteError):  # batch norm of one value per channel
            return True


@torch.no_grad()
def random_outputs(seen: Evaluation) -> EvaluationCheck:
    """The same images get other answers when asked again."""
    images = seen.bounds.images[:SEARCHED].to(seen.classifier.device)
    first = seen.classifier.raw_logits(images)
    scale = first.norm(dim=1).clamp_min(1e-12)
    again = [seen.classifier.raw_logits(images) for _ in range(_REPEATS - 1)]
    apart = max(float(((logits - first).norm(dim=1) / scale).max()) for logits in again)
    return judged(
        "random_outputs",
        apart,
        _SAME,
        Message("Outputs for the same image differ by {share:.1%} of the logits: the model is random.", share=apart),
        Message("Use attacks that average: pgd with eot=20, or autoattack with version='rand'."),
    )


@torch.no_grad()
def softmax_outputs(seen: Evaluation) -> EvaluationCheck:
    """Outputs are probabilities where logits are expected."""
    name = "softmax_outputs"
    logits = seen.classifier.raw_logits(seen.bounds.images[:SEARCHED].to(seen.classifier.device))
    if logits.shape[1] < 2:
        return not_checked(name, Message("the model has one output only"))
    inside = ((logits >= 0) & (logits <= 1)).all(1) & ((logits.sum(1) - 1).abs() < _SUMS)
    return judged(
        name,
        float(inside.double().mean()),
        0.99,
        Message(
            "Outputs lie in [0, 1] and sum to 1: they are probabilities, and gradients vanish where confidence is high."
        ),
        Message("Leave out the softmax, or wrap the model as xai.Classifier(module, output='probabilities')."),
    )


def outside_ball(seen: Evaluation) -> EvaluationCheck:
    """Counterexamples outside their ball or outside [0, 1]."""
    name, bounds, rows = "outside_ball", seen.bounds, seen.counterexample_rows
    if not len(rows):
        return not_checked(name, _NOTHING)
    inside = rows[bounds.broken[rows] < len(bounds.eps)]
    images = bounds.nearest[inside]
    limits = torch.tensor(bounds.eps, dtype=torch.float64)[bounds.broken[inside]] * (1 + SLACK) + SLACK
    bad = (distance(images, bounds.images[inside], seen.norm) > limits) | (images.flatten(1).aminmax(dim=1).min < 0)
    bad |= images.flatten(1).amax(1) > 1
    return judged(
        name,
        float(bad.sum()),
        0.0,
        Message("{count} counterexample(s) lie outside their ball or outside [0, 1].", count=int(bad.sum())),
        Message("Look at the attack that was passed: its images do not count."),
    )


def dies_as_8_bit(seen: Evaluation) -> EvaluationCheck:
    """Counterexamples that are right again when saved with 256 levels, even when pushed away from the border."""
    name, bounds = "dies_as_8_bit", seen.bounds
    rows = seen.counterexample_rows[:SEARCHED]
    rows = rows[bounds.broken[rows] < len(bounds.eps)]
    if not len(rows) or seen.norm != "linf":
        return not_checked(name, _NOTHING if seen.norm == "linf" else Message("measured in linf only"))
    images = _pushed(seen, rows)
    saved = (images * _LEVELS).round() / _LEVELS
    dead = predictions_of(seen.classifier, saved, bounds.labels[rows]) == bounds.labels[rows]
    share = float(dead.double().mean())
    return judged(
        name,
        share,
        _DIE,
        Message(
            "{share:.0%} of the counterexamples are no longer misclassified once they are saved with 8 bits per pixel.",
            share=share,
        ),
        Message("Report robustness for saved images too: the attack may be impossible in your pipeline."),
    )


def _pushed(seen: Evaluation, rows: Tensor) -> Tensor:
    """Return counterexamples of the largest radius, led away from the border as far as some steps go."""
    bounds, device = seen.bounds, seen.classifier.device
    clean, labels = bounds.images[rows].to(device), bounds.labels[rows].to(device)
    best = images = bounds.nearest[rows].to(device)
    furthest = torch.full((len(rows),), -torch.inf, device=device, dtype=images.dtype)
    for _ in range(_PUSHES + 1):
        leaf = images.detach().requires_grad_()
        past = margin(seen.classifier.raw_logits(leaf), labels)
        better = past.detach() > furthest
        best = torch.where(better.view(-1, 1, 1, 1), images, best)
        furthest = torch.maximum(furthest, past.detach())
        if not past.requires_grad:
            break
        (slope,) = torch.autograd.grad(past.sum(), leaf, allow_unused=True)
        if slope is None:
            break
        step = steepest(slope, seen.norm) * (2.5 * bounds.eps[-1] / _PUSHES)
        images = project(images + step, clean, bounds.eps[-1], seen.norm)
    return best.cpu()


def flips_at_batch_1(seen: Evaluation) -> EvaluationCheck:
    """Counterexamples that are misclassified in a batch and not alone."""
    name, rows = "flips_at_batch_1", seen.counterexample_rows[:SEARCHED]
    if not len(rows):
        return not_checked(name, _NOTHING)
    alone = torch.cat([_predictions(seen, seen.classifier, rows[k : k + 1]) for k in range(len(rows))])
    share = _flipped(seen, rows, alone)
    return judged(
        name,
        share,
        _FLIP,
        Message("{share:.0%} of the counterexamples are misclassified in a batch and not alone.", share=share),
        Message("Look for parts that mix the images of a batch, such as batch norm in training mode."),
    )


def flips_in_float64(seen: Evaluation) -> EvaluationCheck:
    """Counterexamples that are misclassified in the model's precision and not in float64."""
    name, rows, exact = "flips_in_float64", seen.counterexample_rows[:SEARCHED], seen.exact
    if not len(rows) or exact is None:
        return not_checked(name, Message("the model does not compute in float64") if exact is None else _NOTHING)
    share = _flipped(seen, rows, _predictions(seen, exact, rows))
    return judged(
        name,
        share,
        _FLIP,
        Message(
            "{share:.0%} of the counterexamples are misclassified in its own precision and not in float64.", share=share
        ),
        Message("They rest on rounding alone: attack in float64, or require a margin."),
    )


@torch.no_grad()
def _predictions(seen: Evaluation, classifier: Classifier, rows: Tensor) -> Tensor:
    predictions = classifier.raw_logits(seen.bounds.nearest[rows].to(classifier.device)).argmax(1)
    return predictions.cpu()


def _flipped(seen: Evaluation, rows: Tensor, predictions: Tensor) -> float:
    return float((predictions == seen.bounds.labels[rows]).double().mean())


def too_few_images(seen: Evaluation) -> EvaluationCheck:
    """So few images that the intervals say next to nothing."""
    count = len(seen.bounds.labels)
    return judged(
        "too_few_images",
        _FEW - count,
        0.0,
        Message("{count} image(s): the 95 % intervals are wider than 35 points.", count=count),
        Message("Use at least 100 images for 20 points and 1,000 for 6."),
    )


def scale_mistaken(seen: Evaluation) -> EvaluationCheck:
    """Radii or pixels that look as if they were in another scale."""
    images = seen.bounds.images
    faults = [*radius_doubts(seen.bounds.eps, seen.norm, images[0].numel())]
    brightest = float(images.max())
    faults += [Message("no pixel is brighter than {value:.2g}", value=brightest)] if brightest < _DARK else []
    return judged(
        "scale_mistaken",
        len(faults),
        0.0,
        Message("The scale looks mistaken: {faults}.", faults=joined(faults))
        if faults
        else Message("Radii and pixels are in a usual scale."),
        Message("Pixels lie in [0, 1] and radii in the same scale: 8/255, not 8; divide images by 255 once."),
    )
