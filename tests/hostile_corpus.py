"""Files that mean harm, of every kind that xai reads and of those that it must not read: name of the file, content.

`FILES` maps a title to both. Whatever runs in one leaves a file "marker" in the current folder (`checkpoint_bytes`).
"""

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from checkpoint_bytes import (
    GADGETS,
    MARKER,
    Gadget,
    exported_with,
    legacy,
    malicious,
    members_of,
    pickled,
    safetensors,
    saved,
    small_state,
    zip_of,
)
from PIL import Image
from pyarrow import parquet

Made = tuple[str, bytes]
CODE = f"open('{MARKER}', 'w').close()"
SHELL = f"touch {MARKER}"
GADGET = GADGETS["exec"]


def picture(kind: str = "PNG", **more: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(stream, kind, **more)
    return stream.getvalue()


def keras(layer: dict[str, Any], **more: Any) -> bytes:
    """Return a Keras archive with one layer of this description, and weights that are none."""
    first = {"class_name": "InputLayer", "module": "keras.layers", "config": {"batch_shape": [None, 8, 8, 3]}}
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": [first, layer]}, **more}
    return zip_of(
        [
            ("config.json", json.dumps(config)),
            ("metadata.json", '{"keras_version": "3.15.1"}'),
            ("model.weights.h5", b"\x89HDF\r\n\x1a\n" + bytes(800)),
        ]
    )


def keras_layer(name: str, module: str | None = "keras.layers", **config: Any) -> bytes:
    return keras({"class_name": name, "module": module, "registered_name": None, "config": {"name": "a", **config}})


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def part(field: int, content: bytes | int) -> bytes:
    """Return one field of a protobuf message."""
    if isinstance(content, int):
        return varint(field << 3) + varint(content)
    return varint(field << 3 | 2) + varint(len(content)) + content


def onnx(nodes: bytes, initialisers: bytes = b"", domain: str = "") -> bytes:
    """Return an ONNX model, written by hand so that no checker stands between."""
    shape = b"".join(part(1, part(1, size)) for size in (1, 3, 8, 8))
    given = part(11, part(1, b"x") + part(2, part(1, part(1, 1) + part(2, shape))))
    answer = part(12, part(1, b"y") + part(2, part(1, part(1, 1))))
    graph = nodes + part(2, b"g") + initialisers + given + answer
    sets = part(8, part(1, b"") + part(2, 17)) + (part(8, part(1, domain.encode()) + part(2, 1)) if domain else b"")
    return part(1, 8) + part(2, b"by hand") + part(7, graph) + sets


def node(kind: str, inputs: tuple[str, ...] = ("x",), domain: str = "") -> bytes:
    names = b"".join(part(1, name.encode()) for name in inputs)
    return part(1, names + part(2, b"y") + part(4, kind.encode()) + (part(7, domain.encode()) if domain else b""))


def outside(place: str) -> bytes:
    """Return a model whose weights lie in another file."""
    entries = b"".join(
        part(13, part(1, key) + part(2, value))
        for key, value in ((b"location", place.encode()), (b"offset", b"0"), (b"length", b"12"))
    )
    tensor = part(1, 3) + part(2, 1) + part(8, b"w") + entries + part(14, 1)
    return onnx(node("Add", ("x", "w")), part(5, tensor))


def table(metadata: dict[bytes, bytes] | None = None, field: dict[bytes, bytes] | None = None) -> bytes:
    schema = pa.schema([pa.field("path", pa.string(), metadata=field), pa.field("label", pa.string())], metadata)
    stream = io.BytesIO()
    parquet.write_table(pa.table([["a.png", "b.png"], ["cat", "dog"]], schema=schema), stream)
    return stream.getvalue()


def extension(name: bytes) -> dict[bytes, bytes]:
    """Return what once made pyarrow unpickle a column's type (CVE-2023-47248)."""
    return {b"ARROW:extension:name": name, b"ARROW:extension:metadata": pickled(GADGET, 4)}


def npy(thing: Any, *, header: str | None = None) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([thing, thing], dtype=object), allow_pickle=True)
    content = stream.getvalue()
    return content if header is None else b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def npz(**members: bytes) -> bytes:
    return zip_of([(f"{name}.npy", content) for name, content in members.items()])


def plain(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def moved(content: bytes, name: str) -> bytes:
    """Return a zip whose first member has another name in its own header than in the directory."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        old = archive.namelist()[0].encode()
    at = content.index(old)
    new = name.encode()[: len(old)].ljust(len(old), b"x")
    return content[:at] + new + content[at + len(old) :]


def png_with(kind: bytes, content: bytes) -> bytes:
    """Return a PNG with one more chunk behind its head."""
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    whole = picture()
    return whole[:33] + chunk + whole[33:]


def tensors(**more: Any) -> bytes:
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **more}
    return safetensors({"w": one}, bytes(8))


def config(**model: Any) -> bytes:
    """Return an xai.toml that points to things it should not."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in model.items()]
    return "\n".join(
        ["[model]", *lines, "[data]", 'source = "example:digits"', "[[check]]", 'metric = "accuracy"']
    ).encode()


SVG = (
    b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    b'<svg xmlns="http://www.w3.org/2000/svg"><script>fetch("http://127.0.0.1:9/")</script><text>&x;</text></svg>'
)
LAMBDA = {"class_name": "__lambda__", "config": {"value": "4w==", "defaults": None, "closure": None}}
EXEC = {"class_name": "exec", "module": "builtins", "config": {"source": CODE}}
OBJECTS = "{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (2,)}\n"
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%" + SHELL.encode() + b") (w) file closefile\n"
PDF = b"%PDF-1.4\n1 0 obj <</Type/Catalog/OpenAction<</S/Launch/F(" + SHELL.encode() + b")>>>> endobj\ntrailer<<>>\n"
XPM = b'/* XPM */\nstatic char *x[] = {"1 1 1 1", "a c #000000", "a"};\n'
MVG = b"push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 'https://127.0.0.1/x\"|" + SHELL.encode() + b"\"'\n"
POLYGLOTS: dict[str, Callable[[], Made]] = {
    "image and zip": lambda: ("a.png", picture() + zip_of([("data.pkl", pickled(GADGET))])),
    "image and checkpoint": lambda: ("a.pt", picture() + saved({"w": GADGET})),
    "checkpoint behind a GIF": lambda: ("a.gif", b"GIF89a" + saved({"w": GADGET})),
    "image and pickle": lambda: ("a.jpg", picture("JPEG") + pickled(GADGET)),
    "pickle in a comment": lambda: ("a.jpg", picture("JPEG", comment=pickled(GADGET))),
    "pickle in EXIF": lambda: ("a.jpg", picture("JPEG", exif=b"Exif\0\0" + pickled(GADGET))),
    "text bomb in PNG": lambda: ("a.png", png_with(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26)))),
    "profile bomb in PNG": lambda: ("a.png", png_with(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 26)))),
    "code in PNG": lambda: ("a.png", png_with(b"tEXt", b"Software\0" + CODE.encode())),
    "SVG with a script": lambda: ("a.svg", SVG),
    "SVG called PNG": lambda: ("a.png", SVG),
    "PostScript": lambda: ("a.eps", EPS),
    "PostScript called JPEG": lambda: ("a.jpg", EPS),
    "PDF": lambda: ("a.pdf", PDF),
    "PDF called PNG": lambda: ("a.png", PDF),
    "ImageMagick script": lambda: ("a.mvg", MVG),
    "XPM": lambda: ("a.xpm", XPM),
    "web page with an image's head": lambda: ("a.gif", b"GIF89a/*<script>" + CODE.encode() + b"*/"),
    "shell script": lambda: ("a.png", b"#!/bin/sh\n" + SHELL.encode() + b"\n"),
    "program": lambda: ("a.png", b"\x7fELF\x02\x01\x01" + bytes(200)),
}
ARCHIVES: dict[str, Callable[[], Made]] = {
    "another name in the member's own head": lambda: ("m.pt", moved(saved({"w": GADGET}), "archive/data.pkl")),
    "weights in front of a checkpoint": lambda: ("m.pt", saved(small_state()) + saved({"w": GADGET})),
    "checkpoint behind a program": lambda: ("m.pt", b"\x7fELF" + saved({"w": GADGET})),
    "a checkpoint in a checkpoint": lambda: (
        "m.pt",
        zip_of([*members_of(saved(small_state())), ("archive/data/99", saved({"w": GADGET}))]),
    ),
    "a way out": lambda: ("m.pt", zip_of([("../data.pkl", pickled(GADGET)), ("../version", "3")])),
    "a link": lambda: ("m.pt", linked()),
    "TorchScript by its name only": lambda: ("m.torchscript", zip_of([("a/code/x.py", CODE), ("a/data.pkl", b"x")])),
    "torch.export with a script": lambda: ("m.pt2", exported_with(legacy(GADGET))),
    "reduce with the build of a state": lambda: ("m.pt", saved({"w": Stateful()})),
    "persistent names": lambda: ("m.pt", persistent()),
}
KERAS: dict[str, Callable[[], Made]] = {
    "Lambda": lambda: ("m.keras", keras_layer("Lambda", function=LAMBDA)),
    "Lambda of a name": lambda: ("m.keras", keras_layer("Lambda", function="os.system", arguments={"command": SHELL})),
    "TFSMLayer": lambda: ("m.keras", keras_layer("TFSMLayer", filepath="/tmp/evil", call_endpoint="serve")),
    "TorchModuleWrapper": lambda: ("m.keras", keras_layer("TorchModuleWrapper", module=pickled(GADGET).hex())),
    "class of the os": lambda: ("m.keras", keras_layer("system", "os", command=SHELL)),
    "class of subprocess": lambda: ("m.keras", keras_layer("Popen", "subprocess", args=[SHELL], shell=True)),
    "get_file": lambda: ("m.keras", keras_layer("get_file", "keras.utils", fname="x", origin="http://127.0.0.1:9/x")),
    "get_file of the old place": lambda: ("m.keras", keras_layer("get_file", "keras.src.utils.file_utils", origin="x")),
    "safe mode switched off": lambda: ("m.keras", keras({**EXEC, "class_name": "function"}, safe_mode=False)),
    "unsafe deserialisation": lambda: ("m.keras", keras_layer("enable_unsafe_deserialization", "keras.config")),
    "class nested in a setting": lambda: (
        "m.keras", keras_layer("Dense", units=1, kernel_initializer=EXEC),
    ),
    "old form": lambda: ("m.h5", b"\x89HDF\r\n\x1a\n" + b'{"class_name": "Lambda"}' + bytes(800)),
    "a program in the archive": lambda: (
        "m.keras", zip_of([("config.json", "{}"), ("model.weights.h5", ""), ("../../run.py", CODE)]),
    ),
}  # fmt: skip
ONNX: dict[str, Callable[[], Made]] = {
    "weights in /etc": lambda: ("m.onnx", outside("/etc/passwd")),
    "weights above": lambda: ("m.onnx", outside("../../../../etc/passwd")),
    "weights in a device": lambda: ("m.onnx", outside("/dev/zero")),
    "weights beside it": lambda: ("m.onnx", outside("payload.py")),
    "weights of Windows": lambda: ("m.onnx", outside("C:\\Windows\\x")),
    "operator of others": lambda: ("m.onnx", onnx(node("Evil", domain="com.evil"), domain="com.evil")),
    "operator of Python": lambda: ("m.onnx", onnx(node("PyOp", domain="ai.onnx.contrib"), domain="ai.onnx.contrib")),
    "operator of torch": lambda: ("m.onnx", onnx(node("ATen", domain="org.pytorch.aten"), domain="org.pytorch.aten")),
    "optional text": lambda: ("m.onnx", onnx(node("StringNormalizer"))),
}
SAFETENSORS: dict[str, Callable[[], Made]] = {
    "one name twice": lambda: (
        "m.safetensors",
        safetensors(
            b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
            b'"w":{"dtype":"F32","shape":[99],"data_offsets":[0,396]}}', bytes(8),
        ),
    ),
    "offsets behind the end": lambda: ("m.safetensors", tensors(data_offsets=[0, 1 << 40])),
    "offsets backwards": lambda: ("m.safetensors", tensors(data_offsets=[8, 0])),
    "negative offsets": lambda: ("m.safetensors", tensors(data_offsets=[-8, 0])),
    "overflowing shape": lambda: ("m.safetensors", tensors(shape=[1 << 62, 4])),
    "shape of text": lambda: ("m.safetensors", tensors(shape=["__import__('os')"])),
    "unknown kind": lambda: ("m.safetensors", tensors(dtype="OBJECT")),
    "overlapping tensors": lambda: (
        "m.safetensors",
        safetensors({k: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for k in ("a", "b")}, bytes(8)),
    ),
    "pickle behind it": lambda: ("m.safetensors", tensors() + pickled(GADGET)),
    "metadata that are no text": lambda: ("m.safetensors", safetensors({"__metadata__": {"a": [1]}, "w": 1}, bytes(8))),
}  # fmt: skip
TABLES: dict[str, Callable[[], Made]] = {
    "arrays of objects": lambda: ("d.npz", npz(images=npy(GADGET), labels=plain(np.arange(2)))),
    "labels of objects": lambda: ("d.npz", npz(images=plain(np.zeros((2, 4, 4), np.uint8)), labels=npy(GADGET))),
    "a header that is code": lambda: ("d.npz", npz(images=npy(None, header=f"__import__('os').system('{SHELL}')\n"))),
    "a header of a subarray": lambda: (
        "d.npz", npz(images=npy(None, header=OBJECTS) + pickled(GADGET)),
    ),
    "a bare array of objects": lambda: ("d.npy", npy(GADGET)),
    "old extension types": lambda: ("d.parquet", table(field=extension(b"arrow.py_extension_type"))),
    "Ray's extension types": lambda: ("d.parquet", table(field=extension(b"ray.data.arrow_pickled_object"))),
    "types of pandas": lambda: ("d.parquet", table({b"pandas": json.dumps({"index_columns": [CODE]}).encode()})),
    "a table of ways out": lambda: ("d.csv", b"path,label\n../../../../etc/passwd,cat\nb.png,dog\n"),
    "a table of addresses": lambda: ("d.csv", b"path,label\nhttp://127.0.0.1:9/a.png,cat\nfile:///etc/passwd,dog\n"),
    "a table of programs": lambda: ("d.csv", f"path,label\n|{SHELL},cat\n$({SHELL}).png,=cmd|' /C calc'!A0\n".encode()),
    "a table of devices": lambda: ("d.csv", b"path,label\n/dev/zero,cat\n/dev/tty,dog\n"),
    "a config that trusts": lambda: ("xai.toml", config(source="payload.pt", trust=True)),
    "a config with code": lambda: ("xai.toml", config(source="example:fashion", estimator=f"os.system('{SHELL}')")),
    "a config in YAML": lambda: ("xai.toml", f"!!python/object/apply:os.system ['{SHELL}']\n".encode()),
    "a config of addresses": lambda: ("xai.toml", config(source="http://127.0.0.1:9/model.pt")),
    "a config of the metadata service": lambda: ("xai.toml", config(source="https://169.254.169.254/latest/m.safetensors")),
    "a saved result with objects": lambda: ("explanation.json", b'{"format": 1, "py/object": "os.system"}'),
    "a batch of CIFAR": lambda: ("data_batch_1", pickled({"data": GADGET, "labels": [0]})),
}  # fmt: skip


class Stateful:
    """Runs what `__setstate__` of another class does."""

    def __reduce__(self) -> Any:
        return (dict, (), {"x": Gadget(exec, CODE)})


def persistent() -> bytes:
    """Return a checkpoint whose storages are named by something that would run."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing: Any) -> Any:
            return GADGET if thing == "x" else None

    stream = io.BytesIO()
    Pickler(stream, 2).dump({"w": "x"})
    return zip_of([("archive/data.pkl", stream.getvalue()), ("archive/version", "3"), ("archive/data/0", bytes(8))])


def linked() -> bytes:
    """Return a zip with a symbolic link as its storage."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members_of(saved(small_state())):
            member = zipfile.ZipInfo(name)
            if name.endswith("data/0"):
                member.external_attr = 0xA1FF << 16
                content = b"/etc/passwd"
            archive.writestr(member, content)
    return stream.getvalue()


def _all() -> Iterator[tuple[str, Made]]:
    for kind in (POLYGLOTS, ARCHIVES, KERAS, ONNX, SAFETENSORS, TABLES):
        for title, make in kind.items():
            yield title, make()
    for title, content in malicious().items():
        yield title, ("model.pt", content)


def files() -> dict[str, Made]:
    """Return every hostile file by its title: its name and its content."""
    return dict(_all())


SAMPLE = [
    "image and zip", "PostScript called JPEG", "a checkpoint in a checkpoint", "Lambda of a name", "weights in /etc",
    "one name twice", "arrays of objects", "old extension types", "a config that trusts", "system in torch.export",
]  # fmt: skip
