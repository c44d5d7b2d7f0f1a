"""How good an encoder is: retrieval, zero-shot classification, and what the text length does."""

from typing import TYPE_CHECKING

from longclip._lazy import lazy_exports
from longclip.errors import EncoderError  # noqa: F401 (kept importable from here)

if TYPE_CHECKING:
    from longclip.evaluation.benchmarks.catalogue import BENCHMARKS, SUITES
    from longclip.evaluation.benchmarks.opening import open_benchmark
    from longclip.evaluation.cache import EmbeddingCache
    from longclip.evaluation.embed import BadImage, ImageEmbeddings, embed_images, embed_texts
    from longclip.evaluation.encoder import Encoder
    from longclip.evaluation.encoders.opening import open_encoder
    from longclip.evaluation.encoders.precomputed import PrecomputedEncoder, export_inputs
    from longclip.evaluation.evidence import Evidence, Mark, text_evidence
    from longclip.evaluation.measure import EvaluateConfig, evaluate
    from longclip.evaluation.pools import TextPool, long_texts, short_texts, text_pool
    from longclip.evaluation.probes.lengths import LengthCurve, characters_read, recall_by_length
    from longclip.evaluation.probes.text_probes import TextProbes, probe_texts
    from longclip.evaluation.ranking import (
        RetrievalRanks,
        RetrievalResult,
        retrieval_ranks,
        retrieval_recall,
        strongest_rivals,
    )
    from longclip.evaluation.report import ReportData, render_report, write_report
    from longclip.evaluation.report_gallery import Answer, Query
    from longclip.evaluation.report_tables import Cell, ResultsTable, Row
    from longclip.evaluation.results import EvaluationResult, TextRetrieval
    from longclip.evaluation.session import run_session
    from longclip.evaluation.side_by_side import results_tables
    from longclip.evaluation.stats import (
        bootstrap_recall,
        bootstrap_top1,
        compare_recall,
        compare_top1,
    )
    from longclip.evaluation.templates import IMAGENET_TEMPLATES
    from longclip.evaluation.zero_shot import ZeroShotResult, top1_accuracy, zero_shot_classifier

_EXPORTS = {
    "Answer": "report_gallery",
    "BENCHMARKS": "benchmarks.catalogue",
    "BadImage": "embed",
    "Cell": "report_tables",
    "EmbeddingCache": "cache",
    "Encoder": "encoder",
    "EvaluateConfig": "measure",
    "EvaluationResult": "results",
    "Evidence": "evidence",
    "IMAGENET_TEMPLATES": "templates",
    "ImageEmbeddings": "embed",
    "LengthCurve": "probes.lengths",
    "Mark": "evidence",
    "PrecomputedEncoder": "encoders.precomputed",
    "Query": "report_gallery",
    "ReportData": "report",
    "ResultsTable": "report_tables",
    "RetrievalRanks": "ranking",
    "RetrievalResult": "ranking",
    "Row": "report_tables",
    "SUITES": "benchmarks.catalogue",
    "TextPool": "pools",
    "TextProbes": "probes.text_probes",
    "TextRetrieval": "results",
    "ZeroShotResult": "zero_shot",
    "bootstrap_recall": "stats",
    "bootstrap_top1": "stats",
    "characters_read": "probes.lengths",
    "compare_recall": "stats",
    "compare_top1": "stats",
    "embed_images": "embed",
    "embed_texts": "embed",
    "evaluate": "measure",
    "export_inputs": "encoders.precomputed",
    "long_texts": "pools",
    "open_benchmark": "benchmarks.opening",
    "open_encoder": "encoders.opening",
    "probe_texts": "probes.text_probes",
    "recall_by_length": "probes.lengths",
    "render_report": "report",
    "results_tables": "side_by_side",
    "retrieval_ranks": "ranking",
    "retrieval_recall": "ranking",
    "run_session": "session",
    "short_texts": "pools",
    "strongest_rivals": "ranking",
    "text_evidence": "evidence",
    "text_pool": "pools",
    "top1_accuracy": "zero_shot",
    "write_report": "report",
    "zero_shot_classifier": "zero_shot",
}

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)

__all__ = [
    "BENCHMARKS",
    "IMAGENET_TEMPLATES",
    "SUITES",
    "Answer",
    "BadImage",
    "Cell",
    "EmbeddingCache",
    "Encoder",
    "EvaluateConfig",
    "EvaluationResult",
    "Evidence",
    "ImageEmbeddings",
    "LengthCurve",
    "Mark",
    "PrecomputedEncoder",
    "Query",
    "ReportData",
    "ResultsTable",
    "RetrievalRanks",
    "RetrievalResult",
    "Row",
    "TextPool",
    "TextProbes",
    "TextRetrieval",
    "ZeroShotResult",
    "bootstrap_recall",
    "bootstrap_top1",
    "characters_read",
    "compare_recall",
    "compare_top1",
    "embed_images",
    "embed_texts",
    "evaluate",
    "export_inputs",
    "long_texts",
    "open_benchmark",
    "open_encoder",
    "probe_texts",
    "recall_by_length",
    "render_report",
    "results_tables",
    "retrieval_ranks",
    "retrieval_recall",
    "run_session",
    "short_texts",
    "strongest_rivals",
    "text_evidence",
    "text_pool",
    "top1_accuracy",
    "write_report",
    "zero_shot_classifier",
]
