"""Reports: pages of results that are one file, with nothing to run and nothing to fetch."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.report.models import ReportData as ReportData
    from longclip.report.models import model_report as model_report
    from longclip.report.models import render_report as render_report
    from longclip.report.models import write_report as write_report

export_lazily(__name__)
