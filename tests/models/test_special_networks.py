"""Quantised and pruned networks, and whole models that are read where they are trusted."""

import io
import warnings

import pytest
import torch
from small_models import GapCnn, pictures
from torch import nn
from torch.nn.utils import prune

import xai
from xai.errors import CheckpointError


def pruned():
    net = GapCnn()
    for name in ("conv1", "conv2", "head"):
        prune.l1_unstructured(getattr(net, name), "weight", amount=0.4)
    return net


def made_permanent():
    net = pruned()
    for name in ("conv1", "conv2", "head"):
        prune.remove(getattr(net, name), "weight")
    return net


@pytest.mark.parametrize("method", ["gradcam", "saliency", "occlusion"])
def test_a_pruned_network_is_explained_as_its_permanent_form(method):
    settings = {"window": 4, "stride": 4} if method == "occlusion" else {}
    maps = [
        xai.explain(xai.load(net), pictures(2), method, 1, **settings).attribution
        for net in (pruned(), made_permanent())
    ]
    torch.testing.assert_close(*maps, atol=1e-6, rtol=1e-5)
    assert float(maps[0].abs().max()) > 0


@pytest.mark.parametrize("method", ["occlusion", "gradcam"])
def test_a_forward_of_the_user_leaves_nothing_that_keeps_a_network_from_being_copied(method):
    """Pruning leaves a tensor with its graph in the module."""
    plain, used = made_permanent(), pruned()
    used(pictures(2)).sum()
    settings = {"window": 4, "stride": 4} if method == "occlusion" else {}
    maps = [xai.explain(net, pictures(2), method, 1, **settings).attribution for net in (used, plain)]
    torch.testing.assert_close(*maps, atol=1e-6, rtol=1e-5)
    used(pictures(2)).sum()
    assert xai.robustness(used, pictures(4), [0, 1, 2, 3], eps=[0.01], attacks=["fgsm"], certificates=[]).eps


def test_the_weights_of_a_pruned_network_fit_the_plain_one(tmp_path):
    torch.save(pruned().state_dict(), tmp_path / "w.pt")
    found = xai.load(tmp_path / "w.pt", GapCnn)
    assert torch.equal(found.logits_of(pictures(2)), xai.Classifier(made_permanent()).logits_of(pictures(2)))


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(GapCnn(), {nn.Linear}, dtype=torch.qint8)


@pytest.mark.filterwarnings("ignore")
def test_a_quantised_network_answers_and_says_that_it_has_no_gradients():
    net = quantised()
    found = xai.load(net, input_size=(16, 16))
    with torch.no_grad():  # its scale is taken from the batch, so each image is asked alone
        expected = torch.cat([net(one[None]) for one in pictures(2)])
    torch.testing.assert_close(found.logits_of(pictures(2)), expected)
    assert any("no gradient reaches the pixels" in note for note in found.notes)
    map_ = xai.explain(found, pictures(1), "occlusion", 1, window=4, stride=4).attribution
    full = xai.explain(xai.load(GapCnn()), pictures(1), "occlusion", 1, window=4, stride=4).attribution
    assert float(torch.corrcoef(torch.stack([map_.flatten(), full.flatten()]))[0, 1]) > 0.9
    with pytest.raises(xai.XaiError, match=r"(?i)gradient"):
        xai.explain(found, pictures(1), "saliency")


def scripted():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(GapCnn(), pictures(1)), buffer)
    return buffer.getvalue()


def exported():
    buffer = io.BytesIO()
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.export.save(torch.export.export(GapCnn(), (pictures(2),), dynamic_shapes=({0: batch},)), buffer)
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", [scripted, exported])
def test_whole_models_are_read_where_they_are_trusted(tmp_path, form):
    path = tmp_path / "model.bin"
    path.write_bytes(form())
    with pytest.raises(CheckpointError, match="a format that can carry code, so it is refused"):
        xai.load(path)
    found = xai.load(path, trust=True, input_size=(16, 16))
    torch.testing.assert_close(found.logits_of(pictures(3)), xai.Classifier(GapCnn()).logits_of(pictures(3)))
    assert "loaded with trust=True: whatever code the file holds has run" in found.notes
    mine, plain = (xai.explain(model, pictures(2), "saliency", 1).attribution for model in (found, xai.load(GapCnn())))
    torch.testing.assert_close(mine, plain, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_trust_on_the_command_line(tmp_path, capsys):
    from bad_files import photo

    from xai.cli import main

    path = tmp_path / "model.pt"
    path.write_bytes(scripted())
    picture = str(photo(tmp_path / "p.png"))
    asked = ["explain", picture, "--model", str(path), "--method", "saliency", "--input-size", "16", "16"]
    assert main(asked) == 2
    assert "so it is refused" in capsys.readouterr().err
    assert main([*asked, "--trust"]) == 0


@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_that_is_trusted_is_one_line(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(scripted()[:-30] + bytes(30))
    with pytest.raises(CheckpointError, match=r"model\.pt: "):
        xai.load(path, trust=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("method", ["occlusion", "saliency", "integrated_gradients", "rise", "gradcam"])
def test_torchscript_is_explained_as_the_network_it_was_or_refused(method, freeze, tmp_path):
    net, images = made_permanent().eval(), pictures(2)
    script = torch.jit.trace(net, images)
    (torch.jit.freeze(script) if freeze else script).save(str(tmp_path / "net.pt"))
    loaded = xai.load(tmp_path / "net.pt", trust=True, input_size=tuple(images.shape[2:]))
    settings = {"occlusion": {"window": 4, "stride": 4}, "rise": {"samples": 30}}.get(method, {})
    if method == "gradcam":
        with pytest.raises(xai.XaiError, match=r"shows nothing of its layers|No layer of"):
            xai.explain(loaded, images, method, 1)
        return
    maps = [xai.explain(model, images, method, 1, **settings).attribution for model in (loaded, net)]
    torch.testing.assert_close(*maps, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_verbs_that_look_at_layers_do_without_them_or_refuse_in_one_line_for_torchscript():
    script, images = torch.jit.trace(made_permanent().eval(), pictures(2)), pictures(6)
    model = xai.Classifier(script, input_size=tuple(images.shape[2:]))
    assert model.outputs(images).features is None
    assert 0 <= xai.attack(model, images, model.predict(images).index, "pgd", eps=2 / 255).robust_accuracy <= 1
    with pytest.raises(xai.XaiError, match="cannot be traced"):
        xai.certify(model, images, [0] * 6, eps=1 / 255)
    with torch.no_grad():
        next(script.parameters()).fill_(float("nan"))
    with pytest.raises(xai.XaiError, match="returned NaN or infinity; first in"):
        model.predict(images)
