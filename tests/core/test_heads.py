"""What networks return, read as logits."""

from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from small_models import Answer, OneLogit, Returns, SigmoidHead, as_dict, as_tuple, pictures
from torch import Tensor

from xai.core.model.classifier import Classifier
from xai.core.model.predictions import (
    check_reading,
    look_like_probabilities,
    output_tensor,
    to_logits,
    to_probabilities,
)
from xai.errors import NameLookupError, UnsupportedModelError

SCORES = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
Pair = namedtuple("Pair", ["logits", "aux"])


@pytest.mark.parametrize(
    "output",
    [
        SCORES,
        (SCORES, SCORES * 0),
        [SCORES],
        {"logits": SCORES, "loss": torch.zeros(())},
        {"loss": torch.zeros(()), "logits": SCORES},
        {"out": SCORES},
        OrderedDict(logits=SCORES),
        Answer(SCORES),
        Pair(SCORES, None),
    ],
    ids=["tensor", "tuple", "list", "dict", "dict, behind", "dict of one", "ordered", "object", "named tuple"],
)
def test_logits_are_found_in(output: Any) -> None:
    assert output_tensor(output) is SCORES


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"a": SCORES, "b": SCORES}, r"returned dict with \['a', 'b'\]"),
        ((), "returned tuple with"),
        (((SCORES,),), r"returned tuple with \[\(2, 3\)\]"),
        (None, "returned NoneType"),
        ("logits", "returned str"),
        (Answer(None), "returned Answer"),
    ],
)
def test_what_holds_no_logits_is_refused_with_what_came(output: Any, words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        output_tensor(output)


def test_shapes() -> None:
    settings = {"head": "softmax", "output": "logits"}
    assert torch.equal(to_logits(SCORES, 2, **settings), SCORES)
    assert torch.equal(to_logits(SCORES[..., None, None], 2, **settings), SCORES)
    assert to_logits(SCORES[:, 0], 2, **settings).shape == (2, 2)
    assert to_logits(SCORES[:, :1], 2, **settings).shape == (2, 2)
    assert to_logits(SCORES.half(), 2, **settings).dtype == torch.float32
    assert to_logits(SCORES.double(), 2, **settings).dtype == torch.float64


@pytest.mark.parametrize("shape", [(3,), (1, 3), (2, 3, 4, 4), (), (2, 3, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedModelError, match=r"\(2, K\), but the model returned .* Only classifiers"):
        to_logits(torch.zeros(shape), 2, head="softmax", output="logits")


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_one_output_is_two_classes(head: str) -> None:
    scores = torch.tensor([[-3.0], [0.0], [2.0]], requires_grad=True)
    logits = to_logits(scores, 3, head=head, output="logits")
    wanted = torch.cat([1 - scores.sigmoid(), scores.sigmoid()], 1)
    torch.testing.assert_close(to_probabilities(logits, head), wanted)
    for k, sign in ((0, -1), (1, 1)):
        (slope,) = torch.autograd.grad(logits[:, k].sum(), scores, retain_graph=True)
        assert bool((slope * sign > 0).all())


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("width", [1, 4])
def test_probabilities_come_back(head: str, width: int) -> None:
    raw = torch.randn(5, width, generator=torch.Generator().manual_seed(0))
    single = width == 1
    given = raw.sigmoid() if single or head == "sigmoid" else raw.softmax(1)
    found = to_probabilities(to_logits(given, 5, head=head, output="probabilities"), head)
    wanted = torch.cat([1 - given, given], 1) if single else given
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_certain_probabilities_stay_finite() -> None:
    for head in ("softmax", "sigmoid"):
        for width in (1, 2):
            given = torch.tensor([[0.0], [1.0]]).expand(2, width)
            assert bool(torch.isfinite(to_logits(given, 2, head=head, output="probabilities")).all())


def test_probabilities_are_recognised() -> None:
    assert look_like_probabilities(SCORES.softmax(1))
    assert not look_like_probabilities(SCORES)
    assert not look_like_probabilities(SCORES.abs())


@pytest.mark.parametrize(
    ("task", "output", "words"),
    [("multclass", None, "no task 'multclass'. Near: multiclass"), (None, "probs", "no kind of output 'probs'")],
)
def test_unknown_words(task: str | None, output: str | None, words: str) -> None:
    with pytest.raises(NameLookupError, match=words):
        check_reading(task, output, None)


def bare(logits: Tensor) -> Tensor:
    return logits


@pytest.mark.parametrize("shape", [as_tuple, as_dict, Answer])
def test_wrapped_networks_answer_as_the_bare_one(shape: Any) -> None:
    wanted = Classifier(Returns(bare)).logits(pictures(3))
    torch.testing.assert_close(Classifier(Returns(shape)).logits(pictures(3)), wanted)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_a_network_with_one_logit(flat: bool, task: str) -> None:
    classifier = Classifier(OneLogit(flat=flat), class_names=["cat", "dog"], task=task)
    found = classifier.predict(pictures(4))
    chance = OneLogit(flat=True).eval()(pictures(4)).sigmoid()
    torch.testing.assert_close(found.probabilities[:, 1], chance.detach())
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(4))
    assert classifier.num_classes == 2
    one = Classifier(OneLogit(flat=flat), task=task).predict(pictures(1)[0])
    torch.testing.assert_close(one.probabilities[0], found.probabilities[0])


def test_a_network_that_ends_in_a_sigmoid() -> None:
    net = SigmoidHead()
    classifier = Classifier(net, task="multilabel", output="probabilities")
    torch.testing.assert_close(classifier.predict(pictures(3)).probabilities, net.eval()(pictures(3)).detach())
