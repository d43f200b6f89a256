"""Explanation methods, one file each; this list of imports is checked against the folder."""

from xai.explainers import gradcam as gradcam
from xai.explainers._base import EXPLAINERS as EXPLAINERS
from xai.explainers._base import Explainer as Explainer
