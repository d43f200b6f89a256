"""Guided fuzzing with atheris: `python tests/fuzzing/fuzz.py TARGET [-runs=N] [-max_total_time=S] [FOLDER]`.

Each target takes bytes and may answer or refuse in one line; anything else ends the run and is kept as crash-* here.
Seeds are written to FOLDER, or to a temporary one, where what finds new paths is kept too.
"""

import atexit
import hashlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
READERS = ["xai.core", "xai.datasets", "xai.models.file_format", "xai.models.keras_trial", "xai.audits"]

with atheris.instrument_imports(include=READERS, enable_loader_override=False):
    import hostile_corpus
    import numpy as np
    from mutants import IMAGES
    from small_models import GapCnn, pictures

    import xai
    from xai.audits.config import read_config
    from xai.audits.execution.store import Store, StoredResult
    from xai.core.images.decoding import decode_bytes
    from xai.models.file_format import kind_of
    from xai.models.keras_trial import check_archive

HERE = Path(tempfile.mkdtemp(prefix="xai-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
KEY = "0" * 64


def picture(data: bytes) -> None:
    decode_bytes(data, "p.png")


def checkpoint(data: bytes) -> None:
    for trust in (False, True):
        kind_of(io.BytesIO(data), Path("w.bin"), len(data), trust=trust)


def archive(data: bytes) -> None:
    check_archive(data, "w.keras")


def config(data: bytes) -> None:
    read_config(_written("xai.toml", data))


def manifest(data: bytes) -> None:
    _read(_written("t.csv", data))


def parquet(data: bytes) -> None:
    _read(_written("t.parquet", data))


def arrays(data: bytes) -> None:
    _read(_written("a.npz", data))


def cifar(data: bytes) -> None:
    _read(_written("cifar/data_batch_1", data).parent)


def store(data: bytes) -> None:
    """The digest is made anew, as a forger would, so that what lies behind it is read."""
    body = data.partition(b"\n")[2]
    head = {"xai": 1, "key": KEY, "length": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    for content in (data, json.dumps(head).encode() + b"\n" + body):
        place = Store(HERE).path(KEY)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        Store(HERE).read(KEY)


def result(data: bytes) -> None:
    """A saved explanation whose arrays and whose manifest are changed, its digest made anew."""
    folder = HERE / "kept"
    fields = json.loads((HERE / "seed" / "manifest.json").read_text())
    for name, content in (("values.npz", data), ("manifest.json", data)):
        folder.mkdir(exist_ok=True)
        for one in (HERE / "seed").iterdir():
            (folder / one.name).write_bytes(one.read_bytes())
        (folder / name).write_bytes(content)
        if name == "values.npz":
            fields["files"][name] = hashlib.sha256(content).hexdigest()
            (folder / "manifest.json").write_text(json.dumps(fields))
        try:
            xai.Explanation.load(folder)
        except xai.XaiError as error:
            _line(error)


def audit(data: bytes) -> None:
    xai.Audit.load(_written("audit.json", data))


def _written(name: str, data: bytes) -> Path:
    path = HERE / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def _read(path: Path) -> None:
    data = xai.load_data(path)
    _ = data.labels, data.ids[0], [data.groups[name] for name in data.groups]
    for k in range(min(len(data), 2)):
        _ = data.images[k]


def _line(error: Exception) -> None:
    text = str(error)
    assert text.isprintable(), repr(text)
    assert len(text) < 700, text


def seeds(target: str) -> list[bytes]:
    """Return good files of a target, and hostile ones."""
    hostile = hostile_corpus.files()

    def named(*ends: str) -> list[bytes]:
        return [content for name, content in hostile.values() if name.endswith(ends)]

    table = b"path,label,sex\na.png,cat,f\nb.png,dog,m\n"
    stream = io.BytesIO()
    np.savez(stream, images=np.zeros((3, 4, 4), np.uint8), labels=np.arange(3), classes=np.array(["a", "b", "c"]))
    Store(HERE).publish(KEY, StoredResult({"a": np.arange(3)}, {"b": 1}))
    xai.explain(GapCnn(), pictures(1), "saliency").save(HERE / "seed")
    return {
        "image": [*IMAGES.values(), *named(".png", ".jpg", ".gif")],
        "checkpoint": [
            hostile_corpus.saved(hostile_corpus.small_state()), *named(".pt", ".onnx", ".safetensors", ".keras"),
        ],
        "archive": named(".keras"),
        "config": [hostile_corpus.config(source="example:fashion"), *named(".toml"), *_starters()],
        "manifest": [table, *named(".csv")],
        "parquet": [hostile_corpus.table(), *named(".parquet")],
        "arrays": [stream.getvalue(), *named(".npz")],
        "cifar": named("data_batch_1"),
        "store": [Store(HERE).path(KEY).read_bytes()],
        "result": [(HERE / "seed" / name).read_bytes() for name in ("values.npz", "manifest.json")],
        "audit": [b'{"schema": "xai-audit", "schema_version": "1.0"}'],
    }[target]  # fmt: skip


def _starters() -> list[bytes]:
    return [path.read_bytes() for path in sorted((Path(xai.__file__).parent / "audits" / "starters").glob("*.toml"))]


TARGETS: dict[str, Callable[[bytes], Any]] = {
    one.__name__: one
    for one in (picture, checkpoint, archive, config, manifest, parquet, arrays, cifar, store, result, audit)
}


def main() -> None:
    """Write the seeds and fuzz until the end that was asked for."""
    target, options = sys.argv[1], sys.argv[2:]
    folders = [text for text in options if not text.startswith("-")]
    place = Path(folders[0]) if folders else HERE / "corpus"
    place.mkdir(parents=True, exist_ok=True)
    for k, content in enumerate(seeds(target)):
        (place / f"seed-{k}").write_bytes(content)
    (HERE / "a.png").write_bytes(IMAGES["png"])

    def look(data: bytes) -> None:
        try:
            TARGETS[target](data)
        except xai.XaiError as error:
            _line(error)

    asked = [text for text in options if text.startswith("-")]
    atheris.Setup([sys.argv[0], *asked, f"-artifact_prefix={Path.cwd()}/", str(place)], look)
    atheris.Fuzz()


if __name__ == "__main__":
    atexit.register(shutil.rmtree, HERE, ignore_errors=True)
    main()
