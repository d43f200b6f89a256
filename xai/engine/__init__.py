"""The machine room: prepared copies of a model that answer the same, faster."""

from xai.engine.prepare import Prepared as Prepared
from xai.engine.prepare import prepare as prepare
