"""Deep dreams and feature pictures: what a layer, a channel or a class looks like to the network."""

from xai.dreams.dream import dream as dream
from xai.dreams.plan import Wish as Wish
from xai.dreams.record import DeepDream as DeepDream
from xai.dreams.settings import Settings as Settings
