"""What a model's outputs mean: found in every way in, said in every verb, refused where it cannot be told."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_models import Ends
from torch import Tensor, nn

import xai
from xai.core.model.predictions import DeclaredTask
from xai.errors import TargetError, UnsupportedModelError

IMAGES = torch.rand(6, 3, 17, 23, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 0, 1, 0, 1])
MORE = torch.rand(24, 3, 17, 23, generator=torch.Generator().manual_seed(1))  # some verbs take no fewer


def conv(classes: int = 4, *end: nn.Module, seed: int = 0) -> nn.Sequential:
    """Return a small convolutional network."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(128, classes), *end).eval()


def dense(classes: int = 4, *end: nn.Module, seed: int = 1) -> nn.Sequential:
    """Return a network of another kind."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Flatten(), nn.Linear(3 * 17 * 23, 12), nn.Tanh(), nn.Linear(12, classes)]
        return nn.Sequential(*layers, *end).eval()


KINDS = [conv, dense]


def shifted(net: nn.Sequential, bias: float, scale: float = 1.0) -> nn.Sequential:
    with torch.no_grad():
        net[-1].weight.mul_(scale)
        nn.init.constant_(net[-1].bias, bias)
    return net


def verbs(model: Any) -> dict[str, Any]:
    """Return the verbs, each as a call that gives its notes."""
    few = {"names": ["brightness"], "severities": [1]}
    groups = {"g": ["a", "b"] * 3}
    return {
        "logits": lambda: (xai.Classifier(model).logits(IMAGES), ())[1],
        "explain": lambda: xai.explain(model, IMAGES[:1], "saliency").notes,
        "attack": lambda: xai.attack(model, IMAGES, LABELS, "fgsm").notes,
        "robustness": lambda: xai.robustness(model, IMAGES, LABELS, eps=[1 / 255]).notes,
        "certify": lambda: xai.certify(model, IMAGES, LABELS, method="ibp").notes,
        "corrupt": lambda: xai.corruption_robustness(model, IMAGES, LABELS, **few).notes,
        "calibration": lambda: xai.calibration(model, MORE, LABELS.repeat(4)).notes,
        "ood": lambda: xai.fit_ood(model, IMAGES[:3], IMAGES[3:], method="msp").notes,
        "bias": lambda: xai.bias(model, IMAGES, groups=groups, labels=LABELS).notes,
        "drift": lambda: xai.drift(model, MORE[:12], MORE[12:]).notes,
        "dream": lambda: xai.deep_dream(model, target=1, steps=1, octaves=1, size=24, least_confidence=0).notes,
        "outputs": lambda: xai.Classifier(model).outputs(IMAGES).notes,
        "load": lambda: xai.load(model, input_size=(17, 23)).notes,
    }


NAMES = [name for name in verbs(None) if name != "logits"]


@pytest.mark.parametrize("verb", verbs(None))
def test_one_unbounded_output_is_refused_in_every_verb(verb: str) -> None:
    model = shifted(conv(1), 58.0)
    with pytest.raises(
        UnsupportedModelError, match=r'one unbounded number per image \(5\d.*pass task="binary"'
    ) as said:
        verbs(model)[verb]()
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("verb", NAMES)
def test_a_softmax_at_the_end_is_said_in_every_verb(verb: str) -> None:
    assert "ends in a softmax: its logarithm is used as the logits" in verbs(conv(4, nn.Softmax(1)))[verb]()


@pytest.mark.parametrize("verb", NAMES)
def test_a_binary_head_is_said_in_every_verb(verb: str) -> None:
    assert any("one output is read as the logit of two classes" in note for note in verbs(conv(1))[verb]())


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize(("bias", "scale"), [(58, 1), (-20, 1), (5, 0.1), (0, 3e4), (900, 50), (1000.0, 0.0)])
def test_what_is_far_from_a_logit_is_refused(net: Any, bias: float, scale: float) -> None:
    model = shifted(net(1), bias, scale)
    with pytest.raises(UnsupportedModelError, match="may be a regression"):
        xai.Classifier(model).predict(IMAGES)
    found = xai.Classifier(model, task="binary").predict(IMAGES)
    assert found.notes == ()
    torch.testing.assert_close(found.probabilities[:, 1], model(IMAGES)[:, 0].sigmoid().detach())


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("end", [nn.ReLU, nn.Softplus, nn.Tanh, lambda: nn.Softmax(1)])
def test_one_output_that_is_no_logit_by_its_end_is_refused(net: Any, end: Any) -> None:
    with pytest.raises(UnsupportedModelError, match="which is no logit"):
        xai.Classifier(net(1, end())).predict(IMAGES)


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("flat", [False, True])
def test_a_binary_head_works_as_said_or_found(net: Any, flat: bool) -> None:
    inner = net(1)
    model = Ends(inner, lambda z: z[:, 0]) if flat else inner
    wanted = inner(IMAGES)[:, 0].sigmoid().detach()
    for task in (None, "binary"):
        found = xai.Classifier(model, task=task).predict(IMAGES)
        torch.testing.assert_close(found.probabilities[:, 1], wanted)
        assert bool(found.notes) == (task is None)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("net", KINDS)
def test_ends_are_recognised_without_a_word_of_the_caller(net: Any) -> None:
    plain = net(4)(IMAGES).detach()
    cases = {
        "softmax": (net(4, nn.Softmax(1)), plain.softmax(1), "multiclass", "probabilities"),
        "by hand": (Ends(net(4), lambda z: z.exp() / z.exp().sum(1, keepdim=True)), plain.softmax(1), "multiclass", ""),
        "log": (net(4, nn.LogSoftmax(1)), plain.softmax(1), "multiclass", "logits"),
        "sigmoid": (net(4, nn.Sigmoid()), plain.sigmoid(), "multilabel", "probabilities"),
        "twice": (net(4, nn.Softmax(1), nn.Softmax(1)), plain.softmax(1).softmax(1), "multiclass", "probabilities"),
        "scripted": (torch.jit.script(net(4, nn.Softmax(1))), plain.softmax(1), "multiclass", "probabilities"),
        "two heads": (Ends(net(4), lambda z: torch.cat([z[:, :1].sigmoid(), z[:, 1:].sigmoid()], 1)), plain.sigmoid()),
        "one": (net(1, nn.Sigmoid()), net(1)(IMAGES).sigmoid().detach(), "binary", "probabilities"),
    }
    for name, (model, wanted, *said) in cases.items():
        classifier = xai.Classifier(model)
        found = classifier.predict(IMAGES).probabilities
        torch.testing.assert_close(found[:, -wanted.shape[1] :], wanted, msg=name)
        assert found.shape[1] == max(2, wanted.shape[1])
        if said:
            assert classifier.task == said[0], name
            assert said[1] in {"", classifier.output}, name
        assert classifier.notes, name


def test_two_softmaxes_and_a_wrong_axis() -> None:
    assert any("two softmaxes" in note for note in xai.explain(conv(4, nn.Softmax(1), nn.Softmax(1)), IMAGES).notes)
    for net in KINDS:
        with pytest.raises(UnsupportedModelError, match=r"softmax over another axis than the classes.*dim=1"):
            xai.explain(net(4, nn.Softmax(0)), IMAGES)


def test_probabilities_declared_as_logits_are_noted() -> None:
    found = xai.attack(xai.Classifier(conv(4, nn.Softmax(1)), output="logits"), IMAGES, LABELS, "fgsm")
    assert any("look like probabilities, not logits" in note for note in found.notes)


def test_a_relu_before_the_end_of_several_outputs_is_noted() -> None:
    assert any("class scores, or features" in note for note in xai.explain(conv(4, nn.ReLU()), IMAGES).notes)
    assert not any("features of a layer" in note for note in xai.explain(conv(4), IMAGES).notes)


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("end", [[], [nn.Sigmoid()]])
def test_integrated_gradients_of_one_logit_sum_to_its_own_difference(net: Any, end: list[nn.Module]) -> None:
    model = net(1)
    classifier = xai.Classifier(net(1, *end), task="binary")
    with torch.no_grad():
        gap = (model(IMAGES[:1]) - model(torch.zeros_like(IMAGES[:1]))).item()
    for target, sign in ((1, 1), (0, -1)):
        settings = {"steps": 200, "baseline": "zero"}
        found = xai.explain(classifier, IMAGES[:1], "integrated_gradients", target, **settings)
        assert float(found.attribution.sum()) == pytest.approx(sign * gap, abs=2e-3 * max(1, abs(gap)))
        versus = xai.explain(classifier, IMAGES[:1], "integrated_gradients", target, versus=1 - target, **settings)
        assert float(versus.attribution.sum()) == pytest.approx(sign * gap, abs=2e-3 * max(1, abs(gap)))


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient", "occlusion", "kernelshap"])
def test_attributions_of_one_logit_are_on_its_own_scale(method: str) -> None:
    model = shifted(dense(1), 0.3)
    twin = Ends(
        model, lambda z: torch.cat([torch.zeros_like(z), z], 1)
    )  # the same probabilities, logit 1 is the model's
    settings = {
        "occlusion": {"window": 8, "stride": 8},
        "kernelshap": {"samples": 60, "segments": "grid", "regions": 9},
    }
    mine, wanted = (
        xai.explain(xai.Classifier(m, task=task), IMAGES[:1], method, 1, **settings.get(method, {})).attribution
        for m, task in ((model, "binary"), (twin, None))
    )
    torch.testing.assert_close(mine, wanted, atol=1e-5, rtol=1e-4)


class Config(SimpleNamespace):
    """A configuration as transformers has it."""


class NetForImageClassification(nn.Module):
    """Says what it was trained for as models of transformers do."""

    def __init__(self, classes: int, **config: Any) -> None:
        super().__init__()
        self.net, self.config = conv(classes), Config(num_labels=classes, **config)

    def forward(self, images: Tensor) -> Any:
        return {"logits": self.net(images)}


def test_a_configuration_decides() -> None:
    several = xai.Classifier(NetForImageClassification(4, problem_type="multi_label_classification"))
    found = several.predict(IMAGES)
    torch.testing.assert_close(found.probabilities, several.module.net(IMAGES).sigmoid().detach())
    assert "problem_type='multi_label_classification'" in " ".join(found.notes)
    one = xai.Classifier(NetForImageClassification(4, problem_type="single_label_classification"))
    assert (one.task, one.notes) == ("multiclass", ())
    for classes, problem in ((4, "regression"), (1, "regression"), (1, None)):
        with pytest.raises(UnsupportedModelError, match=r'predicts .* pass task="'):
            xai.explain(NetForImageClassification(classes, problem_type=problem), IMAGES)
    names = xai.Classifier(NetForImageClassification(1, problem_type=None), class_names=["tumour"], task="binary")
    assert names.predict(IMAGES[0]).class_names == ("not tumour", "tumour")


@pytest.mark.parametrize(
    ("loss", "classes", "task"),
    [
        (nn.BCEWithLogitsLoss, 1, "binary"),
        (nn.BCEWithLogitsLoss, 4, "multilabel"),
        (nn.CrossEntropyLoss, 4, "multiclass"),
        (nn.MSELoss, 1, None),
        (nn.SmoothL1Loss, 1, None),
    ],
)
def test_a_loss_inside_the_model_decides(loss: Any, classes: int, task: str | None) -> None:
    model = Ends(conv(classes), lambda z: z)
    model.loss = loss()
    if task is None:
        with pytest.raises(UnsupportedModelError, match=f"predicts a number, as its {loss.__name__} says"):
            xai.explain(model, IMAGES)
    else:
        classifier = xai.Classifier(model)
        classifier.predict(IMAGES)
        assert classifier.task == task


class Volumes(nn.Module):
    """Takes clips."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 3)

    def forward(self, clips: Tensor) -> Tensor:
        return self.conv(clips).mean((2, 3, 4))


class ImagesAndTexts(nn.Module):
    """Compares images with texts."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.config = conv(), Config(text_config=Config(), vision_config=Config())

    def forward(self, input_ids: Tensor, pixel_values: Tensor) -> Tensor:
        return self.net(pixel_values)


class Headless(nn.Module):
    """Returns features, as networks of timm do."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.num_classes = conv(64), 0

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Volumes, "takes volumes or clips .* Conv3d.* 2-D images"),
        (ImagesAndTexts, "compares images with texts and has no classes of its own"),
        (Headless, "num_classes=0: it returns features"),
    ],
)
def test_other_kinds_of_models_are_refused_in_one_line(model: Any, words: str) -> None:
    for verb in ("explain", "attack", "outputs", "load", "logits"):
        with pytest.raises(UnsupportedModelError, match=words) as said:
            verbs(model())[verb]()
        assert "\n" not in str(said.value)


class Several(nn.Module):
    """Returns features and logits, in some container."""

    def __init__(self, pack: Any, net: nn.Sequential | None = None) -> None:
        super().__init__()
        self.net, self.pack = net or conv(), pack

    def forward(self, images: Tensor) -> Any:
        features = self.net[:-1](images)
        return self.pack(features, self.net[-1](features))


PACKS = {
    "tuple": (lambda f, z: (f, z), 1),
    "from behind": (lambda f, z: [f, z], -1),
    "dict": (lambda f, z: {"features": f, "scores": z}, "scores"),
    "dict by place": (lambda f, z: {"features": f, "scores": z}, 1),
    "object": (lambda f, z: SimpleNamespace(features=f, scores=z), "scores"),
}


@pytest.mark.parametrize("net", KINDS)
@pytest.mark.parametrize("name", PACKS)
def test_an_output_is_chosen_by_its_key(net: Any, name: str) -> None:
    pack, key = PACKS[name]
    wanted = net()(IMAGES).detach()
    for made in (
        xai.Classifier(Several(pack, net()), output_key=key),
        xai.load(Several(pack, net()), output_key=key, input_size=(17, 23)),
    ):
        torch.testing.assert_close(made.logits(IMAGES).detach(), wanted)
        assert not any("things" in note for note in made.notes)
        assert xai.attack(made, IMAGES, LABELS, "fgsm").predictions.shape == (6,)


def test_an_output_that_is_guessed_is_said_and_class_names_choose() -> None:
    pack, _ = PACKS["tuple"]
    guessed = xai.Classifier(Several(pack))
    assert guessed.logits(IMAGES).shape == (6, 128)
    assert any("the first is read as the class scores; or choose by output_key" in note for note in guessed.notes)
    named = xai.Classifier(Several(pack), class_names=list("abcd"))
    assert named.logits(IMAGES).shape == (6, 4)
    assert any("the second is read as the class scores, as it has one column" in note for note in named.notes)
    maps = Several(lambda f, z: (f[..., None, None].expand(-1, -1, 2, 2), z))
    assert xai.Classifier(maps).logits(IMAGES).shape == (6, 4)
    assert xai.certify(xai.Classifier(conv_pair(), output_key=1), IMAGES, LABELS, method="ibp").verified.shape == (6,)
    with pytest.raises(UnsupportedModelError, match=r"under output_key='logit'.*\['features', 'scores'\]"):
        xai.Classifier(Several(PACKS["dict"][0]), output_key="logit").logits(IMAGES)
    with pytest.raises(xai.InputError, match="Expected `output_key`"):
        xai.Classifier(conv(), output_key=1.5)


class conv_pair(nn.Module):  # noqa: N801 (made like a function above)
    """Returns features and logits, and can be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = conv()[:-1], conv()[-1]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images)
        return features, self.head(features)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.eye(4)[[0, 1, 2, 3, 0, 1]], r"one-hot rows \(N, K\). Pass `labels.argmax\(1\)`"),
        (torch.tensor([[1, 0, 1, 0]] * 6), "multi-hot rows"),
        (torch.tensor([[1, 0, -1, 0]] * 5 + [[0, 0, 0, 0]]).numpy(), "multi-hot rows"),
        ([[0], [1], [2], [3], [0], [1]], r"a column \(N, 1\). Flatten it"),
    ],
)
@pytest.mark.parametrize("verb", ["attack", "calibration", "certify", "corrupt"])
def test_tables_of_labels_are_named(verb: str, labels: Any, words: str) -> None:
    asks = {
        "attack": lambda: xai.attack(conv(), IMAGES, labels, "fgsm"),
        "calibration": lambda: xai.calibration(conv(), IMAGES, labels),
        "certify": lambda: xai.certify(conv(), IMAGES, labels),
        "corrupt": lambda: xai.corruption_robustness(conv(), IMAGES, labels, names=["brightness"]),
    }
    with pytest.raises(TargetError, match=words):
        asks[verb]()


def test_what_the_caller_says_is_checked() -> None:
    assert DeclaredTask().task is None
    with pytest.raises(UnsupportedModelError, match=r"one or two outputs, as task='binary' says, but .* returns 4"):
        xai.Classifier(conv(4), task="binary").predict(IMAGES)
    with pytest.raises(UnsupportedModelError, match="several class scores, as task='multiclass' says"):
        xai.Classifier(conv(1), task="multiclass").predict(IMAGES)
    with pytest.raises(UnsupportedModelError, match="Expected probabilities, as `output` says"):
        xai.Classifier(conv(4), output="probabilities").predict(IMAGES)
    assert xai.Classifier(conv(4), task="multilabel").predict(IMAGES).probabilities.sum(1).max() > 1


def test_the_first_look_runs_a_model_five_times() -> None:
    calls = []
    model = conv()
    model.register_forward_hook(lambda *_: calls.append(1))
    classifier = xai.Classifier(model)
    classifier.prepare(IMAGES)
    classifier.prepare(IMAGES)
    assert len(calls) == 5  # images together, each alone, together in another order, and one once more
