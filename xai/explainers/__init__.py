"""Explanation methods, one file each; this list of imports is checked against the folder."""

from xai.explainers import attention_rollout as attention_rollout
from xai.explainers import deeplift as deeplift
from xai.explainers import eigencam as eigencam
from xai.explainers import gradcam as gradcam
from xai.explainers import gradcam_plus_plus as gradcam_plus_plus
from xai.explainers import gradient_shap as gradient_shap
from xai.explainers import guided_backprop as guided_backprop
from xai.explainers import guided_gradcam as guided_gradcam
from xai.explainers import hirescam as hirescam
from xai.explainers import input_x_gradient as input_x_gradient
from xai.explainers import integrated_gradients as integrated_gradients
from xai.explainers import kernelshap as kernelshap
from xai.explainers import layercam as layercam
from xai.explainers import lime as lime
from xai.explainers import occlusion as occlusion
from xai.explainers import rise as rise
from xai.explainers import saliency as saliency
from xai.explainers import scorecam as scorecam
from xai.explainers import smoothgrad as smoothgrad
from xai.explainers._base import EXPLAINERS as EXPLAINERS
from xai.explainers._base import Explainer as Explainer
