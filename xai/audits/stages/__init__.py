"""Work on pictures that several checks may share, one kind a file."""

from xai.audits.stages._base import Cost as Cost
from xai.audits.stages._base import Found as Found
from xai.audits.stages._base import Stage as Stage
from xai.audits.stages._base import joined as joined
from xai.audits.stages.alone import Alone as Alone
from xai.audits.stages.answers import Answers as Answers
from xai.audits.stages.attacked import Attacked as Attacked
from xai.audits.stages.certified import Certified as Certified
from xai.audits.stages.corrupted import Corrupted as Corrupted
from xai.audits.stages.explained import Explained as Explained
from xai.audits.stages.explained import Rated as Rated
from xai.audits.stages.trusted import Trusted as Trusted
