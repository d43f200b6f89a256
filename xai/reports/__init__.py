"""Reports of an audit: a page, paper, Markdown, JUnit, a model card, a sheet, and tests made of its findings."""

from xai.reports.regression import write_tests as write_tests
from xai.reports.translation import translate as translate
from xai.reports.write import FILES as FILES
from xai.reports.write import write_report as write_report
