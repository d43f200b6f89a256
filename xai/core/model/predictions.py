"""What a model returns, read as logits (N, K), and predictions made of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xai.core.runtime.batching import tensors_in
from xai.core.validation import check_choice
from xai.errors import InputError, UnsupportedModelError

TASKS = ("multiclass", "binary", "multilabel")
OUTPUTS = ("logits", "probabilities")
Key = int | str
_TINY = 1e-12
_SUM = 1e-3  # how far the sum of a row of probabilities may be from one


@dataclass(frozen=True)
class DeclaredTask:
    """What the caller says of a model's outputs, and the size it is to be run at; None where nothing is said."""

    task: str | None = None
    output: str | None = None
    key: Key | None = None
    names: int | None = None
    input_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class OutputMeaning:
    """How a model's outputs are read.

    Attributes:
        task: "multiclass", "binary" or "multilabel".
        output: "logits", or "probabilities" when the model ends in a softmax or sigmoid.
        key: name or place of the class scores in what the model returns; None as `output_tensor` chooses.
        single: one number per image stands for two classes.
        notes: what was found and not said by the caller.
    """

    task: str = "multiclass"
    output: str = "logits"
    key: Key | None = None
    single: bool = False
    notes: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """Return "sigmoid" where each class stands by itself, else "softmax"."""
        return "sigmoid" if self.task == "multilabel" else "softmax"


def check_reading(task: str | None, output: str | None, key: Key | None) -> None:
    """Raise unless task and output are known words, or None, and the key is a name or a number.

    Raises:
        NameLookupError: an unknown word.
        InputError: a key of another kind.
    """
    check_choice("task", task, TASKS, optional=True)
    check_choice("kind of output", output, OUTPUTS, optional=True)
    if key is not None and (isinstance(key, bool) or not isinstance(key, int | str)):
        raise InputError(
            f"Expected `output_key` as the place or the name of the class scores in what the model returns, but got "
            f"{key!r}. Give 1 for the second, or 'logits', for instance."
        )


def output_tensor(output: Any, key: Key | None = None) -> Tensor:
    """Return the class scores in what a model returned.

    Args:
        output: of the model.
        key: name or place of the scores in a dict, tuple or object; None takes a tensor itself, `.logits`, ["logits"],
            the only value of a dict or the first item.

    Raises:
        UnsupportedModelError: nothing of the kind; the message lists what came.
    """
    scores = _by_rule(output) if key is None else pick(output, key)
    if isinstance(scores, Tensor):
        return scores
    if key is not None:
        raise UnsupportedModelError(
            f"Expected class scores as a tensor under output_key={key!r}, but the model returned "
            f"{type(output).__name__} with {parts_named(output)}. Choose one of these."
        )
    raise UnsupportedModelError(
        f"Expected logits as a tensor, a tuple, a dict with 'logits' or an object with .logits, but the model returned "
        f"{type(output).__name__} with {parts_named(output)}. Choose one by `output_key=`, or wrap the model in a "
        "module that returns (N, K)."
    )


def _by_rule(output: Any) -> Any:
    logits = getattr(output, "logits", None)
    if logits is None and isinstance(output, dict):
        return output.get("logits", next(iter(output.values())) if len(output) == 1 else output)
    if logits is None and isinstance(output, tuple | list) and output:
        return output[0]
    return output if logits is None else logits


def pick(output: Any, key: Key) -> Any:
    """Return what a name or a place means in a dict, tuple or object; None where there is no such thing."""
    if isinstance(key, str):
        return output.get(key) if isinstance(output, dict) else getattr(output, key, None)
    items = list(output.values()) if isinstance(output, dict) else output
    if isinstance(items, Tensor):
        return items if key in {0, -1} else None
    return items[key] if isinstance(items, tuple | list) and -len(items) <= key < len(items) else None


def parts_named(output: Any) -> list[Any]:
    """Return the names in a dict, or the shapes of all tensors in anything else."""
    return list(output) if isinstance(output, dict) else [tuple(tensor.shape) for tensor in tensors_in(output)]


def score_table(scores: Tensor, rows: int) -> Tensor:
    """Return class scores as (N, K), in float32 at least.

    Raises:
        UnsupportedModelError: the shape is not (N, K) or (N,), nor (K,) or () for one image, or the scores are whole
            numbers.
    """
    if not scores.is_floating_point():
        raise UnsupportedModelError(
            f"Expected class scores as floating numbers, but the model returned {scores.dtype}. Return the logits, not "
            "the predicted class."
        )
    if scores.ndim > 2 and scores.shape[2:].numel() == 1:
        scores = scores.flatten(1)
    if scores.ndim == 1 and len(scores) == rows:
        scores = scores[:, None]
    elif scores.ndim <= 1 and rows == 1:  # the row of one image, squeezed
        scores = scores.reshape(1, -1)
    if scores.ndim != 2 or len(scores) != rows:
        raise UnsupportedModelError(
            f"Expected one row of class scores per image, ({rows}, K), but the model returned {tuple(scores.shape)}. "
            "Only classifiers can be explained."
        )
    return scores.float() if scores.dtype in {torch.float16, torch.bfloat16} else scores


def to_logits(scores: Tensor, rows: int, *, head: str, output: str) -> Tensor:
    """Return logits (N, K): one output becomes two classes, probabilities go back through their link function.

    Of one output s, softmax takes (-s/2, s/2) and sigmoid (-s, s): both give the second class the probability
    sigmoid(s) and the first one the rest, and both classes have a gradient. What is explained of a class is +s or -s
    all the same, see `xai.core.model.objective`.

    Raises:
        UnsupportedModelError: the shape is not (N, K) or (N,), or the scores are whole numbers.
    """
    scores = score_table(scores, rows)
    single = scores.shape[1] == 1
    if output == "probabilities":
        safe = scores.clamp(_TINY, 1 - 1e-7)
        scores = torch.logit(safe) if single or head == "sigmoid" else safe.log()
    if not single:
        return scores
    half = scores / 2 if head == "softmax" else scores
    return torch.cat([-half, half], 1)


def to_probabilities(logits: Tensor, head: str) -> Tensor:
    """Return probabilities (N, K) of logits: over the classes together, or each class by itself."""
    return logits.softmax(1) if head == "softmax" else logits.sigmoid()


def look_like_probabilities(logits: Tensor) -> bool:
    """Return True when every row of what should be logits is non-negative and sums to one."""
    sums = logits.detach().sum(1)
    return bool((logits.detach() >= 0).all()) and bool((sums - 1).abs().max() < _SUM)


def look_like_log_probabilities(logits: Tensor) -> bool:
    """Return True when every row is not above 0 and its exponentials sum to one."""
    values = logits.detach()
    return bool((values <= 0).all()) and bool(values.logsumexp(1).abs().max() < _SUM)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Answers for one image, or for N.

    Attributes:
        class_names: of all classes.
        logits: (N, K) on the CPU.
        probabilities: (N, K) on the CPU.
        single: one image was given, so that `label`, `index` and `probability` are plain values.
        notes: what was done to the images, and what looks odd.

    Example:
        >>> import xai
        >>> clf = xai.load("example:fashion")
        >>> data = xai.load_data("example:fashion-test").subset(1)
        >>> answer = clf.predict(data.images[0])
        >>> answer.label in clf.class_names, len(answer.top(3))
        (True, 3)
    """

    class_names: tuple[str, ...]
    logits: Tensor = field(repr=False)
    probabilities: Tensor = field(repr=False)
    single: bool
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.logits)

    def __getitem__(self, k: int) -> "Prediction":
        """Return the answer for image `k`."""
        row = slice(k, k + 1) if k >= 0 else slice(len(self) + k, len(self) + k + 1)
        if not 0 <= row.start < len(self):
            raise IndexError(f"Expected an image number below {len(self)}, but got {k}.")
        return Prediction(self.class_names, self.logits[row], self.probabilities[row], single=True, notes=self.notes)

    def __iter__(self) -> Iterator["Prediction"]:
        """Iterate over the images."""
        return (self[k] for k in range(len(self)))

    @property
    def index(self) -> Any:
        """Index of the most probable class: an int, or a tensor (N,) int64."""
        indices = self.probabilities.argmax(1)
        return int(indices[0]) if self.single else indices

    @property
    def label(self) -> Any:
        """Name of the most probable class: a string, or a list of N."""
        names = [self.class_names[int(k)] for k in self.probabilities.argmax(1)]
        return names[0] if self.single else names

    @property
    def probability(self) -> Any:
        """Probability of the most probable class: a float, or a tensor (N,)."""
        largest = self.probabilities.amax(1)
        return float(largest[0]) if self.single else largest

    def top(self, k: int = 5) -> list[Any]:
        """Return the `k` most probable classes as (label, probability), best first. For N images these are N lists."""
        values, places = self.probabilities.topk(min(k, self.probabilities.shape[1]), dim=1)
        rows = [
            [(self.class_names[int(place)], float(value)) for value, place in zip(row, where, strict=True)]
            for row, where in zip(values, places, strict=True)
        ]
        return rows[0] if self.single else rows

    def to_dict(self) -> dict[str, Any]:
        """Return index, label, probability and the top five of each image, JSON-ready."""
        images = [{"index": p.index, "label": p.label, "probability": p.probability, "top": p.top()} for p in self]
        return {"images": images, "notes": list(self.notes)}
