"""The classifier: its settings, and the way from images in any form to an answer."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from model_state import assert_same, snapshot
from PIL import Image
from small_models import BatchNormNet, GapCnn, LinearModel, OneLogit, float64_twin, pictures
from torch import Tensor, nn

from xai.core.model.classifier import Classifier, as_classifier
from xai.errors import (
    DataError,
    InputError,
    NameLookupError,
    RangeError,
    ShapeError,
    TargetError,
    UnsupportedModelError,
    XaiError,
)

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
NAN, INFINITY = float("nan"), float("inf")

WRONG_SETTINGS: list[tuple[dict[str, Any], type[XaiError], str]] = [
    ({"channels": 0}, ShapeError, r"at least 1, but got 0\. Give 3"),
    ({"channels": -3}, ShapeError, r"at least 1, but got -3\. Give 3"),
    ({"channels": 2.5}, ShapeError, r"whole number .* got 2\.5\. Give 3"),
    ({"channels": "3"}, ShapeError, r"whole number .* got '3'\. Give 3"),
    ({"channels": None}, ShapeError, r"whole number .* got None\. Give 3"),
    ({"input_size": 224}, ShapeError, r"\(height, width\) .* got 224\. Write input_size=\(224, 224\)"),
    ({"input_size": torch.tensor(32)}, ShapeError, r"got tensor\(32\)\. Write input_size=\(32, 32\)"),
    ({"input_size": ("a", 2)}, ShapeError, r"got \('a', 2\)\. Write input_size"),
    ({"input_size": "22"}, ShapeError, r"got '22'\. Write input_size"),
    ({"input_size": (16,)}, ShapeError, r"got \(16,\)\. Write input_size"),
    ({"input_size": (3, 16, 16)}, ShapeError, r"got \(3, 16, 16\)\. Write input_size"),
    ({"input_size": (0, 16)}, ShapeError, r"got \(0, 16\)\. Write input_size"),
    ({"input_size": (16.5, 16)}, ShapeError, r"whole pixels, but got \(16\.5, 16\)\. Write input_size"),
    ({"mean": 0.5}, ShapeError, r"3 number\(s\), one per channel, but got 0\.5\. Write mean=\[0\.5, 0\.5, 0\.5\]"),
    ({"mean": [0.5]}, ShapeError, r"one per channel, but got \[0\.5\]\. Write mean="),
    ({"mean": {0: 0.5, 1: 0.5, 2: 0.5}}, ShapeError, "one per channel, but got {0: 0.5.* Write mean="),
    ({"mean": [MEAN] * 3}, ShapeError, "one per channel, but got .* Write mean="),
    ({"mean": torch.ones(3, 3)}, ShapeError, "one per channel, but got tensor.* Write mean="),
    ({"mean": [0.5] * 3, "channels": 1}, ShapeError, r"1 number\(s\), .* Write mean=\[0\.5\]"),
    ({"mean": [0.5, NAN, 0.5]}, RangeError, "`mean` without NaN and infinity, but got .*nan.* Give what"),
    ({"std": "abc"}, ShapeError, r"one per channel, but got 'abc'\. Write std="),
    ({"std": "123"}, ShapeError, r"one per channel, but got '123'\. Write std="),
    ({"std": [0.2, 0.0, 0.2]}, RangeError, r"`std` above 0, but got \(0\.2, 0\.0, 0\.2\)\. Give what"),
    ({"std": [0.2, INFINITY, 0.2]}, RangeError, "`std` above 0, but got .*inf.* Give what"),
    ({"class_names": "abc"}, InputError, r"a list in the order of the outputs, but got 'abc'\. Write class_names="),
    ({"class_names": 4}, InputError, r"a list in the order of the outputs, but got 4\. Write class_names="),
    ({"class_names": []}, InputError, r"a list in the order of the outputs, but got \[\]\. Write class_names="),
    (
        {"class_names": {0: "cat", 1: "dog"}},
        InputError,
        "a list in the order of the outputs, but got {0: .* Write class_names=",
    ),
    (
        {"class_names": {"cat"}},
        InputError,
        "`class_names` as a list in .* but got {'cat'}. Write class_names=",
    ),
    ({"crop_ratio": 0}, RangeError, r"above 0 and at most 1, but got 0\. 0\.875"),
    ({"crop_ratio": "a"}, RangeError, r"above 0 and at most 1, but got 'a'\. 0\.875"),
    ({"device": "auto"}, InputError, r"such as 'cpu', but got 'auto' .*`xai\.load\(module, device=\"auto\"\)`"),
    ({"device": "gpu"}, InputError, r"such as 'cpu', but got 'gpu' .*`xai\.load"),
    ({"resize": "stretch"}, NameLookupError, "no way to resize 'stretch'.* crop, squash, pad"),
]


@pytest.mark.parametrize(
    ("settings", "kind", "words"), WRONG_SETTINGS, ids=[str(case[0])[:50] for case in WRONG_SETTINGS]
)
def test_a_wrong_setting_is_one_line_with_a_cure(settings: dict[str, Any], kind: type[XaiError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        Classifier(GapCnn(), **settings)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_settings_may_be_any_numbers() -> None:
    wanted = Classifier(
        GapCnn(), mean=MEAN, std=STD, input_size=(16, 12), class_names=["1", "2", "3", "4"]
    ).preprocessing
    arrays = Classifier(
        GapCnn(),
        mean=np.array(MEAN),
        std=list(STD),
        input_size=torch.Size([16, 12]),
        class_names=np.arange(1, 5),
        channels=np.int64(3),
    )
    assert json.loads(json.dumps(arrays.preprocessing)) == wanted
    assert arrays.class_names == ("1", "2", "3", "4")
    assert Classifier(GapCnn(), mean=torch.tensor(MEAN)).mean == pytest.approx(MEAN)


def test_defaults_leave_pictures_alone() -> None:
    net, images = GapCnn(), pictures(3)
    classifier = Classifier(net)
    torch.testing.assert_close(classifier.logits(images), net(images), rtol=0, atol=0)
    assert classifier.class_names == ("0", "1", "2", "3")
    assert (classifier.name, classifier.channels, classifier.input_size) == ("GapCnn", 3, None)
    assert repr(classifier) == "Classifier('GapCnn', input_size=None, channels=3)"


def test_pixels_are_normalised_inside() -> None:
    net, images = GapCnn(), pictures(3)
    wanted = net((images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1))
    torch.testing.assert_close(Classifier(net, mean=MEAN, std=STD).logits(images), wanted)


def test_logits_have_the_gradient_of_the_network() -> None:
    net = GapCnn()
    images = pictures(3).requires_grad_()
    classifier = Classifier(net, mean=MEAN, std=STD)
    (found,) = torch.autograd.grad(classifier.logits(images)[:, 2].sum(), images)
    inner = ((images.detach() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)).requires_grad_()
    (slope,) = torch.autograd.grad(net(inner)[:, 2].sum(), inner)
    torch.testing.assert_close(found, slope / torch.tensor(STD).view(3, 1, 1))
    assert bool(found.any())
    assert images.grad is None
    assert net.conv1.weight.grad is None


def test_the_network_keeps_its_own_type() -> None:
    net, images = GapCnn(), pictures(3)
    wide = Classifier(float64_twin(net))
    assert (wide.dtype, wide.device) == (torch.float64, torch.device("cpu"))
    assert wide.logits(images).dtype == torch.float64
    torch.testing.assert_close(wide.logits(images).float(), net(images))
    narrow = Classifier(GapCnn().bfloat16())
    assert narrow.logits(images).dtype == torch.float32
    torch.testing.assert_close(narrow.logits(images), net(images), atol=0.1, rtol=0.1)
    assert Classifier(nn.Flatten()).dtype == torch.float32


def test_the_network_can_be_moved() -> None:
    assert Classifier(GapCnn(), device="meta").device == torch.device("meta")


def test_the_network_behind_a_wrapper_is_used() -> None:
    net = GapCnn()
    compiled = torch.compile(net, backend="eager")
    for wrapped in (nn.DataParallel(net), compiled, nn.DataParallel(nn.Sequential(net))):
        assert Classifier(wrapped).logits(pictures(1)).shape == (1, 4)
    assert Classifier(nn.DataParallel(net)).module is Classifier(compiled).module is net


@pytest.mark.parametrize("given", [None, "example:fashion", GapCnn, lambda images: images])
def test_only_modules_are_networks(given: Any) -> None:
    for wrap in (Classifier, as_classifier):
        with pytest.raises(UnsupportedModelError, match=r"Expected a torch\.nn\.Module, but got .* `xai\.load\("):
            wrap(given)


def test_a_classifier_is_a_classifier_already() -> None:
    classifier = Classifier(GapCnn())
    assert as_classifier(classifier) is classifier
    assert as_classifier(classifier.module).module is classifier.module


def test_a_network_in_training_mode_is_given_back_in_it() -> None:
    net = BatchNormNet()
    wanted = net(pictures(3)).detach()
    net.train()
    net.body[0].eval()
    before = snapshot(net)
    classifier = Classifier(net)
    torch.testing.assert_close(classifier.logits(pictures(3)).detach(), wanted)
    torch.testing.assert_close(classifier.predict(pictures(3)).logits, wanted)
    assert_same(before, snapshot(net))


def test_predictions_of_one_and_of_many() -> None:
    net, images = GapCnn(), pictures(5)
    classifier = Classifier(net, class_names=["ant", "bee", "cat", "dog"])
    chances = net(images).softmax(1).detach()
    many = classifier.predict(images)
    assert len(many) == 5
    torch.testing.assert_close(many.probabilities, chances)
    assert many.label == [classifier.class_names[k] for k in chances.argmax(1).tolist()]
    one = classifier.predict(images[3])
    assert one.label == many.label[3]
    assert one.probability == pytest.approx(float(chances[3].amax()), abs=1e-6)
    order = chances[3].argsort(descending=True).tolist()
    assert [name for name, _ in one.top(3)] == [classifier.class_names[k] for k in order[:3]]
    assert [chance for _, chance in one.top(3)] == pytest.approx(chances[3][order[:3]].tolist(), abs=1e-6)


def test_predictions_can_be_used_under_autograd() -> None:
    found = Classifier(GapCnn()).predict(pictures(2)).logits
    assert not found.is_inference()
    assert not found.requires_grad


def test_predicting_in_chunks_tells_its_progress() -> None:
    seen: list[tuple[int, int]] = []
    classifier = Classifier(GapCnn())
    found = classifier.predict(pictures(300), progress=lambda done, total: seen.append((done, total)))
    torch.testing.assert_close(found.logits, classifier.logits(pictures(300)).detach())
    assert seen[-1] == (300, 300)
    assert len(seen) > 1
    assert classifier.logits_of(torch.zeros(0, 3, 16, 16)).shape == (0, 4)


def test_probabilities_given_as_logits_are_noticed() -> None:
    net = nn.Sequential(GapCnn(), nn.Softmax(1))
    assert "look like probabilities" in Classifier(net, output="logits").predict(pictures(2)).notes[0]
    told = Classifier(net, output="probabilities").predict(pictures(2))
    assert told.notes == ()
    torch.testing.assert_close(told.probabilities, net(pictures(2)).detach())
    assert Classifier(GapCnn()).predict(pictures(2)).notes == ()


class Seen(nn.Module):
    """Keeps what it was given."""

    def forward(self, images: Tensor) -> Tensor:
        self.images = images
        return images.mean((2, 3))


def seen_by(resize: str, picture: Any, **settings: Any) -> Tensor:
    """Return what the network gets of an image, (3, 16, 16)."""
    net = Seen()
    Classifier(net, input_size=(16, 16), resize=resize, **settings).predict(picture)
    assert net.images.shape == (1, 3, 16, 16)
    return net.images[0]


def halves() -> np.ndarray:
    """Return an image (40, 80, 3): its left quarter is black, the rest white."""
    pixels = np.full((40, 80, 3), 255, np.uint8)
    pixels[:, :20] = 0
    return pixels


def test_crop_squash_and_pad() -> None:
    white, black = torch.ones(()), torch.zeros(())
    squashed = seen_by("squash", halves())
    torch.testing.assert_close(squashed[:, :, :3], black.expand(3, 16, 3))
    torch.testing.assert_close(squashed[:, :, 5:], white.expand(3, 16, 11))
    cropped = seen_by("crop", halves(), crop_ratio=1.0)
    torch.testing.assert_close(cropped[:, :, 1:], white.expand(3, 16, 15))
    padded = seen_by("pad", halves())
    torch.testing.assert_close(padded[:, :4], torch.full((3, 4, 16), 0.5))
    torch.testing.assert_close(padded[:, 12:], torch.full((3, 4, 16), 0.5))
    torch.testing.assert_close(padded[:, 5:11, 5:], white.expand(3, 6, 11))


def test_padding_is_nothing_to_the_network() -> None:
    normalised = seen_by("pad", halves(), mean=MEAN, std=STD)
    torch.testing.assert_close(normalised[:, :4], torch.zeros(3, 4, 16))


def test_a_crop_says_how_much_is_seen() -> None:
    classifier = Classifier(GapCnn(), input_size=(16, 16))
    assert "the model sees the middle of the image (40% of its area)" in classifier.predict(halves()).notes[0]
    whole = Classifier(GapCnn(), input_size=(16, 16), resize="squash")
    assert whole.predict(halves()).notes == ()


def test_every_form_of_a_picture_gets_the_same_answer(tmp_path: Any) -> None:
    pixels = (pictures(1)[0] * 255).byte()
    array = pixels.permute(1, 2, 0).numpy()
    Image.fromarray(array).save(tmp_path / "a.png")
    classifier = Classifier(GapCnn())
    wanted = classifier.predict(pixels.float() / 255).logits
    for form in (array, array / 255.0, Image.fromarray(array), tmp_path / "a.png", str(tmp_path / "a.png"), pixels):
        torch.testing.assert_close(classifier.predict(form).logits, wanted)


def test_classes_by_index_and_by_name() -> None:
    classifier = Classifier(GapCnn(), class_names=["Cat", "cat", "Dog", "bee"])
    assert [classifier.find_target(t) for t in (2, np.int64(2), torch.tensor(2), "Dog", "dog", "cat")] == [
        2,
        2,
        2,
        2,
        2,
        1,
    ]
    with pytest.raises(TargetError, match=r"2 classes are called 'CAT': \[0, 1\]\. Give the index"):
        classifier.find_target("CAT")
    with pytest.raises(TargetError, match=r"no class 'dogs'\. Near: Dog"):
        classifier.find_target("dogs")
    for wrong in (-1, 4, 1.0, True, None):
        with pytest.raises(TargetError, match=f"from 0 to 3, or a class name, but got {wrong}"):
            classifier.find_target(wrong)  # type: ignore[arg-type]


def test_labels_are_held_against_the_network() -> None:
    for count in (3, 5):
        classifier = Classifier(GapCnn(), class_names=[str(k) for k in range(count)])
        with pytest.raises(
            UnsupportedModelError, match=f"has {count} class names, but the model returns 4 .* one name for"
        ):
            classifier.predict(pictures(1))
    assert Classifier(OneLogit(), class_names=["no", "yes"]).predict(pictures(1)).class_names == ("no", "yes")
    with pytest.raises(UnsupportedModelError, match="one number per image and has one class name"):
        Classifier(OneLogit(), class_names=["yes"]).predict(pictures(1))


def test_classes_are_counted_by_one_forward() -> None:
    assert Classifier(GapCnn(classes=7)).num_classes == 7
    assert Classifier(LinearModel(), input_size=(16, 16)).num_classes == 3
    assert Classifier(OneLogit()).class_names == ("0", "1")


@pytest.mark.parametrize(
    ("images", "kind", "words"),
    [
        (pictures(1)[0], ShapeError, r"\(N, C, H, W\), but got shape \(3, 16, 16\)\. .*images\[None\]"),
        (np.zeros((1, 3, 16, 16)), ShapeError, r"\(N, C, H, W\), but got ndarray\."),
        (pictures(1, channels=1), ShapeError, r"3 channels, but got 1: shape \(1, 1, 16, 16\)\. Convert"),
        (pictures(1) * 255, RangeError, r"in \[0, 1\], .* Divide by 255"),
        (pictures(1) - 0.5, RangeError, "the classifier normalises them itself"),
    ],
)
def test_logits_take_tensors_in_range_only(images: Any, kind: type[XaiError], words: str) -> None:
    with pytest.raises(kind, match=words):
        Classifier(GapCnn()).logits(images)


def test_a_network_of_one_size_asks_for_it() -> None:
    for images in (pictures(1, size=(20, 20)), pictures(1, size=(8, 16))):
        with pytest.raises(ShapeError, match=r"'LinearModel' cannot take images of \(3, .*Set `input_size=\(H, W\)`"):
            Classifier(LinearModel()).predict(images)
    assert len(Classifier(LinearModel(), input_size=(16, 16)).predict(pictures(2, size=(20, 30)))) == 2


def test_weights_of_inference_mode_are_explained() -> None:
    with torch.inference_mode():
        net = GapCnn()
    with pytest.raises(UnsupportedModelError, match=r"made inside torch\.inference_mode\(\).* outside of it"):
        Classifier(net).logits(pictures(1).requires_grad_())


class Data:
    """Images with labels."""

    def __init__(self, count: int) -> None:
        self.images, self.labels = pictures(count), torch.arange(count)


def test_outputs_are_logits_and_what_goes_into_the_head() -> None:
    net, data = GapCnn(), Data(70)
    found = Classifier(net).outputs(data)
    assert (len(found), found.layer) == (70, "head")
    torch.testing.assert_close(found.logits, net(data.images).detach())
    assert found.features is not None
    torch.testing.assert_close(net.head(found.features), found.logits)
    assert torch.equal(found.labels, data.labels)
    assert "the 6 inputs of the last linear layer 'head'" in found.notes[0]


def test_outputs_without_a_linear_head() -> None:
    found = Classifier(nn.Sequential(GapCnn(), nn.Softmax(1))).outputs(pictures(3))
    assert (found.features, found.layer, found.labels) == (None, None, None)
    assert "ends in a softmax" in found.notes[0]
    assert "no features" in found.notes[1]
    with pytest.raises(DataError, match="at least one image, but the data set is empty"):
        Classifier(GapCnn()).outputs(pictures(3)[:0])


def test_other_channels_than_the_first_convolution_takes_are_one_line():
    for own, given in ((1, 3), (4, 3), (3, 1)):
        net = nn.Sequential(nn.Conv2d(own, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        model = Classifier(net, input_size=(9, 12), channels=given)
        with pytest.raises(UnsupportedModelError, match=rf"it takes {own} channel\(s\). Give channels={own}") as said:
            model.predict(torch.rand(2, given, 9, 12))
        assert "\n" not in str(said.value)
