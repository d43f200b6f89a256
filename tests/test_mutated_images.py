"""Damaged images through every door: an answer, or one line that names the file; no crash and no stray output.

Of sixteen formats, ten of which are refused whole or damaged, by their first bytes and before a decoder sees them.
A few hundred in `make test`; 100,000 through the interface and 2,000 through each other door by `make torture`.
"""

import io
import logging
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutants import IMAGES, UNREAD, damaged, mutants
from PIL import Image, ImageFile
from small_models import GapCnn

import xai
from xai.cli import main

LOG = logging.getLogger(__name__)  # figures are shown by `--log-cli-level=info`
LETTERS = 200
figures: dict[str, tuple[int, int]] = {}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty folder, so that a file's name is short; what Pillow logs is not caught by pytest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("PIL"), "propagate", False)


@pytest.fixture
def clf() -> xai.Classifier:
    return xai.Classifier(GapCnn(), input_size=(16, 16))


def line(error: Exception, name: str) -> str:
    """Return what was said, which is one short line that names the file."""
    text = str(error)
    assert text.isprintable(), text
    assert name in text
    assert len(text) <= LETTERS, text
    return text


def tally(count: int, call: Callable[[str, bytes], object], name: str = "p.png", seed: int = 0) -> int:
    """Give damaged images to a call, and return how many were refused."""
    refused = 0
    for kind, content in mutants(count, seed):
        try:
            call(kind, content)
        except xai.XaiError as error:
            line(error, name)
            refused += 1
    assert 0 < refused < count
    return refused


def quiet(capfd: pytest.CaptureFixture[str], door: str, count: int, refused: int) -> None:
    assert capfd.readouterr() == ("", "")
    figures[door] = (count, refused)


def many(few: int, count: int) -> list[Any]:
    return [few, pytest.param(count, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", many(480, 100_000))
def test_the_interface(clf: xai.Classifier, capfd: pytest.CaptureFixture[str], count: int) -> None:
    path = Path("p.png")

    def call(_: str, content: bytes) -> None:
        path.write_bytes(content)
        clf.predict(path)

    quiet(capfd, "predict(path)", count, tally(count, call))


@pytest.mark.parametrize("count", many(64, 2000))
def test_an_explanation_of_bytes(clf: xai.Classifier, capfd: pytest.CaptureFixture[str], count: int) -> None:
    def call(_: str, content: bytes) -> None:
        stream = io.BytesIO(content)
        stream.name = "p.png"
        assert np.isfinite(xai.explain(clf, stream, "saliency").heatmap).all()

    quiet(capfd, "explain(bytes)", count, tally(count, call, seed=1))


@pytest.mark.parametrize("count", many(32, 2000))
def test_the_command_line(capfd: pytest.CaptureFixture[str], count: int) -> None:
    path, refused = Path("p.png"), 0
    for _, content in mutants(count, 2):
        path.write_bytes(content)
        code = main(["explain", "p.png", "--model", "example:fashion", "--method", "saliency", "--device", "cpu"])
        shown = capfd.readouterr()
        assert code in {0, 2}
        assert shown.err.count("\n") == code // 2
        if code == 2:
            assert shown.out == ""
            assert shown.err.startswith("xai: p.png: ")
            assert len(shown.err) <= LETTERS
            refused += 1
    assert 0 < refused < count
    quiet(capfd, "xai explain", count, refused)


def folder_of(count: int, seed: int) -> Path:
    """Write damaged images as a data set of two classes."""
    for k, (kind, content) in enumerate(mutants(count, seed)):
        ending = "png" if kind in UNREAD else kind.split()[-1].replace("mpo", "jpg")  # folders skip other endings
        path = Path("data", "ab"[k % 2], f"{k}.{ending}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return Path("data")


@pytest.mark.parametrize("count", many(64, 2000))
def test_a_folder(capfd: pytest.CaptureFixture[str], count: int) -> None:
    data = xai.load_data(folder_of(count, 3))
    assert len(data) == count
    refused = 0
    for k in range(count):
        try:
            assert np.isfinite(data.images[k].numpy()).all()
        except xai.XaiError as error:
            line(error, data.ids[k])
            refused += 1
    assert 0 < refused < count
    quiet(capfd, "a folder", count, refused)


@pytest.mark.parametrize("count", many(64, 2000))
def test_an_audit_accounts_for_every_picture(
    clf: xai.Classifier, capfd: pytest.CaptureFixture[str], count: int
) -> None:
    folder = folder_of(count, 4)
    found = xai.audit(model=clf, data=str(folder), checks=[{"metric": "accuracy"}], out="out")
    told = found.document["data"]["data"]["accounting"]
    assert told["total"] == count == sum(told["counts"].values())
    assert 0 < told["counts"]["used"] < count
    quiet(capfd, "xai.audit", count, told["counts"]["unreadable"])


@pytest.mark.parametrize("count", many(64, 2000))
@pytest.mark.parametrize("compressed", [False, True])
def test_arrays(clf: xai.Classifier, capfd: pytest.CaptureFixture[str], count: int, *, compressed: bool) -> None:
    stream = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(stream, images=np.zeros((3, 16, 16, 3), np.uint8), labels=np.arange(3), sex=np.array(["f", "m", "f"]))
    draws, refused, path = np.random.default_rng(5), 0, Path("d.npz")
    for _ in range(count):
        path.write_bytes(damaged(stream.getvalue(), draws))
        try:
            data = xai.load_data(path)
            _ = [data.images[k] for k in range(len(data))], data.labels, [data.groups[name] for name in data.groups]
        except xai.XaiError as error:
            text = str(error)
            assert text.isprintable()
            assert "d.npz" in text or "d/00" in text
            assert len(text) <= LETTERS
            refused += 1
    assert 0 < refused < count
    quiet(capfd, f"npz, compressed={compressed}", count, refused)


@pytest.mark.parametrize("count", many(32, 2000))
def test_an_upload(clf: xai.Classifier, capfd: pytest.CaptureFixture[str], count: int) -> None:
    """What the dashboard does with the bytes of an upload."""
    pytest.importorskip("streamlit")
    from xai.dashboard.session.uploads import from_file

    def call(_: str, content: bytes) -> None:
        clf.predict(from_file("p.png", content).open())

    quiet(capfd, "an upload", count, tally(count, call, seed=6))


@pytest.mark.parametrize("count", many(32, 2000))
def test_a_zip(capfd: pytest.CaptureFixture[str], count: int) -> None:
    """What the dashboard does with an uploaded archive of images, damaged anywhere."""
    pytest.importorskip("streamlit")
    from xai.dashboard.session.uploads import add_data_zip

    stream, draws, refused = io.BytesIO(), np.random.default_rng(8), 0
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, kind in (("a/0.png", "png"), ("b/1.jpg", "jpeg"), ("b/2.gif", "gif")):
            archive.writestr(place, IMAGES[kind])
    for _ in range(count):
        try:
            data = xai.load_data(add_data_zip("d.zip", damaged(stream.getvalue(), draws)).source)
            _ = [data.images[k] for k in range(len(data))]
        except xai.XaiError as error:
            text = str(error)
            assert text.isprintable()
            refused += 1
    assert 0 < refused < count
    quiet(capfd, "a zip", count, refused)


@pytest.mark.parametrize("count", many(6, 2000))
def test_the_page(count: int) -> None:
    """The dashboard itself, from the upload to what the page shows."""
    testing = pytest.importorskip("streamlit.testing.v1")
    page = Path(xai.__file__).parent / "dashboard" / "pages" / "explain" / "page.py"
    app = testing.AppTest.from_file(str(page), default_timeout=60)
    app.query_params["model"] = "example:fashion"
    app.run()
    refused = 0
    for _, content in mutants(count, 7):
        app.file_uploader(key="image").upload("p.png", content)
        app.run()
        assert not app.exception
        assert len(app.error) <= 1
        refused += len(app.error)
        assert all(str(error.value).replace("\\", "").startswith("p.png: ") for error in app.error)
    assert 0 < refused < count
    figures["the page"] = (count, refused)


def test_there_are_enough_formats(clf: xai.Classifier) -> None:
    opened = {Image.open(io.BytesIO(content)).format for content in (*IMAGES.values(), *UNREAD.values())}
    assert len(opened) >= 10
    for content in IMAGES.values():
        Path("p.png").write_bytes(content)
        clf.predict("p.png")


def decoders(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return a set into which go the names of the parsers and of the decoders that Pillow uses from now on."""
    used: set[str] = set()
    init, found = ImageFile.ImageFile.__init__, Image._getdecoder

    def parser(self: Any, *given: Any, **more: Any) -> None:
        used.add(type(self).__name__)
        init(self, *given, **more)

    def decoder(mode: str, name: str, *given: Any) -> Any:
        used.add(name)
        return found(mode, name, *given)

    monkeypatch.setattr(ImageFile.ImageFile, "__init__", parser)
    monkeypatch.setattr(Image, "_getdecoder", decoder)
    return used


PARSERS = {f"{kind}ImageFile" for kind in ("Jpeg", "Png", "WebP", "Bmp", "Gif", "Tiff")}
DECODERS = {"jpeg", "zip", "raw", "bmp_rle", "gif", "libtiff", "packbits", "tiff_lzw"}


@pytest.mark.parametrize("kind", UNREAD)
def test_other_formats_are_refused_before_anything_reads_them(
    clf: xai.Classifier, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = decoders(monkeypatch)
    for name in {"p.png", f"p.{kind}"}:
        Path(name).write_bytes(UNREAD[kind])
        with pytest.raises(xai.XaiError, match="Give one of JPEG, PNG, WEBP, BMP, GIF, TIFF") as caught:
            clf.predict(name)
        line(caught.value, name)
    assert used <= PARSERS
    used.clear()
    Image.open(io.BytesIO(UNREAD[kind])).load()
    assert used - PARSERS - DECODERS  # it would be seen


def test_damage_does_not_lead_to_another_decoder(clf: xai.Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    used = decoders(monkeypatch)
    for content in IMAGES.values():
        Path("p.png").write_bytes(content)
        clf.predict("p.png")
    assert used >= PARSERS
    for _, content in mutants(240, 9, IMAGES):
        Path("p.png").write_bytes(content)
        with suppress(xai.XaiError):
            clf.predict("p.png")
    for _, content in mutants(240, 9, UNREAD):
        Path("p.png").write_bytes(content)
        with pytest.raises(xai.XaiError, match=r"p\.png: .*TIFF, or an \.npy array\.$"):
            clf.predict("p.png")
    assert used <= PARSERS | DECODERS


def test_the_figures() -> None:
    """Say what the tests above found, now that logging is heard again."""
    LOG.info("; ".join(f"{door}: {refused:,} of {count:,} refused" for door, (count, refused) in figures.items()))
