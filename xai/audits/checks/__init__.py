"""Checks, one file each."""

MODULES = {  # name: the file that registers it
    "accuracy": "accuracy",
    "calibration": "calibration",
    "certified_accuracy": "certified_accuracy",
    "corruption_accuracy": "corruption_accuracy",
    "data_faults": "data_faults",
    "explanation_drift": "explanation_drift",
    "faithfulness": "faithfulness",
    "generalisation_gap": "generalisation_gap",
    "group_gap": "group_gap",
    "ood_detection": "ood_detection",
    "robust_accuracy": "robust_accuracy",
    "shortcuts": "shortcuts",
    "slices": "slices",
    "speed": "speed",
    "stability": "stability",
}
