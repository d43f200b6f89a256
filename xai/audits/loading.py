"""From settings to things: the model, the data sets, the baseline; everything is checked before any forward."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai.audits.config import Config, DataSettings
from xai.audits.context import DATA, Context, open_role
from xai.core.model.classifier import Classifier
from xai.datasets.dataset import Dataset
from xai.datasets.loading import load_data
from xai.errors import InputError
from xai.models.architectures import imports_from
from xai.models.loading import load


def open_scene(config: Config, should_stop: Callable[[], bool] | None = None) -> Context:
    """Load the model and read every picture once.

    Raises:
        InputError: something that cannot be used.
        NameLookupError: no such model or example.
    """
    classifier = open_model(config)
    sources = {DATA: config.data, **config.others}
    data = {name: _data(source, config) for name, source in sources.items()}  # all are found before any is read
    roles = {
        name: open_role(name, _shown(source), data[name], classifier, source.n, config.seed)
        for name, source in sources.items()
    }
    if roles[DATA].labels is None:
        raise InputError(
            f"[data]: {roles[DATA].source} has no labels, and every check compares answers with the truth."
        )
    scene = Context(classifier, roles, config.seed, should_stop)
    scene.check()
    return scene


def open_model(config: Config) -> Classifier:
    """Load the model; see `open_scene` for errors."""
    settings = {"device": "auto", **config.model}
    source = settings.pop("source")
    if isinstance(source, Classifier):
        return source
    if isinstance(source, str):
        source = _placed(source, config.folder)
    with imports_from(config.folder, settings.get("arch")):
        return load(source, **settings)


def _data(given: DataSettings, config: Config) -> Dataset:
    source = given.source
    return load_data(_placed(source, config.folder) if isinstance(source, str) else source, **given.settings)


def _shown(given: DataSettings) -> str:
    part = given.settings.get("part")
    return str(given.to_dict()["source"]) + (f"@{part}" if part else "")


def _placed(source: str, folder: Path) -> str:
    """Return a path relative to the file it stands in, where there is something; anything else as it is."""
    near = folder / source
    return str(near) if folder != Path() and not Path(source).is_absolute() and near.exists() else source


def baseline_path(config: Config) -> Path | None:
    """Return the place of the baseline."""
    if config.baseline is None:
        return None
    return Path(_placed(str(config.baseline), config.folder))


def with_defaults(config: Config, **given: Any) -> Config:
    """Return the same settings with those given here in place of the file's."""
    return replace(config, **{name: value for name, value in given.items() if value is not None})
