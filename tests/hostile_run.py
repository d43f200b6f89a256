"""Gives the files named in a list to every door of xai, in the current folder; prints what came of it as JSON lines.

`python hostile_run.py LIST.json`: a list of [title, file]. Run in a process of its own, so that a watch on programs and
connections can be set before anything is asked, and so that `strace -f` sees nothing else.
"""

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
import torch

import xai
from xai.cli import main
from xai.models.networks import SmallNet

ARCH = "xai.models.networks:SmallNet"
WATCHED = ("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen", "socket.connect")
seen: list[str] = []


def watch(event: str, details: tuple[Any, ...]) -> None:
    if event.startswith(WATCHED):
        seen.append(f"{event} {str(details)[:200]}")


def command(*arguments: str) -> Callable[[str], Any]:
    """Return a call of the command line that raises what it complained of."""

    def call(path: str) -> Any:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([path if text == "FILE" else text for text in arguments])
        if code == 2 and not out.getvalue() and err.getvalue().startswith("xai: ") and err.getvalue().count("\n") == 1:
            raise xai.InputError(err.getvalue()[5:-1])
        if code or err.getvalue():
            raise AssertionError(f"exit code {code}, {out.getvalue()[:100]!r}, {err.getvalue()[:300]!r}")

    return call


def read_data(path: str) -> None:
    data = xai.load_data(path)
    for k in range(min(len(data), 3)):
        _ = data.images[k], data.ids[k]
    _ = [data.groups[name][:2] for name in data.groups]


def explained(path: str) -> None:
    xai.explain(xai.load("example:fashion"), path, "saliency")


def saved(path: str) -> None:
    folder = Path(path).parent
    for kind in (xai.Explanation, xai.Audit, xai.OODDetector, xai.results.Calibration, xai.results.RobustnessCurve):
        with contextlib.suppress(xai.XaiError):
            kind.load(folder)
    xai.Explanation.load(path)


def dashboard(path: str) -> None:
    """Upload the file as an image; the page shows one sentence or a map, never a traceback."""
    from streamlit.testing.v1 import AppTest

    if not hasattr(dashboard, "app"):
        dashboard.app = AppTest.from_file(
            str(Path(xai.__file__).parent / "dashboard/pages/explain/page.py"), default_timeout=60
        )  # type: ignore[attr-defined]
        dashboard.app.query_params["model"] = "example:fashion"  # type: ignore[attr-defined]
        dashboard.app.run()  # type: ignore[attr-defined]
    app = dashboard.app  # type: ignore[attr-defined]
    name = f"{Path(path).stem}.png"  # the page takes no other suffixes, and looks at the content anyway
    app.file_uploader(key="image").upload(name, Path(path).read_bytes())
    app.run()
    if app.exception:
        raise AssertionError(str(app.exception[0].value)[:300])
    if app.error:
        raise xai.InputError(str(app.error[0].value))


def brought_network(path: str) -> None:
    """What the dashboard does with an uploaded model file."""
    from xai.dashboard.session.uploads import add_model

    content = Path(path).read_bytes()
    with contextlib.suppress(xai.XaiError):
        add_model(Path(path).name, content, None, {})
    add_model(Path(path).name, content, xai.known_networks()[0], {})


def brought_zip(path: str) -> None:
    """What the dashboard does with an uploaded archive: the file itself, and the file as an image of a class."""
    import zipfile

    from xai.dashboard.session.uploads import add_data_zip

    with contextlib.suppress(xai.XaiError):
        add_data_zip("a.zip", Path(path).read_bytes())
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for place in ("a/0.png", "b/1.png"):
            archive.writestr(place, Path(path).read_bytes())
    data = add_data_zip("a.zip", stream.getvalue())
    read_data(str(data.source))


DATA = ("--data", "example:digits")
DOORS: dict[str, Callable[[str], Any]] = {
    "xai.load": xai.load,
    "xai.load with arch": lambda path: xai.load(path, ARCH),
    "xai.load with a network": lambda path: xai.load(path, SmallNet()),
    "xai.explain": explained,
    "xai.load_data": read_data,
    "saved results": saved,
    "xai explain FILE": command("explain", "FILE", "--model", "example:fashion", "--method", "saliency"),
    "xai explain --model": command("explain", "photo.png", "--model", "FILE", "--arch", ARCH),
    "xai ood --data": command(
        "ood", "photo.png", "--model", "example:fashion", "--fit", "FILE", "--calibration", "FILE"
    ),
    "xai audit FILE": command("audit", "FILE", "--out", "out"),
    "xai audit --model": command("audit", "good.toml", "--model", "FILE", "--out", "out"),
    "xai audit --data": command("audit", "good.toml", "--data", "FILE", "--out", "out"),
    "xai.audit": lambda path: xai.audit("good.toml", model=path, out="out"),
    "dashboard": dashboard,
    "dashboard, a network": brought_network,
    "dashboard, a zip": brought_zip,
}


CONTROL = {"trusted": lambda path: xai.load(path, trust=True)}  # only when named: it shows that the watch sees


def try_door(title: str, door: str, path: str) -> dict[str, Any]:
    before, began, cpu = len(seen), time.monotonic(), time.process_time()
    answer: dict[str, Any] = {"file": title, "door": door, "said": None, "fault": None}
    try:
        (DOORS | CONTROL)[door](path)
    except xai.XaiError as error:
        answer["said"] = str(error)
    except BaseException as error:  # noqa: BLE001 (whatever else comes out is the finding)
        answer["fault"] = f"{type(error).__name__}: {error}"
    took = {"seconds": time.process_time() - cpu, "waited": time.monotonic() - began}
    return answer | took | {"marker": Path("marker").exists(), "events": seen[before:]}


def warm() -> None:
    """Load the libraries and start the limited process, which happens once and not for any file."""
    torch.save(SmallNet().state_dict(), "warm.pt")
    xai.load("warm.pt", ARCH, channels=1)
    for door in ("xai.explain", "dashboard"):
        DOORS[door]("photo.png")
    command("explain", "photo.png", "--model", "example:fashion")("photo.png")
    for path in ("warm.keras", "warm.onnx"):
        with contextlib.suppress(xai.XaiError):
            xai.load(path)


if __name__ == "__main__":
    files, doors = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2:] or list(DOORS)
    if doors != list(CONTROL):
        warm()
    sys.addaudithook(watch)
    Path("warmed").touch()
    for title, path in files:
        for door in doors:
            sys.stdout.write(json.dumps(try_door(title, door, path)) + "\n")
