"""Checkpoints as bytes, good ones and others, for the tests of the file guard."""

import io
import json
import os
import pickle
import runpy
import struct
import subprocess
import tarfile
import timeit
import warnings
import zipfile
import zlib
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from pydoc import locate

import torch

from xai.models.networks import SmallNet


def small_state():
    return SmallNet().state_dict()


def zip_of(members, compression=zipfile.ZIP_STORED):
    """The bytes of a zip archive with these (name, content) pairs, doubles allowed."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def saved(thing, **settings):
    """The bytes that torch.save writes."""
    buffer = io.BytesIO()
    torch.save(thing, buffer, **settings)
    return buffer.getvalue()


def members_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def with_pickle(content):
    """A checkpoint whose pickle is replaced."""
    return zip_of(
        [(name, content if name.endswith("data.pkl") else old) for name, old in members_of(saved(small_state()))]
    )


def legacy(thing):
    return saved(thing, _use_new_zipfile_serialization=False)


MARKER = "marker"  # in the current folder: something in a file ran


class Gadget:
    """Leaves a marker in the current folder when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


_CODE = f"open('{MARKER}', 'w').close()"
GADGETS = {
    "system": Gadget(os.system, f"echo x > {MARKER}"),
    "exec": Gadget(exec, _CODE),
    "eval": Gadget(eval, _CODE),
    "open": Gadget(io.open, MARKER, "w"),
    "subprocess": Gadget(subprocess.getoutput, f"echo x > {MARKER}"),
    "popen": Gadget(os.popen, f"echo x > {MARKER}"),
    "timeit": Gadget(timeit.timeit, _CODE, "pass", timeit.default_timer, 1),
    "runpy": Gadget(runpy.run_path, "payload.py"),
    "import": Gadget(import_module, "payload"),
    "resolve_name": Gadget(resolve_name, "payload:x"),
    "locate": Gadget(locate, "payload.x"),
    "write_text": Gadget(Path.write_text, Path(MARKER), "ran"),
    "torch.load": Gadget(torch.load, "payload.pt"),
    "hub": Gadget(torch.hub.load, ".", "payload", "local"),
}


def pickled(thing, protocol=2):
    return pickle.dumps(thing, protocol)


def exported_with(content):
    """An archive as torch.export writes it, with this pickle in each place where one is read."""
    names = ("data/weights/model.pt", "data/constants/model.pt", "data/sample_inputs/model.pt")
    head = [("a/archive_format", b"pt2"), ("a/models/model.json", b"{}"), ("a/version", b"6")]
    return zip_of([*head, *((f"a/{name}", content) for name in names)])


def tar_of(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("pickle")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def flipped(content, bit):
    """Set a flag in each header of a zip archive: scanners that honour it see other members than torch."""
    found = bytearray(content)
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = content.find(mark)
        while at >= 0:
            found[at + offset] |= bit
            at = content.find(mark, at + 4)
    return bytes(found)


CONTAINERS = {
    "zip": lambda thing: saved({"w": thing}),
    "beside weights": lambda thing: saved({"state_dict": small_state(), "extra": thing}),
    "as a key": lambda thing: with_pickle(pickled({"w": [thing]})),
    "legacy": lambda thing: legacy({"w": thing}),
    "pickle 5": lambda thing: pickled(thing, 5),
    "pickle 2": lambda thing: pickled(thing, 2),
    "pickle 0": lambda thing: pickled(thing, 0),
    "compressed pickle": lambda thing: zlib.compress(pickled(thing)),
    "second data.pkl": lambda thing: zip_of([*members_of(saved(small_state())), ("archive/data.pkl", pickled(thing))]),
    "first data.pkl": lambda thing: zip_of([("archive/data.pkl", pickled(thing)), *members_of(saved(small_state()))]),
    "other case": lambda thing: zip_of([*members_of(saved(small_state())), ("archive/DATA.PKL", pickled(thing))]),
    "two folders": lambda thing: zip_of([("other/data.pkl", pickled(thing)), *members_of(saved(small_state()))]),
    "hidden end": lambda thing: (
        saved(small_state())[:-2] + struct.pack("<H", len(end := zip_of([("a/data.pkl", pickled(thing))]))) + end
    ),
    "deflated": lambda thing: zip_of([("a/data.pkl", pickled(thing)), ("a/version", "3")], zipfile.ZIP_DEFLATED),
    "flagged": lambda thing: flipped(saved({"w": thing}), 0x01),
    "other flag": lambda thing: flipped(saved({"w": thing}), 0x20),
    "nested": lambda thing: zip_of([("a/data.pkl", saved({"w": thing})), ("a/version", "3")]),
    "TorchScript": lambda thing: zip_of(
        [("a/code/__torch__.py", "x"), ("a/constants.pkl", pickled(thing)), ("a/data.pkl", pickled(thing))]
    ),
    "torch.export": lambda thing: exported_with(saved({"w": thing})),
    "torch.package": lambda thing: zip_of([("p/.data/extern_modules", ""), ("p/data.pkl", pickled(thing))]),
    "tar": lambda thing: tar_of(pickled(thing)),
    "safetensors in front": lambda thing: struct.pack("<Q", 2) + b"{}" + pickled(thing),
}


def plant_payload(folder):
    """What the gadgets that name a file run: it leaves the marker too."""
    (folder / "payload.py").write_text(f"x = 1\nopen({str(folder / MARKER)!r}, 'w').close()\n")
    (folder / "hubconf.py").write_text(f"open({str(folder / MARKER)!r}, 'w').close()\n")


def malicious():
    """At least 60 files that would run something, by name."""
    found = {f"{gadget} in {form}": (form, gadget) for gadget in GADGETS for form in ("zip", "legacy", "torch.export")}
    found |= {f"exec in {form}": (form, "exec") for form in CONTAINERS}
    return {name: CONTAINERS[form](GADGETS[gadget]) for name, (form, gadget) in found.items()}


def safetensors(header, data=b""):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


def check_line(error):
    """One line in plain words that does not tell how to switch the protection off."""
    text = str(error)
    assert text.isprintable()
    assert "weights_only" not in text
    assert "allowlist" not in text
    assert "safe_globals" not in text
