"""Checkpoints as bytes, good ones and others, for the tests of the file guard."""

import io
import warnings
import zipfile

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


def check_line(error):
    """One line in plain words that does not tell how to switch the protection off."""
    text = str(error)
    assert text.isprintable()
    assert "weights_only" not in text
    assert "allowlist" not in text
    assert "safe_globals" not in text
