"""Adversarial search: one file per attack; `training` makes networks that hold out."""

from xai.attacks import apgd_ce as apgd_ce
from xai.attacks import apgd_dlr as apgd_dlr
from xai.attacks import apgd_t as apgd_t
from xai.attacks import autoattack as autoattack
from xai.attacks import bim as bim
from xai.attacks import cw as cw
from xai.attacks import ddn as ddn
from xai.attacks import deepfool as deepfool
from xai.attacks import fab_t as fab_t
from xai.attacks import fgsm as fgsm
from xai.attacks import fmn as fmn
from xai.attacks import mifgsm as mifgsm
from xai.attacks import noise as noise
from xai.attacks import pgd as pgd
from xai.attacks import spatial as spatial
from xai.attacks import square as square
from xai.attacks import training as training
from xai.attacks._base import ATTACKS as ATTACKS
from xai.attacks._base import Attack as Attack
from xai.attacks._result import AttackResult as AttackResult
