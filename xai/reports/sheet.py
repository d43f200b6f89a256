"""A table of all conditions as CSV, which a spreadsheet opens without computing anything."""

import csv
import io

from xai.audits import Audit
from xai.reports.words import harmless


def sheet(audit: Audit) -> str:
    """Return one row per condition of each check; numbers as numbers, texts as texts that are no formulas."""
    table = audit.table
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.astype(object).where(table.notna(), None).itertuples(index=False):
        writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in row])
    return stream.getvalue()
