"""Corruptions, one file per family; importing a file registers what is in it."""

from xai.corruptions import blur as blur
from xai.corruptions import colour as colour
from xai.corruptions import digital as digital
from xai.corruptions import geometric as geometric
from xai.corruptions import noise as noise
from xai.corruptions import spatter as spatter
from xai.corruptions import weather as weather
from xai.corruptions._base import CORRUPTIONS as CORRUPTIONS
from xai.corruptions._base import Corruption as Corruption
from xai.corruptions.apply import corrupt as corrupt
from xai.corruptions.apply import strip as strip
from xai.corruptions.critical import critical_severities as critical_severities
from xai.corruptions.mce import ALEXNET as ALEXNET
from xai.corruptions.mce import IMAGENET_C as IMAGENET_C
from xai.corruptions.mce import IMAGENET_C_EXTRA as IMAGENET_C_EXTRA
from xai.corruptions.mce import CorruptionError as CorruptionError
from xai.corruptions.mce import mce as mce
from xai.corruptions.result import CorruptionResult as CorruptionResult
from xai.corruptions.robustness import corruption_robustness as corruption_robustness
