"""Reports: what an audit found, as a page, on paper, for a pull request, for continuous integration, as a model card."""

from xai.reports.write import FILES as FILES
from xai.reports.write import write_report as write_report
