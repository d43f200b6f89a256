"""The process of the server: it makes ready what the first page needs while the browser is still opening."""

import gc
import sys
from threading import Thread

from streamlit.web import cli


def make_ready() -> None:
    """Import and run once what every page needs: a first picture would otherwise wait some seconds for it.

    Streamlit collects garbage after every rerun; what is imported by now is set aside, or that takes a fifth of a
    second each time.
    """
    import torch

    import xai

    xai.explain(xai.load("example:fashion"), torch.zeros(1, 28, 28))
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    Thread(target=make_ready, daemon=True).start()
    cli.main(args=sys.argv[1:], prog_name="streamlit")
