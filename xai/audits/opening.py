"""From settings to things: the model, the data sets, the baseline; everything is checked before any forward."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai.audits.config import Config, DataSource
from xai.audits.scene import DATA, Scene, open_role
from xai.core.classifier import Classifier
from xai.datasets import load_data
from xai.errors import InputError
from xai.models import load


def open_scene(config: Config, should_stop: Callable[[], bool] | None = None) -> Scene:
    """Load the model and read every picture once.

    Raises:
        InputError: something that cannot be used.
        NameLookupError: no such model or example.
    """
    classifier = _model(config)
    sources = {DATA: config.data, **config.others}
    roles = {name: _role(name, source, config, classifier) for name, source in sources.items()}
    if roles[DATA].labels is None:
        raise InputError(
            f"[data]: {roles[DATA].source} has no labels, and every check compares answers with the truth."
        )
    scene = Scene(classifier, roles, config.seed, should_stop)
    scene.check()
    return scene


def _model(config: Config) -> Classifier:
    settings = {"device": "auto", **config.model}
    source = settings.pop("source")
    if isinstance(source, Classifier):
        return source
    if isinstance(source, str):
        source = _placed(source, config.folder)
    return load(source, **settings)


def _role(name: str, given: DataSource, config: Config, classifier: Classifier) -> Any:
    source = given.source
    data = load_data(_placed(source, config.folder) if isinstance(source, str) else source, **given.settings)
    part = given.settings.get("part")
    shown = given.to_dict()["source"] + (f"@{part}" if part else "")
    return open_role(name, shown, data, classifier, given.n, config.seed)


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
