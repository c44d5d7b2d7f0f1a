"""How good an encoder is: retrieval, zero-shot classification, and what the text length does."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports

if TYPE_CHECKING:
    from longclip.evaluation.embed import BadImage, ImageEmbeddings, embed_images, embed_texts
    from longclip.evaluation.encoder import Encoder
    from longclip.evaluation.evidence import Evidence, Mark, text_evidence
    from longclip.evaluation.lengths import LengthCurve, characters_read, recall_by_length
    from longclip.evaluation.measure import EvaluationResult, TextRetrieval, evaluate
    from longclip.evaluation.metrics import (
        RetrievalRanks,
        RetrievalResult,
        retrieval_ranks,
        retrieval_recall,
        strongest_rivals,
    )
    from longclip.evaluation.pools import TextPool, long_texts, short_texts, text_pool
    from longclip.evaluation.report import ReportData, render_report, write_report
    from longclip.evaluation.report_gallery import Answer, Query
    from longclip.evaluation.report_tables import Cell, ResultsTable, Row, results_tables
    from longclip.evaluation.templates import IMAGENET_TEMPLATES
    from longclip.evaluation.zero_shot import ZeroShotResult, top1_accuracy, zero_shot_classifier

_EXPORTS = {
    "Answer": "report_gallery",
    "BadImage": "embed",
    "Cell": "report_tables",
    "Encoder": "encoder",
    "EvaluationResult": "measure",
    "Evidence": "evidence",
    "IMAGENET_TEMPLATES": "templates",
    "ImageEmbeddings": "embed",
    "LengthCurve": "lengths",
    "Mark": "evidence",
    "Query": "report_gallery",
    "ReportData": "report",
    "ResultsTable": "report_tables",
    "RetrievalRanks": "metrics",
    "RetrievalResult": "metrics",
    "Row": "report_tables",
    "TextPool": "pools",
    "TextRetrieval": "measure",
    "ZeroShotResult": "zero_shot",
    "characters_read": "lengths",
    "embed_images": "embed",
    "embed_texts": "embed",
    "evaluate": "measure",
    "long_texts": "pools",
    "recall_by_length": "lengths",
    "render_report": "report",
    "results_tables": "report_tables",
    "retrieval_ranks": "metrics",
    "retrieval_recall": "metrics",
    "short_texts": "pools",
    "strongest_rivals": "metrics",
    "text_evidence": "evidence",
    "text_pool": "pools",
    "top1_accuracy": "zero_shot",
    "write_report": "report",
    "zero_shot_classifier": "zero_shot",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "IMAGENET_TEMPLATES",
    "Answer",
    "BadImage",
    "Cell",
    "Encoder",
    "EvaluationResult",
    "Evidence",
    "ImageEmbeddings",
    "LengthCurve",
    "Mark",
    "Query",
    "ReportData",
    "ResultsTable",
    "RetrievalRanks",
    "RetrievalResult",
    "Row",
    "TextPool",
    "TextRetrieval",
    "ZeroShotResult",
    "characters_read",
    "embed_images",
    "embed_texts",
    "evaluate",
    "long_texts",
    "recall_by_length",
    "render_report",
    "results_tables",
    "retrieval_ranks",
    "retrieval_recall",
    "short_texts",
    "strongest_rivals",
    "text_evidence",
    "text_pool",
    "top1_accuracy",
    "write_report",
    "zero_shot_classifier",
]
