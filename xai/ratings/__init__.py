"""Whether an explanation can be believed: checks with one verdict, and agreement between explanations."""

from xai.ratings.agreement import Agreement as Agreement
from xai.ratings.agreement import agreement as agreement
from xai.ratings.agreement import compare_baselines as compare_baselines
from xai.ratings.rate import rate_explanation as rate_explanation
from xai.ratings.result import MEANINGS as MEANINGS
from xai.ratings.result import Check as Check
from xai.ratings.result import Rating as Rating
