"""Groups that fare differently, weak slices, faults of the data."""

from xai.fairness.faults import data_faults as data_faults
from xai.fairness.faults_result import DataFaults as DataFaults
from xai.fairness.groups import bias as bias
from xai.fairness.groups import bias_of_predictions as bias_of_predictions
from xai.fairness.groups_gaps import Gap as Gap
from xai.fairness.groups_gaps import GroupValue as GroupValue
from xai.fairness.groups_questions import METRICS as METRICS
from xai.fairness.groups_questions import BiasSettings as BiasSettings
from xai.fairness.groups_result import BiasResult as BiasResult
from xai.fairness.properties import PROPERTIES as PROPERTIES
from xai.fairness.properties import measure as measure
from xai.fairness.slices import slices as slices
from xai.fairness.slices import slices_of_predictions as slices_of_predictions
from xai.fairness.slices_result import Slice as Slice
from xai.fairness.slices_result import SliceResult as SliceResult
