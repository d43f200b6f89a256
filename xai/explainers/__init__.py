"""Explanation methods, one file each; this list of imports is checked against the folder."""

from xai.explainers import eigencam as eigencam
from xai.explainers import gradcam as gradcam
from xai.explainers import gradcam_plus_plus as gradcam_plus_plus
from xai.explainers import hirescam as hirescam
from xai.explainers import layercam as layercam
from xai.explainers import occlusion as occlusion
from xai.explainers import scorecam as scorecam
from xai.explainers._base import EXPLAINERS as EXPLAINERS
from xai.explainers._base import Explainer as Explainer
