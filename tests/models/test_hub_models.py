"""Networks of torchvision, timm and transformers: weights, preprocessing and labels as their source has them."""

import hashlib
import socket
import sys
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from small_models import randomise
from torchvision_cpu import import_torchvision

import xai
from xai.errors import CheckpointError, MissingExtraError, NameLookupError, UnsupportedModelError
from xai.models.hubs import download as downloads
from xai.models.hubs.libraries import processor_settings
from xai.models.loading import load

vision = import_torchvision()
NOISE = np.random.default_rng(0).integers(0, 255, (300, 260, 3), dtype=np.uint8)
SMOOTH = Image.fromarray(NOISE).resize((26, 30)).resize((520, 600), Image.Resampling.BICUBIC)


def published(monkeypatch, tmp_path, name="squeezenet1_1", *, legacy=False, change=None):
    """Put weights where torch keeps its downloads, under a name with the first digits of their SHA-256."""
    net = randomise(vision.models.get_model(name, weights=None))
    state = net.state_dict()
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / "weights"
    torch.save(state if change is None else change(state), path, _use_new_zipfile_serialization=not legacy)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(folder / f"{name}-{digest[:8]}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    offered = vision.models.get_model_weights(name)
    real = offered.DEFAULT
    fake = SimpleNamespace(
        url=f"https://download.pytorch.org/models/{path.name}", meta=real.meta, transforms=real.transforms
    )
    offers = SimpleNamespace(DEFAULT=fake, __members__={"IMAGENET1K_V1": fake})
    monkeypatch.setattr(vision.models, "get_model_weights", lambda _: offers)
    return net, real, path


@pytest.mark.parametrize("legacy", [False, True])
def test_torchvision(monkeypatch, tmp_path, legacy):
    net, weights, _ = published(monkeypatch, tmp_path, legacy=legacy)
    found = load("torchvision:squeezenet1_1")
    assert found.name == "torchvision:squeezenet1_1"
    assert (found.input_size, found.channels, found.num_classes) == ((224, 224), 3, 1000)
    assert found.class_names[:2] == tuple(weights.meta["categories"][:2])
    assert len(set(found.class_names)) == 1000
    assert any("1000 class names" in note and "from torchvision" in note for note in found.notes)
    own = weights.transforms()(SMOOTH)[None]
    ours = found.normalise(found.prepare(SMOOTH).inputs)
    assert float((own - ours).abs().max()) < 0.05  # of pixels with deviation 1: both resize bilinear, with antialias
    with torch.no_grad():
        torch.testing.assert_close(found.module(own), net(own))
        assert int(found.predict(SMOOTH).index) == int(net(own).argmax())


def test_torchvision_weights_that_are_not_the_published_ones_are_refused(monkeypatch, tmp_path):
    _, _, path = published(monkeypatch, tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="not the published file"):
        load("torchvision:squeezenet1_1")


def test_a_pickle_in_place_of_torchvisions_weights_never_runs(monkeypatch, tmp_path):
    marker = tmp_path / "marker"

    class Gadget:
        def __reduce__(self):
            return open, (str(marker), "w")

    published(monkeypatch, tmp_path, change=lambda state: {"w": Gadget()})
    with pytest.raises(CheckpointError, match="Python objects"):
        load("torchvision:squeezenet1_1")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet5", r"no network of torchvision 'resnet5'\. Near: resnet50"),
        ("resnet50:V9", r"no weights of resnet50 'V9'"),
    ],
)
def test_unknown_names_of_torchvision(name, words):
    with pytest.raises(NameLookupError, match=words):
        load(f"torchvision:{name}")


def test_what_is_not_there_is_not_asked_of_strangers(monkeypatch, tmp_path):
    """Without a network the one line says so; nothing but the named host is asked."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked = []

    def resolve(host, *_, **__):
        asked.append(host)
        raise socket.gaierror("no network")

    monkeypatch.setattr(downloads.socket, "getaddrinfo", resolve)
    with pytest.raises(CheckpointError, match=r"no connection \(gaierror\)"):
        load("torchvision:squeezenet1_1")
    assert asked == ["download.pytorch.org"]


def hub(monkeypatch, tmp_path, net):
    """Give a local file when timm's weights are asked of the hub."""
    import huggingface_hub

    path = tmp_path / "model.safetensors"
    save_file(net.state_dict(), path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda page, name: str(path))


def test_timm(monkeypatch, tmp_path):
    timm = pytest.importorskip("timm")
    net = randomise(timm.create_model("resnet10t.c3_in1k", pretrained=False))
    hub(monkeypatch, tmp_path, net)
    found = load("timm:resnet10t.c3_in1k")
    config = net.pretrained_cfg
    assert (found.input_size, list(found.mean)) == (tuple(config["input_size"][1:]), list(config["mean"]))
    assert (found.num_classes, len(set(found.class_names))) == (1000, 1000)
    assert found.class_names[0].startswith("tench")
    own = timm.data.create_transform(**timm.data.resolve_data_config({}, model=net))(SMOOTH)[None]
    ours = found.normalise(found.prepare(SMOOTH).inputs)
    assert float((own - ours).abs().max()) < 0.25  # timm resizes bicubic here, and that is in the notes
    assert any("bicubic" in note for note in found.notes)
    with torch.no_grad():
        torch.testing.assert_close(found.module(own), net(own))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [("resnet99x", NameLookupError, "Near: "), ("resnet18.none", NameLookupError, "no network of timm")],
)
def test_unknown_names_of_timm(name, kind, words):
    pytest.importorskip("timm")
    with pytest.raises(kind, match=words):
        load(f"timm:{name}")


def test_timm_without_a_network(monkeypatch):
    pytest.importorskip("timm")
    import huggingface_hub

    def away(page, name):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", away)
    with pytest.raises(CheckpointError, match=r"timm:resnet14t.c3_in1k: no model\.safetensors from timm/resnet14t"):
        load("timm:resnet14t.c3_in1k")


@pytest.fixture
def vit(tmp_path):
    """A small ViT as transformers saves one."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        id2label={0: "ant", 1: "bee", 2: "cat"}, label2id={"ant": 0, "bee": 1, "cat": 2},
    )  # fmt: skip
    net = randomise(transformers.ViTForImageClassification(config))
    net.save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3], resample=2
    ).save_pretrained(tmp_path / "vit")
    return net, tmp_path / "vit"


def test_huggingface(vit):
    net, folder = vit
    found = load(f"hf:{folder}")
    assert found.class_names == ("ant", "bee", "cat")
    assert (found.input_size, found.resize, found.mean) == ((32, 32), "squash", (0.4, 0.5, 0.6))
    assert any("3 class names from id2label" in note for note in found.notes)
    import transformers

    own = transformers.ViTImageProcessor.from_pretrained(folder)(SMOOTH, return_tensors="pt")["pixel_values"]
    ours = found.normalise(found.prepare(SMOOTH).inputs)
    assert float((own - ours).abs().max()) < 0.1
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found.logits(images), net(found.normalise(images)).logits)
    assert xai.explain(found, SMOOTH).heatmap.shape == (600, 520)


def test_huggingface_weights_that_would_be_random_are_refused(vit):
    net, folder = vit
    state = {name: value for name, value in net.state_dict().items() if not name.startswith("classifier")}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"weights are not in its file .* Take a fine-tuned model"):
        load(f"hf:{folder}")


def test_huggingface_pickles_are_never_read(vit, tmp_path):
    net, folder = vit
    (folder / "model.safetensors").unlink()
    torch.save(net.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="cannot load it as an image classifier from safetensors"):
        load(f"hf:{folder}")


def test_code_of_a_page_never_runs(vit):
    _, folder = vit
    marker = folder / "marker"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    text = (folder / "config.json").read_text().rstrip().removesuffix("}")
    (folder / "config.json").write_text(
        text + ', "auto_map": {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Net"}}'
    )
    with suppress(CheckpointError):
        load(f"hf:{folder}")
    assert not marker.exists()


PROCESSORS = [
    ({"size": 224}, {"resize": "squash", "input_size": (224, 224)}),
    ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
     {"resize": "crop", "input_size": (224, 224), "crop_ratio": 224 / 256}),
    ({"size": {"shortest_edge": 224}, "crop_pct": 0.9}, {"resize": "crop", "crop_ratio": 0.9}),
    ({"size": {"shortest_edge": 384}}, {"resize": "squash", "input_size": (384, 384)}),
    ({"size": 8, "do_normalize": False, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {"input_size": (8, 8)}),
    ({"size": 8, "do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3},
     {"mean": [0.5] * 3, "std": [0.2] * 3}),
]  # fmt: skip


@pytest.mark.parametrize(("processor", "wanted"), PROCESSORS)
def test_processors(processor, wanted):
    found = processor_settings(processor, "x/y")
    assert {name: found[name] for name in wanted} == wanted
    assert ("mean" in found) == (processor.get("image_mean") is not None and processor.get("do_normalize", True))


def test_a_processor_of_another_kind_is_refused():
    with pytest.raises(UnsupportedModelError, match="expected a `size`"):
        processor_settings({"size": {"longest_edge": 5}}, "x/y")


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [
        ("torchvision", "torchvision:resnet18", "torchvision"),
        ("timm", "timm:resnet18", "timm"),
        ("transformers", "hf:a/b", "hf"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, module, name, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"xai-toolkit\[{extra}\]"):
        load(name)


REFUSED_URLS = [
    ("http://download.pytorch.org/x", "only https"),
    ("ftp://download.pytorch.org/x", "only https"),
    ("file:///etc/passwd", "only https"),
    ("https://download.pytorch.org:8443/x", "only https"),
    ("https://user@download.pytorch.org/x", "only https"),
    ("https://example.com/x", "downloads come from"),
    ("https://download.pytorch.org.evil.com/x", "downloads come from"),
    ("https://127.0.0.1/x", "downloads come from"),
    ("https://[::1]/x", "downloads come from"),
    ("https://2130706433/x", "downloads come from"),
    ("https://0x7f000001/x", "downloads come from"),
    ("https://169.254.169.254/latest", "downloads come from"),
]


@pytest.mark.parametrize(("url", "words"), REFUSED_URLS)
def test_urls_that_are_never_asked(monkeypatch, url, words):
    monkeypatch.setattr(downloads.socket, "create_connection", None)
    with pytest.raises(CheckpointError, match=words):
        downloads.fetch(url, "")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "100.64.0.1",
    ],
)
def test_names_of_private_addresses_are_refused(monkeypatch, address):
    public = [(socket.AF_INET, 1, 6, "", ("8.8.8.8", 443)), (socket.AF_INET6, 1, 6, "", (address, 443))]
    monkeypatch.setattr(downloads.socket, "getaddrinfo", lambda *_, **__: public)
    monkeypatch.setattr(downloads.socket, "create_connection", None)
    with pytest.raises(CheckpointError, match="is not a public one"):
        downloads.fetch("https://download.pytorch.org/x", "")


class Answer:
    """What a server answers."""

    def __init__(self, content=b"", status=200, **headers):
        self.content, self.status, self.reason, self.headers = content, status, "x", headers

    def read(self, size):
        part, self.content = self.content[:size], self.content[size:]
        return part


def served(monkeypatch, **answers):
    """Answer each URL's last part; return what was asked."""
    asked = []

    def give(url):
        asked.append(url)
        return answers[url.rpartition("/")[2]]

    monkeypatch.setattr(downloads, "_response", give)
    return asked


def test_a_download_is_kept_and_checked(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    digest = hashlib.sha256(b"content").hexdigest()
    asked = served(monkeypatch, a=Answer(b"content"))
    url = "https://download.pytorch.org/a"
    assert downloads.fetch(url, digest[:8]).read_bytes() == b"content"
    assert downloads.fetch(url, digest).read_bytes() == b"content"
    assert asked == [url]
    place = downloads.fetch(url, "")
    place.write_bytes(b"changed")
    with pytest.raises(CheckpointError, match="not the published file"):
        downloads.fetch(url, "")
    assert not place.exists()


def test_another_file_than_the_published_one_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    served(monkeypatch, a=Answer(b"other"))
    with pytest.raises(CheckpointError, match="not the published file"):
        downloads.fetch("https://download.pytorch.org/a", "0" * 64)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_redirects_are_checked_and_counted(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    asked = served(monkeypatch, a=Answer(status=302, Location="https://huggingface.co/b"), b=Answer(b"x"))
    downloads.fetch("https://download.pytorch.org/a", "")
    assert asked[-1] == "https://huggingface.co/b"
    served(monkeypatch, c=Answer(status=302, Location="/c"))
    with pytest.raises(CheckpointError, match="more than 3 redirects"):
        downloads.fetch("https://download.pytorch.org/c", "")


def test_a_redirect_to_elsewhere_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    real = downloads._response
    away = Answer(status=302, Location="http://127.0.0.1/x")
    monkeypatch.setattr(downloads, "_response", lambda url: away if "pytorch" in url else real(url))
    with pytest.raises(CheckpointError, match="only https"):
        downloads.fetch("https://download.pytorch.org/a", "")


@pytest.mark.parametrize(
    ("answer", "words"), [(Answer(status=404), "returned 404"), (Answer(bytes(3000)), "more than")]
)
def test_other_answers_are_refused(monkeypatch, tmp_path, answer, words):
    monkeypatch.setenv("XAI_CACHE", str(tmp_path))
    monkeypatch.setattr(downloads, "_MOST", 2000)
    served(monkeypatch, a=answer)
    with pytest.raises(CheckpointError, match=words):
        downloads.fetch("https://download.pytorch.org/a", "")
