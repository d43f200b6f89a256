"""Reports: of an audit as page, paper, Markdown, JUnit, model card, sheet, tests; of explanations as page and paper."""

from xai.reports.explained import report as report
from xai.reports.regression import write_tests as write_tests
from xai.reports.translation import translate as translate
from xai.reports.write import FILES as FILES
from xai.reports.write import write_report as write_report
