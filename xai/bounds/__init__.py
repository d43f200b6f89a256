"""Proofs: bounds on what a network can answer when its input moves."""

from xai.bounds.certify import certify as certify
from xai.bounds.certify import output_bounds as output_bounds
from xai.bounds.linear import METHODS as METHODS
from xai.bounds.prover import Prover as Prover
from xai.bounds.result import Certificate as Certificate
from xai.bounds.result import OutputBounds as OutputBounds
