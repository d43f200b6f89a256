"""Start Streamlit so that nobody but this machine can reach it, and nothing is sent anywhere."""

import gc
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import xai
from xai.dashboard.environment import (
    ARCH_VARIABLE,
    AUDITS_VARIABLE,
    DATA_VARIABLE,
    MODEL_VARIABLE,
    SETTINGS_VARIABLE,
    check_sign_in,
)

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
ENTRY = Path(__file__).with_name("router.py")  # Streamlit runs it as a script
FLAGS: Mapping[str, object] = {
    "server.address": "127.0.0.1",
    "server.allowedHosts": ("localhost", "127.0.0.1"),  # against DNS rebinding: the default accepts any Host
    "server.enableCORS": True,  # "enable" here means that other origins are turned away
    "server.enableXsrfProtection": True,
    "server.enableStaticServing": False,
    "server.maxUploadSize": 200,  # of a model; images may have 20, see inputs.py
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": False,
    "browser.gatherUsageStats": False,
    "global.disableWidgetStateDuplicationWarning": True,  # a link is meant to win over the default
    "client.showErrorDetails": "none",
    "client.toolbarMode": "viewer",
    "theme.light.primaryColor": "#1d5fbf",  # away from the colours of the maps
    "theme.dark.primaryColor": "#7ab0ff",
}


def command(port: int | None, *, headless: bool, hosts: Sequence[str] = ()) -> list[str]:
    """Return the command line that starts the dashboard; it answers to `hosts` as well as to this machine.

    Raises:
        XaiError: no such port, or a host that is no name.
    """
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise xai.InputError(f"Expected the name of a host, such as audit.example.org, but got {host!r}.")
    flags = [f"--{name}={_plain(item)}" for name, value in FLAGS.items() for item in _each(value)]
    flags += [f"--server.allowedHosts={host}" for host in hosts]
    flags.append(f"--server.headless={_plain(headless)}")
    if port is not None:
        if not 1 <= port <= 65_535:
            raise xai.InputError(f"Expected a port from 1 to 65535, but got {port}.")
        flags.append(f"--server.port={port}")
    return [sys.executable, "-m", "xai.dashboard.server.launch", "run", str(ENTRY), *flags]


def launch(
    port: int | None = None,
    model: str | None = None,
    data: str | None = None,
    *,
    settings: str = "{}",
    arch: Sequence[str] = (),
    audits: str | None = None,
    hosts: Sequence[str] = (),
    public: bool = False,
) -> int:
    """Open the dashboard and stay until it is closed.

    Args:
        port: where it listens on 127.0.0.1; None takes the first free one from 8501 on.
        model: a specification for `xai.load` that is offered first.
        data: a data set for `xai.load_data` that is offered first, where its classes are the model's.
        settings: of `xai.load` for that model, JSON.
        arch: "package.module:factory", models that weight files may be loaded into; their code runs.
        audits: folder of audits; None takes `audits/` where the dashboard is started.
        hosts: names under which a proxy on this machine shows the dashboard to others; they have to sign in.
        public: not possible: the server itself listens on this machine only.

    Returns:
        Exit code of the server; 130 when interrupted.

    Raises:
        XaiError: `public`, `hosts` without a sign-in, no such port, or Streamlit is not installed.
    """
    if public:
        raise xai.InputError(
            "The dashboard listens on this machine only. Forward the port with `ssh -L`, or put a proxy with TLS and a "
            "sign-in before it: `--host NAME`."
        )
    if find_spec("streamlit") is None:
        raise xai.XaiError("The dashboard needs an optional package: pip install 'xai-toolkit[app]'")
    line = command(port, headless=bool(hosts) or not sys.stdout.isatty(), hosts=hosts)
    if hosts:
        check_sign_in()
    chosen = {MODEL_VARIABLE: model, DATA_VARIABLE: data, AUDITS_VARIABLE: audits}
    chosen[SETTINGS_VARIABLE] = settings
    chosen[ARCH_VARIABLE] = ",".join(arch)
    environment = os.environ | {name: value for name, value in chosen.items() if value}
    with subprocess.Popen(line, env=environment) as server:
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.wait()  # it got the same signal
            return 130
        finally:
            server.terminate()  # nothing when it has ended; else it would outlive this process


def _each(value: object) -> tuple[object, ...]:
    return value if isinstance(value, tuple) else (value,)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def serve() -> None:
    """Run Streamlit's server; it makes ready what the first page needs while the browser is still opening."""
    from streamlit.web import cli

    Thread(target=_make_ready, daemon=True).start()
    cli.main(args=sys.argv[1:], prog_name="streamlit")


def _make_ready() -> None:
    """Import and run once what every page needs: a first image would otherwise wait some seconds for it.

    Streamlit collects garbage after every rerun; what is imported by now is set aside, or that takes a fifth of a
    second each time.
    """
    import torch

    xai.explain(xai.load("example:fashion"), torch.zeros(1, 28, 28))
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    serve()
