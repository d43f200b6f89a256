"""Settings that the dashboard was started with.

They include whether it asks for a sign-in; Streamlit is not imported.
"""

import json
import os
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xai

MODEL_VARIABLE = "XAI_DASHBOARD_MODEL"
SETTINGS_VARIABLE = "XAI_DASHBOARD_MODEL_SETTINGS"
DATA_VARIABLE = "XAI_DASHBOARD_DATA"
ARCH_VARIABLE = "XAI_DASHBOARD_ARCH"
AUDITS_VARIABLE = "XAI_DASHBOARD_AUDITS"
_FILE = Path(".streamlit") / "secrets.toml"
_TABLE = "auth"


def audits_folder() -> Path:
    """Return where audits are: the folder named at the start, or `audits/` beside it."""
    return Path(os.environ.get(AUDITS_VARIABLE) or "audits").absolute()


def given_model() -> str | None:
    """Return the model that was named when the dashboard was started; None for none."""
    return os.environ.get(MODEL_VARIABLE) or None


def operators() -> tuple[str, ...]:
    """Return the architectures that were named when the dashboard was started: code of whoever started it."""
    return tuple(part for part in os.environ.get(ARCH_VARIABLE, "").split(",") if part)


def given_settings(name: str) -> dict[str, Any]:
    """Return the settings of `xai.load` that the model named at the start was given; none for another."""
    if name != given_model():
        return {}
    return dict(json.loads(os.environ.get(SETTINGS_VARIABLE) or "{}"))


def sign_in_configured() -> bool:
    """Say whether a provider is set up.

    Raises:
        InputError: the file that should say so cannot be read.
    """
    for file in (Path.cwd() / _FILE, Path.home() / _FILE):
        if file.is_file():
            try:
                if _TABLE in tomllib.loads(file.read_text(encoding="utf-8")):
                    return True
            except (OSError, ValueError) as error:
                raise xai.InputError(f"{file}: expected TOML with a table [auth], but it cannot be read.") from error
    return False


def check_sign_in() -> None:
    """Check that there is a sign-in before anybody else can reach the dashboard.

    Raises:
        XaiError: there is none, or the package that it needs is missing.
    """
    if not sign_in_configured():
        raise xai.InputError(
            f"Others may reach the dashboard only when they sign in: set up a provider as [auth] in {_FILE} first."
        )
    if find_spec("authlib") is None:
        raise xai.XaiError("Signing in needs an optional package: pip install 'streamlit[auth]'")
