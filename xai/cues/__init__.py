"""Shortcuts: cues that are looked for in the data and planted into images, and whether a class follows them."""

from xai.cues import background as background
from xai.cues import blur as blur
from xai.cues import border as border
from xai.cues import brightness as brightness
from xai.cues import contrast as contrast
from xai.cues import corner_mark as corner_mark
from xai.cues import jpeg_quality as jpeg_quality
from xai.cues import mark as mark
from xai.cues import moving_mark as moving_mark
from xai.cues import tint as tint
from xai.cues import watermark as watermark
from xai.cues._base import CUES as CUES
from xai.cues._base import Cue as Cue
from xai.cues._base import Form as Form
from xai.cues._result import Response as Response
from xai.cues._result import ShortcutResult as ShortcutResult
from xai.cues._shortcuts import shortcuts as shortcuts
