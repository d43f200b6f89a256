"""Sign-in, where whoever runs the dashboard has set up a provider: Streamlit's own OpenID Connect.

Streamlit reads `.streamlit/secrets.toml` in the folder that it is started in, or in the home folder.
"""

import tomllib
from importlib.util import find_spec
from pathlib import Path

import streamlit as st

import xai
from xai.dashboard.language import t

_FILE = Path(".streamlit") / "secrets.toml"
_TABLE = "auth"


def require_sign_in() -> None:
    """Where a provider is set up, show only a button to whoever has not signed in, and end the run there."""
    if not configured() or st.user.is_logged_in:
        return
    st.header(t("Sign in"), anchor=False)
    st.markdown(t("This dashboard is for those who have an account with its operator."))
    st.button(t("Sign in"), key="sign_in", on_click=st.login, icon=":material/login:", type="primary")
    st.stop()


def offer_sign_out() -> None:
    """Offer to sign out, where one has to sign in."""
    if configured():
        st.button(t("Sign out"), key="sign_out", on_click=st.logout, icon=":material/logout:")


def configured() -> bool:
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
    if not configured():
        raise xai.InputError(
            f"Others may reach the dashboard only when they sign in: set up a provider as [auth] in {_FILE} first."
        )
    if find_spec("authlib") is None:
        raise xai.XaiError("Signing in needs an optional package: pip install 'streamlit[auth]'")
