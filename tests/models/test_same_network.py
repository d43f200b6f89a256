"""One image, one network, every way in: torch, state dicts, ONNX and Keras give the same logits and the same maps."""

import logging
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_models import pictures
from torch import Tensor, nn
from twin_networks import Residual, Vit, residual_in_keras, vit_in_keras

import xai

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")
pytest.importorskip("onnxscript")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own saving
LOG = logging.getLogger(__name__)  # figures are shown by `--log-cli-level=info`
LOGITS, MAPS = 1e-4, 1e-3
SMALL = {"cnn": (Residual, {}, 16), "vit": (Vit, {}, 16)}
LARGE = {
    "cnn": (Residual, {"width": 48, "blocks": 6, "classes": 100}, 96),
    "vit": (Vit, {"side": 224, "patch": 16, "width": 192, "depth": 12, "heads": 3, "classes": 100}, 224),
}
IN_KERAS = {"cnn": residual_in_keras, "vit": vit_in_keras}


def files(folder: Path, name: str, net: nn.Module, side: int) -> dict[str, Path]:
    """Write one network in each form."""
    places = {kind: folder / f"net.{kind}" for kind in ("safetensors", "pt", "onnx", "dynamo.onnx", "keras")}
    save_file(net.state_dict(), places["safetensors"])
    torch.save(net.state_dict(), places["pt"])
    rows = pictures(2, size=(side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both exporters speak of themselves
        torch.onnx.export(net, (rows,), places["onnx"], dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"])
        open_batch = ({0: torch.export.Dim("n")},)
        torch.onnx.export(
            net, (rows,), places["dynamo.onnx"], dynamo=True, external_data=False, dynamic_shapes=open_batch,
            verbose=False,
        )  # fmt: skip
    IN_KERAS[name](keras, net, side).save(places["keras"])
    return places


def opened(kind: str, place: Path, net: type[nn.Module], settings: dict[str, Any]) -> xai.Classifier:
    return xai.load(place, lambda: net(**settings)) if kind in {"safetensors", "pt"} else xai.load(place)


def gaps(folder: Path, name: str, case: tuple[type[nn.Module], dict[str, Any], int]) -> dict[str, tuple[float, float]]:
    """Return, for each form, how far logits and maps are from those of the network itself.

    Maps are compared for the two likeliest classes whose map is not all zeros, in units of its largest value.
    """
    kind_of_net, settings, side = case
    net = kind_of_net(**settings).eval()
    images = pictures(3, size=(side, side), seed=3)
    plain = xai.Classifier(net, input_size=(side, side))
    wanted = plain.logits_of(images)
    assert float(wanted.std()) > 0.1  # the answers differ, so that agreeing on them means something
    maps = _two_maps(plain, images, wanted.mean(0).argsort(descending=True).tolist())
    found = {}
    for kind, place in files(folder, name, net, side).items():
        clf = opened(kind, place, kind_of_net, settings)
        found[kind] = (
            float((clf.logits_of(images) - wanted).abs().max()),
            max(_gap(xai.explain(clf, images, "gradcam", target).attribution, own) for target, own in maps.items()),
        )
    return found


def _two_maps(clf: xai.Classifier, images: Tensor, order: list[int]) -> dict[int, Tensor]:
    """Return the maps of the first two classes, in this order, that are more than zeros."""
    found: dict[int, Tensor] = {}
    for target in order[:20]:
        own = xai.explain(clf, images, "gradcam", target).attribution
        if len(found) < 2 and bool(own.any()):
            found[target] = own
    assert len(found) == 2
    return found


def _gap(mine: Tensor, own: Tensor) -> float:
    scale = float(own.abs().max())
    assert scale > 0
    return float((mine - own).abs().max()) / scale


@pytest.mark.parametrize(
    "case",
    [pytest.param((name, SMALL[name]), id=f"small {name}") for name in SMALL]
    + [pytest.param((name, LARGE[name]), id=f"large {name}", marks=pytest.mark.slow) for name in LARGE],
)
def test_logits_and_maps_are_the_same_whatever_the_form(tmp_path: Path, case: Any) -> None:
    found = gaps(tmp_path, *case)
    LOG.info({kind: tuple(f"{gap:.1e}" for gap in pair) for kind, pair in found.items()})
    assert {kind for kind, (logits, _) in found.items() if not logits <= LOGITS} == set()
    assert {kind for kind, (_, maps) in found.items() if not maps <= MAPS} == set()


def test_another_network_is_told_apart(tmp_path: Path) -> None:
    """One weight of one layer changed by a hundredth: the figures above would not pass."""
    net = Vit().eval()
    images = pictures(3, seed=3)
    own = xai.explain(net, images, "gradcam", 1).attribution
    before = xai.Classifier(net).logits_of(images)
    with torch.no_grad():
        net.blocks.layers[0].linear1.weight[0] *= 1.01
    assert float((xai.Classifier(net).logits_of(images) - before).abs().max()) > LOGITS
    assert _gap(xai.explain(net, images, "gradcam", 1).attribution, own) > MAPS / 10
