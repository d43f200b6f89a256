"""The process of the server: it makes ready what the first page needs while the browser is still opening."""

import sys
from threading import Thread

from streamlit.web import cli


def make_ready() -> None:
    """Import and run once what every page needs: a first picture would otherwise wait some seconds for it."""
    import torch

    import xai

    xai.explain(xai.load("example:fashion"), torch.zeros(1, 28, 28))


if __name__ == "__main__":
    Thread(target=make_ready, daemon=True).start()
    cli.main(args=sys.argv[1:], prog_name="streamlit")
