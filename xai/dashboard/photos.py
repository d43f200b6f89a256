"""A picture of one's own: kept on the shelf, so that a reload, another page or a link has it again."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from xai.dashboard.language import t
from xai.dashboard.pictures import Picture, from_file
from xai.dashboard.uploads import PREFIX, shelf
from xai.dashboard.words import file_stem, safe

TYPES = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"]
MEGABYTES = 20
KEPT = "upload"  # its name in the address
_SAMPLES = ("photo", "garment")  # a link to one of these wins over a picture brought before
_MOST = 64  # pictures on the shelf; those brought first go first
_DIGITS = 16


@dataclass(frozen=True)
class Photo:
    """A picture on the shelf, not decoded yet.

    Attributes:
        name: in the address; nobody finds it by guessing.
        file: as it was called.
        path: of its bytes.
    """

    name: str
    file: str
    path: Path

    def open(self) -> Picture:
        """Return the picture."""
        return from_file(self.file, self.path.read_bytes())


def upload_picture(kept: str = KEPT) -> Picture | None:
    """Take a picture file, as bytes: nothing is decoded here. It stays until it is taken away or another one comes.

    Args:
        kept: its name in the address.
    """
    _carry_on(kept)
    upload = st.file_uploader(t("Your picture"), TYPES, key="picture", max_upload_size=MEGABYTES)
    last = f"last {kept}"
    if upload is not None and st.session_state.get(last) != upload.file_id:
        st.session_state[last] = upload.file_id
        choose(kept, bring_photo(upload.name, upload.getvalue()).name)
    elif upload is None and st.session_state.pop(last, None) is not None:
        choose(kept, None)
    photo: Photo | None = shelf().photos.get(st.query_params.get(kept, ""))
    if photo is None:
        choose(kept, None)
        return None
    if upload is None:
        _show_kept(photo, kept)
    return photo.open()


def leave_page() -> None:
    """Forget which files are in the uploaders: another page has its own."""
    for key in [key for key in st.session_state if str(key).startswith("last ")]:
        del st.session_state[key]


def choose(kept: str, name: str | None) -> None:
    """Put a picture into the address, or take it out."""
    st.session_state[f"kept {kept}"] = name
    if name is not None:
        st.query_params[kept] = name
    elif kept in st.query_params:
        del st.query_params[kept]


def bring_photo(file: str, content: bytes) -> Photo:
    """Keep a picture file on the shelf."""
    digest = hashlib.sha256(content).hexdigest()
    photo = Photo(f"{PREFIX}{file_stem(Path(file).stem)}-{digest[:_DIGITS]}", file, shelf().folder / f"photo-{digest}")
    photos = shelf().photos
    if photo.name not in photos:
        photo.path.write_bytes(content)
        photos[photo.name] = photo
    while len(photos) > _MOST:
        _drop(next(iter(photos)))
    return photo


def _drop(name: str) -> None:
    gone = shelf().photos.pop(name, None)
    if gone is not None and all(one.path != gone.path for one in shelf().photos.values()):
        gone.path.unlink(missing_ok=True)


def _carry_on(kept: str) -> None:
    """Take over the picture of the page before, unless the link has a choice of its own."""
    before = st.session_state.get(f"kept {kept}")
    if kept in st.query_params:
        return
    if any(name in st.query_params for name in _SAMPLES):
        st.session_state[f"kept {kept}"] = None
    elif before is not None:
        st.query_params[kept] = before


def _show_kept(photo: Photo, kept: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/image: {safe(photo.file, 60)}", width="content")
        st.button(t("Take it away"), key=f"away {kept}", on_click=choose, args=(kept, None), icon=":material/close:")
