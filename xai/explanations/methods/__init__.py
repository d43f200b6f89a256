"""Explanation methods, one file each."""

MODULES = {  # name: the file that registers it
    "attention_rollout": "attention_rollout",
    "deeplift": "deeplift",
    "eigencam": "eigencam",
    "gradcam": "gradcam",
    "gradcam++": "gradcam_plus_plus",
    "gradient_shap": "gradient_shap",
    "guided_backprop": "guided_backprop",
    "guided_gradcam": "guided_gradcam",
    "hirescam": "hirescam",
    "input_x_gradient": "input_x_gradient",
    "integrated_gradients": "integrated_gradients",
    "kernelshap": "kernelshap",
    "layercam": "layercam",
    "lime": "lime",
    "occlusion": "occlusion",
    "rise": "rise",
    "saliency": "saliency",
    "scorecam": "scorecam",
    "smoothgrad": "smoothgrad",
}
