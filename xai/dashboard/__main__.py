"""`python -m xai.dashboard`: start the dashboard."""

import argparse
import signal
import sys

import xai
from xai.dashboard.server.launch import launch


def main() -> int:
    """Read the command line and launch; 2 when it asks for something impossible."""
    parser = argparse.ArgumentParser(prog="xai dashboard", description="Open the dashboard in a browser.")
    parser.add_argument("--port", type=int)
    parser.add_argument("--model", help="a model to offer first, such as torchvision:resnet50")
    parser.add_argument("--model-settings", default="{}", metavar="JSON", help="settings of xai.load for that model")
    parser.add_argument("--data", help="a data set to offer first, such as a folder with one folder per class")
    parser.add_argument(
        "--arch",
        action="append",
        default=[],
        metavar="PACKAGE.MODULE:FACTORY",
        help="an architecture of yours that uploaded weights may be loaded into; may be given several times",
    )
    parser.add_argument("--audits", help="folder of audits, in place of audits/")
    parser.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which a proxy shows it to others, who have to sign in; may be given several times",
    )
    parser.add_argument("--public", action="store_true", help="listen on all interfaces (not possible)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the server ends, too
    try:
        return launch(
            options.port,
            options.model,
            options.data,
            settings=options.model_settings,
            arch=options.arch,
            audits=options.audits,
            hosts=options.host,
            public=options.public,
        )
    except xai.XaiError as error:
        sys.stderr.write(f"xai: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
