"""Groups that fare differently, shortcuts, weak slices, faults of the data."""

from xai.fairness.groups import bias as bias
from xai.fairness.groups import bias_of_predictions as bias_of_predictions
from xai.fairness.groups_gaps import Gap as Gap
from xai.fairness.groups_gaps import GroupValue as GroupValue
from xai.fairness.groups_questions import METRICS as METRICS
from xai.fairness.groups_questions import BiasSettings as BiasSettings
from xai.fairness.groups_result import BiasResult as BiasResult
