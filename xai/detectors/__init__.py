"""Out-of-distribution scores, one file per detector, on logits and penultimate features of one pass."""

from xai.detectors import ash as ash
from xai.detectors import energy as energy
from xai.detectors import fdbd as fdbd
from xai.detectors import gen as gen
from xai.detectors import hbos as hbos
from xai.detectors import knn as knn
from xai.detectors import mahalanobis as mahalanobis
from xai.detectors import mahalanobis_plus_plus as mahalanobis_plus_plus
from xai.detectors import maxlogit as maxlogit
from xai.detectors import msp as msp
from xai.detectors import odin as odin
from xai.detectors import react as react
from xai.detectors import rmd as rmd
from xai.detectors import scale as scale
from xai.detectors import vim as vim
from xai.detectors._base import DETECTORS as DETECTORS
from xai.detectors._base import Detector as Detector
from xai.detectors._base import Fitted as Fitted
