"""Attacks, one file each."""

MODULES = {  # name: the file that registers it
    "apgd-ce": "apgd_ce",
    "apgd-dlr": "apgd_dlr",
    "apgd-t": "apgd_t",
    "autoattack": "autoattack",
    "bim": "bim",
    "cw": "cw",
    "ddn": "ddn",
    "deepfool": "deepfool",
    "fab-t": "fab_t",
    "fgsm": "fgsm",
    "fmn": "fmn",
    "mifgsm": "mifgsm",
    "noise": "noise",
    "pgd": "pgd",
    "spatial": "spatial",
    "square": "square",
}
