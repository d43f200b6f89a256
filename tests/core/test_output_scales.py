"""Outputs on another scale than logits, rows of one image that are squeezed, and keys of class scores in dicts."""

import math
from collections import namedtuple
from typing import Any

import pytest
import torch
from small_models import Ends
from torch import Tensor, nn
from torch.nn import functional as F

import xai
from xai.core.task.evidence import watched
from xai.errors import NonFiniteError, UnsupportedModelError

SIZE = (17, 23)
IMAGES = torch.rand(6, 3, *SIZE, generator=torch.Generator().manual_seed(0))
Pair = namedtuple("Pair", ["feat", "out"])


def conv(classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(128, classes)).eval()


def dense(classes: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 17 * 23, 12), nn.Tanh(), nn.Linear(12, classes)).eval()
    with torch.no_grad():
        net[-1].bias.fill_(0.4)
    return net


KINDS = [conv, dense]


def ways(model: nn.Module, **said: Any) -> list[xai.Classifier]:
    return [xai.Classifier(model, **said), xai.load(model, input_size=SIZE, **said)]


PROBABILITIES = {
    "clamped": lambda z: (z[:, :1] - 4).sigmoid().clamp(1e-6, 1 - 1e-6),
    "by hand": lambda z: 1 / (1 + torch.exp(-z[:, :1])),
    "one minus": lambda z: 1 - z[:, :1].sigmoid(),
    "second of two": lambda z: (z + torch.tensor([3.0, 0.0])).softmax(1)[:, 1],
    "product": lambda z: z[:, 0].sigmoid() * z[:, 1].sigmoid(),
    "tanh": lambda z: 0.5 * (torch.tanh(z[:, :1] / 2) + 1),
    "exponential": lambda z: F.logsigmoid(z[:, :1]).exp(),
    "hard by hand": lambda z: F.relu6(z[:, :1] + 3) / 6,
    "ensemble": lambda z: torch.stack([z[:, 0].sigmoid(), (z[:, 1] / 2).sigmoid()]).mean(0),
    "mixture": lambda z: z.sigmoid() @ torch.tensor([[0.25], [0.75]]),
}


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("end", PROBABILITIES)
@pytest.mark.parametrize("task", [None, "binary"])
def test_one_output_that_stays_in_the_unit_interval_is_a_probability(net: Any, end: str, task: str | None) -> None:
    model = Ends(net(2), PROBABILITIES[end])
    wanted = model(IMAGES).detach().reshape(-1)
    for classifier in ways(model, task=task):
        found = classifier.predict(IMAGES)
        torch.testing.assert_close(found.probabilities[:, 1], wanted, atol=1e-5, rtol=1e-4)
        assert (classifier.task, classifier.output) == ("binary", "probabilities")
        assert any("read as the probability of the second of two classes" in note for note in found.notes)
        assert classifier.preprocessing["output"] == "probabilities"


@pytest.mark.parametrize("net", KINDS)
def test_a_logit_that_a_linear_layer_makes_stays_one(net: Any) -> None:
    logit = net(1)
    for model in (logit, Ends(logit, lambda z: z[:, 0] / 3 + 0.1), Ends(logit, lambda z: z * torch.tensor(0.5))):
        classifier = xai.Classifier(model, task="binary")
        found = classifier.predict(IMAGES)
        torch.testing.assert_close(found.probabilities[:, 1], model(IMAGES).detach().reshape(-1).sigmoid())
        assert found.notes == ()
    held = xai.Classifier(Ends(logit, lambda z: z.clamp(0, 1)), output="logits").predict(IMAGES)
    torch.testing.assert_close(held.probabilities[:, 1], logit(IMAGES).detach()[:, 0].clamp(0, 1).sigmoid())


def test_two_classes_as_said_do_not_silence_the_doubt() -> None:
    constant = Ends(conv(1), lambda z: (z * 0).sigmoid().clamp(0.1, 0.9))
    for task in (None, "binary"):
        with pytest.raises(UnsupportedModelError, match=r'same number, 0.5, .*Pass output="probabilities" or') as said:
            xai.Classifier(constant, task=task).predict(IMAGES)
        assert "\n" not in str(said.value)
    for end, word in ((F.relu, "a ReLU"), (F.logsigmoid, "a log-sigmoid"), (torch.tanh, "a tanh")):
        notes = xai.Classifier(Ends(conv(1), end), task="binary").predict(IMAGES).notes
        assert any(f"comes out of {word}, which is no logit" in note for note in notes)
        assert xai.Classifier(Ends(conv(1), end), output="logits", task="binary").predict(IMAGES).notes == ()
    percent = Ends(conv(1), lambda z: (z * 30).sigmoid().clamp(0, 1) * 100)
    for said in ({"task": "binary"}, {"class_names": ["ok", "bad"]}):
        assert "divide them by 100" in " ".join(xai.Classifier(percent, **said).predict(IMAGES).notes)


SCALES = {
    "percentages": (lambda z: z.softmax(1) * 100, "Divide them by 100"),
    "costs": (lambda z: -z.log_softmax(1), "Return their negative"),
    "to the base 2": (lambda z: z.log_softmax(1) / math.log(2), r"Multiply them by 0\.6931"),
    "to the base 10": (lambda z: z.log_softmax(1) / math.log(10), r"Multiply them by 2\.3026"),
    "sum to 255": (lambda z: z.softmax(1) * 255, "sum to 1;"),
    "sum to 3": (lambda z: 1 - z.softmax(1), "sum to 1;"),
    "sum to -1": (lambda z: -z.softmax(1), "sum to 1;"),
}


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("name", SCALES)
def test_another_scale_is_refused_with_the_cure(net: Any, name: str) -> None:
    end, cure = SCALES[name]
    rows = 6 if name.startswith("sum") else 1  # one image does not tell that all sums are the same
    model = Ends(net(4), lambda z: end(z * 5))
    for ask in (lambda: xai.Classifier(model).predict(IMAGES[:rows]), lambda: xai.load(model, input_size=SIZE)):
        with pytest.raises(UnsupportedModelError, match=f'{name}.*{cure}.*pass output="logits"') as said:
            ask()
        assert "\n" not in str(said.value)
    torch.testing.assert_close(xai.Classifier(model, output="logits").logits(IMAGES).detach(), model(IMAGES).detach())


@pytest.mark.parametrize("net", KINDS)
def test_logits_of_any_size_are_not_taken_for_another_scale(net: Any) -> None:
    """Flat, centred, positive and log-softmax logits, of which some sums are nearly the same."""
    ends = (lambda z: z * 1e-5 + 1, lambda z: z - z.mean(1, keepdim=True), lambda z: z + 25, lambda z: z.log_softmax(1))
    for end in ends:
        model = Ends(net(4), end)
        torch.testing.assert_close(xai.Classifier(model).logits(IMAGES).detach(), model(IMAGES).detach())
    notes = xai.Classifier(Ends(net(4), lambda z: z.sigmoid().clamp(0, 1) * 100)).predict(IMAGES).notes
    assert any("between 0 and 100: if these are percentages" in note for note in notes)
    assert "ends in a log-sigmoid" in " ".join(xai.Classifier(Ends(net(4), F.logsigmoid)).predict(IMAGES).notes)


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("classes", [1, 4])
def test_a_squeezed_answer_to_one_image_is_a_row(net: Any, classes: int) -> None:
    plain, model = net(classes), Ends(net(classes), lambda z: z.squeeze())
    wanted = xai.Classifier(plain, task="binary" if classes == 1 else None)
    for classifier in ways(model):
        torch.testing.assert_close(classifier.logits(IMAGES[:1]), wanted.logits(IMAGES[:1]))
        torch.testing.assert_close(classifier.logits(IMAGES), wanted.logits(IMAGES))
        mine, theirs = (xai.explain(c, IMAGES[0], "occlusion", 1, window=8, stride=8) for c in (classifier, wanted))
        torch.testing.assert_close(mine.attribution, theirs.attribution)
    alone = xai.Classifier(model, task="binary" if classes == 1 else None)
    torch.testing.assert_close(alone.predict(IMAGES[0]).probabilities, wanted.predict(IMAGES[0]).probabilities)


NAMES = {
    "class_token": "out",
    "probe_features": "output",
    "classToken": "logit",
    "predecessor": "scores",
    "problem": "y_pred",
    "aux_logits": "classProbs",
    "pred_boxes": "pred_logits",
    "score_map": "class",
    "probability": "out",
}


@pytest.mark.parametrize("other", NAMES)
@pytest.mark.parametrize("turned", [False, True])
def test_whole_words_of_a_key_choose(other: str, turned: bool) -> None:
    name = NAMES[other]

    def pack(z: Tensor) -> dict[str, Tensor]:
        parts = {other: torch.rand(len(z), 9), name: z}
        return dict(reversed(parts.items())) if turned else parts

    for net in KINDS:
        classifier = xai.Classifier(Ends(net(4), pack))
        torch.testing.assert_close(classifier.logits(IMAGES), net(4)(IMAGES))
        assert any(f"{name!r} is read as the class scores" in note for note in classifier.notes)


def test_a_named_tuple_is_read_by_its_names() -> None:
    model = Ends(conv(4), lambda z: Pair(torch.rand(len(z), 9), z))
    torch.testing.assert_close(xai.Classifier(model).logits(IMAGES), conv(4)(IMAGES))


def test_ends_that_move_a_linear_layer() -> None:
    net = conv(1)
    ends = {
        "linear": [lambda z: z * 2 + 1, lambda z: -z[:, 0], lambda z: z.reshape(-1, 1, 1).mean((1, 2))],
        "": [lambda z: z * z.sigmoid(), lambda z: 1 / (1 + (-z).exp()), lambda z: z.sigmoid() @ torch.ones(1, 1)],
        "log_sigmoid": [F.logsigmoid],
    }
    for wanted, many in ends.items():
        for end in many:
            raw, ending = watched(lambda end=end: end(net(IMAGES)))
            assert ending(raw) == wanted


@pytest.mark.parametrize("net", KINDS)
def test_hard_sigmoids_are_probabilities_of_each_class(net: Any) -> None:
    """Also where all outputs lie at an end of the unit interval, which the numbers alone do not tell from logits."""
    for scale in (1.0, 1e4):
        for classes in (1, 4):
            for found in ways(Ends(net(classes), lambda z, scale=scale: F.hardsigmoid(scale * z))):
                said = found.predict(IMAGES)
                assert (found.task, found.output) == ("binary" if classes == 1 else "multilabel", "probabilities")
                wanted = F.hardsigmoid(scale * net(classes)(IMAGES)).detach()
                torch.testing.assert_close(said.probabilities[:, -classes:], wanted, atol=1e-6, rtol=0)
                assert any(note.startswith("ends in a hard sigmoid") for note in said.notes)


SHARES = {
    "by hand": (lambda z: z.exp() / z.exp().sum(1, keepdim=True), "ends in a softmax"),
    "squares": (lambda z: z.square() / z.square().sum(1, keepdim=True), "its outputs sum to 1, as after a softmax"),
    "argmax": (lambda z: F.one_hot(z.argmax(1), 4).float(), "every output is 0 or 1: these are decisions"),
    "softmax": (lambda z: z.softmax(1), "ends in a softmax"),
    "far apart": (lambda z: (z * 1e6).softmax(1), "ends in a softmax"),
}


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("name", SHARES)
def test_it_is_said_why_numbers_are_probabilities(net: Any, name: str) -> None:
    end, wanted = SHARES[name]
    for found in ways(Ends(net(4), end)):
        torch.testing.assert_close(found.predict(IMAGES).probabilities, end(net(4)(IMAGES)).detach(), atol=1e-6, rtol=0)
        assert any(note.startswith(wanted) for note in found.notes)
        said = [note for note in found.notes if "softmax" in note or "0 or 1" in note]
        assert len(said) == (2 if name == "argmax" else 1)


@pytest.mark.parametrize("net", KINDS)
def test_a_mean_and_a_variance_are_no_two_classes_unsaid(net: Any) -> None:
    """Two outputs far apart for all images are doubted; two class names, or classes of usual logits, silence it."""
    for end, names, doubted in [
        (lambda z: z + torch.tensor([64.0, 0.0]), None, True),
        (lambda z: z + torch.tensor([0.0, 170.0]), None, True),
        (lambda z: z + torch.tensor([64.0, 0.0]), ["no", "yes"], False),
        (lambda z: z + torch.tensor([64.0, 60.0]), None, False),
        (lambda z: 4 * z, None, False),
    ]:
        for found in ways(Ends(net(2), end), class_names=names):
            notes = found.predict(IMAGES).notes
            assert any("are they class scores, or a regression?" in note for note in notes) == doubted, notes


def test_labels_by_position_of_a_model_without_names_are_said() -> None:
    data, net = xai.load_data("example:fashion-test").subset(40), xai.load("example:fashion")
    for labels, said in [(None, True), (data.class_names, False), (data.class_names[::-1], False)]:
        found = xai.calibration(xai.Classifier(net.module, labels, **net.preprocessing), data)
        assert any("labels were matched by position, 'T-shirt/top' as '0'" in note for note in found.notes) == said


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize(
    ("end", "cure"),
    [
        (lambda z: z.masked_fill(torch.tensor([False, True, False, True]), -torch.inf), "of class 1, 3 in every image"),
        (lambda z: (z.softmax(1) > 0.5).float().logit(), "Infinity comes of a logarithm or a division"),
        (lambda z: z * torch.nan, "Check its weights"),
    ],
)
def test_infinite_answers_name_their_cure(net: Any, end: Any, cure: str) -> None:
    with pytest.raises(NonFiniteError, match=cure) as said:
        xai.Classifier(Ends(net(4), end)).predict(IMAGES)
    assert "\n" not in str(said.value)
