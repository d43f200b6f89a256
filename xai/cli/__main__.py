"""`python -m xai.cli`."""

import sys

from xai.cli import main

sys.exit(main())
