"""When must the answer not be used: detectors fitted, calibrated, chosen, compared and explained."""

from xai.outliers.attack import OODAttack as OODAttack
from xai.outliers.choice import advise as advise
from xai.outliers.compare import compare_ood as compare_ood
from xai.outliers.comparison import OODComparison as OODComparison
from xai.outliers.detector import OODDetector as OODDetector
from xai.outliers.digits import DigitsTest as DigitsTest
from xai.outliers.digits import digits_test as digits_test
from xai.outliers.fit import fit_ood as fit_ood
from xai.outliers.judgement import Judgement as Judgement
