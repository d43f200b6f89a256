"""Shortcuts: cues that are planted into pictures, and whether a class follows them. One file per cue."""

from xai.cues import background as background
from xai.cues import blur as blur
from xai.cues import border as border
from xai.cues import brightness as brightness
from xai.cues import colour_cast as colour_cast
from xai.cues import corner_mark as corner_mark
from xai.cues import shared_region as shared_region
from xai.cues import texture_patch as texture_patch
from xai.cues._base import CUES as CUES
from xai.cues._base import Cue as Cue
from xai.cues._base import Form as Form
from xai.cues._result import Response as Response
from xai.cues._result import ShortcutResult as ShortcutResult
from xai.cues._shortcuts import shortcuts as shortcuts
