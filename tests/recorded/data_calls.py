"""Recorded calls of models and data: loading, predicting, probes, resizing, and the lists of what there is."""

import gzip
import pickle
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

import xai
from tests.recorded.material import (
    CLASSES,
    SIZE,
    answers,
    clothes,
    convolutional,
    fashion,
    images,
    names_of,
    transformer,
)

Call = Callable[[], dict[str, Any]]

_WORDS = ("cat", "dog", "cat", "emu")
_SITES = ("north", "south", "north", "north")


def _bytes() -> np.ndarray:
    """Return (4, 6, 8, 3) uint8 images."""
    return (images(4, size=(6, 8)).permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)


def _folder(root: Path) -> Path:
    for k, (pixels, word) in enumerate(zip(_bytes(), _WORDS, strict=True)):
        (root / word).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(root / word / f"{k}.png")
    return root


def _table(root: Path) -> pd.DataFrame:
    _folder(root)
    paths = [f"{word}/{k}.png" for k, word in enumerate(_WORDS)]
    return pd.DataFrame({"path": paths, "label": _WORDS, "site": _SITES, "split": ["train", "test", "test", "test"]})


def _csv(root: Path) -> Path:
    _table(root).to_csv(root / "table.csv", index=False)
    return root / "table.csv"


def _tsv(root: Path) -> Path:
    _table(root).to_csv(root / "table.tsv", index=False, sep="\t")
    return root / "table.tsv"


def _parquet(root: Path) -> Path:
    _table(root).to_parquet(root / "table.parquet")
    return root / "table.parquet"


def _npz(root: Path) -> Path:
    np.savez(root / "data.npz", images=_bytes(), labels=[0, 1, 0, 2], classes=np.array(["cat", "dog", "emu"]))
    return root / "data.npz"


def _cifar(root: Path) -> Path:
    pixels = (images(4, size=(32, 32)).numpy() * 255).round().astype(np.uint8).reshape(4, -1)
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        batch = {b"data": pixels, b"labels": [1, 0, 9, 3], b"filenames": [b"a.png", b"b.png", b"c.png", b"d.png"]}
        (root / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"label_names": [f"kind{k}".encode() for k in range(10)]}
    (root / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return root


def _idx(root: Path) -> Path:
    pixels = _bytes()[..., 0]
    for part in ("train", "t10k"):
        content = bytes([0, 0, 8, 3]) + np.array(pixels.shape, ">i4").tobytes() + pixels.tobytes()
        (root / f"{part}-images-idx3-ubyte").write_bytes(content)
        labels = bytes([0, 0, 8, 1]) + np.array([4], ">i4").tobytes() + bytes([0, 1, 0, 2])
        (root / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return root


def _read(data: xai.Dataset, count: int) -> dict[str, Any]:
    return {
        "length": len(data),
        "images": data.images[:count],
        "labels": data.labels,
        "classes": data.class_names,
        "groups": [list(data.groups[name])[:count] for name in data.groups],
        "parts": data.parts,
        "subset": data.subset(3, seed=1).labels,
    }


def _load_data(write: Callable[[Path], Path]) -> Call:
    def call() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            return _read(xai.load_data(write(Path(folder))), 4)

    return call


def _example_data(name: str) -> Call:
    return lambda: _read(xai.load_data(name), 5)


def _load(name: str) -> Call:
    def call() -> dict[str, Any]:
        clf = xai.load(name)
        found = fashion(name).predict(clothes(8, "test").images[:])
        return {
            "classes": names_of(clf),
            "mean and std": [*clf.mean, *clf.std],
            "size": [*clf.input_size, clf.channels, clf.num_classes],
            "logits": found.logits,
            "probabilities": found.probabilities,
            "predictions": found.index,
            "names": found.label,
        }

    return call


def _load_weights(ending: str) -> Call:
    def call() -> dict[str, Any]:
        module, labels = convolutional().module, names_of(convolutional())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"weights.{ending}"
            if ending == "pt":
                torch.save(module.state_dict(), path)
            else:
                from safetensors.torch import save_file

                save_file(module.state_dict(), path)
            clf = xai.load(path, arch=lambda: type(module)(4).double(), class_names=labels, input_size=SIZE)
        return {"logits": clf.logits(images(3, seed=2)), "classes": names_of(clf)}

    return call


def _predict(model: Callable[[], xai.Classifier], resize: str) -> Call:
    def call() -> dict[str, Any]:
        clf = xai.Classifier(model().module, input_size=SIZE, resize=resize, task="multiclass")
        photo = images(1, size=(21, 17), seed=8)[0].permute(1, 2, 0).numpy()
        found = clf.predict(photo)
        return {"logits": found.logits, "probability": found.probability, "index": found.index} | {
            "top": [[row[0], row[1]] for row in found.top(3)]
        }

    return call


def _outputs() -> dict[str, Any]:
    data = clothes(20, "test")
    found = fashion().outputs(data)
    return {"logits": found.logits, "features": found.features, "labels": found.labels, "layer": found.layer}


def _fit_probe(head: str) -> Call:
    def call() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            rows, path = images(100, seed=31), Path(folder) / "data.npz"
            labels = answers(convolutional(), rows).numpy()
            np.savez(path, images=rows.permute(0, 2, 3, 1).numpy(), labels=labels, classes=np.array(CLASSES))
            base = xai.Classifier(deepcopy(transformer().module).float(), input_size=SIZE, task="multiclass")
            probe = xai.fit_probe(base, xai.load_data(path), head, seed=1)
        predictions = answers(probe, images(40, seed=32).float())  # logits end where a solver in float32 stops
        return {"predictions": predictions, "accuracy": probe.accuracy} | {
            "interval": probe.interval,
            "held out": probe.held_out,
        }

    return call


def _compare_resizing() -> dict[str, Any]:
    rows = clothes(60, "test").images[:]
    wide = torch.cat([rows, rows[..., :8].flip(-1)], -1)
    found = xai.compare_resizing(fashion(), wide, clothes(60, "test").labels, seed=1)
    return {
        "verdict": found.verdict,
        "best": found.best,
        "accuracy": list(found.accuracy.values()),
        "intervals": list(found.intervals.values()),
        "p values": list(found.p_values.values()),
        "count": found.count,
    }


def _broken_copy() -> dict[str, Any]:
    return {"logits": xai.Audit.broken_copy(convolutional()).logits(images(3, seed=2))}


def _untrained() -> dict[str, Any]:
    module = xai.untrained("example:fashion")
    return {"shapes": [list(tensor.shape) for tensor in module.state_dict().values()]}


def _methods(kind: str) -> Call:
    def call() -> dict[str, Any]:
        rows = xai.methods(kind=kind)
        return {row.name: [row.family, row.needs, row.stochastic, row.forward, row.backward, row.norms] for row in rows}

    return call


def _advised() -> dict[str, Any]:
    models = {"convolutional": convolutional(), "transformer": transformer()}
    return {name: [[row.name, row.advised] for row in xai.methods(clf)] for name, clf in models.items()}


def _photos() -> dict[str, Any]:
    return {photo.name: np.asarray(Image.open(photo.path)).shape for photo in xai.sample_photos()}


def _catalogue() -> dict[str, Any]:
    return {row.name: [*row.input_size, row.channels, row.num_classes] for row in xai.catalogue()}


def _to_rgb() -> dict[str, Any]:
    pixels = images(1, size=(5, 7))[0].permute(1, 2, 0).numpy()
    return {"colour": xai.to_rgb(pixels), "grey": xai.to_rgb(pixels[..., :1]), "far": xai.to_rgb(40 * pixels - 9)}


CALLS: dict[str, Call] = {
    "load_data folder": _load_data(_folder),
    "load_data csv": _load_data(_csv),
    "load_data tsv": _load_data(_tsv),
    "load_data parquet": _load_data(_parquet),
    "load_data npz": _load_data(_npz),
    "load_data cifar": _load_data(_cifar),
    "load_data idx": _load_data(_idx),
    "load_data fashion-test": _example_data("example:fashion-test"),
    "load_data fashion-train": _example_data("example:fashion-train"),
    "load_data digits": _example_data("example:digits"),
    "load fashion": _load("example:fashion"),
    "load fashion-robust": _load("example:fashion-robust"),
    "load fashion-shortcut": _load("example:fashion-shortcut"),
    "load weights.pt": _load_weights("pt"),
    "load weights.safetensors": _load_weights("safetensors"),
    "Classifier predict, crop": _predict(convolutional, "crop"),
    "Classifier predict, squash": _predict(transformer, "squash"),
    "Classifier predict, pad": _predict(convolutional, "pad"),
    "Classifier outputs": _outputs,
    "fit_probe logistic": _fit_probe("logistic"),
    "fit_probe svm": _fit_probe("svm"),
    "fit_probe linear_svm": _fit_probe("linear_svm"),
    "compare_resizing": _compare_resizing,
    "broken_copy": _broken_copy,
    "untrained": _untrained,
    "methods explanation": _methods("explanation"),
    "methods attack": _methods("attack"),
    "methods corruption": _methods("corruption"),
    "methods detector": _methods("detector"),
    "methods of a model": _advised,
    "sample_photos": _photos,
    "catalogue": _catalogue,
    "to_rgb": _to_rgb,
}
