"""Evaluation of encoders: retrieval, zero-shot classification, and effects of text length."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.encoders.encoder import Encoder as Encoder
    from longclip.encoders.open import open_encoder as open_encoder
    from longclip.encoders.precomputed import PrecomputedEncoder as PrecomputedEncoder
    from longclip.errors import EncoderError as EncoderError
    from longclip.evaluation.benchmarks.catalogue import open_benchmark as open_benchmark
    from longclip.evaluation.cache import EmbeddingCache as EmbeddingCache
    from longclip.evaluation.config import EvaluateConfig as EvaluateConfig
    from longclip.evaluation.disagreements import Evidence as Evidence
    from longclip.evaluation.disagreements import GalleryAnswer as GalleryAnswer
    from longclip.evaluation.disagreements import GalleryQuery as GalleryQuery
    from longclip.evaluation.disagreements import Mark as Mark
    from longclip.evaluation.disagreements import text_evidence as text_evidence
    from longclip.evaluation.embed import embed_images as embed_images
    from longclip.evaluation.embed import embed_texts as embed_texts
    from longclip.evaluation.inputs import export_inputs as export_inputs
    from longclip.evaluation.measure import evaluate as evaluate
    from longclip.evaluation.probes.lengths import LengthCurve as LengthCurve
    from longclip.evaluation.probes.lengths import characters_read as characters_read
    from longclip.evaluation.probes.lengths import recall_by_length as recall_by_length
    from longclip.evaluation.ranking import RetrievalResult as RetrievalResult
    from longclip.evaluation.ranking import TextPool as TextPool
    from longclip.evaluation.ranking import long_texts as long_texts
    from longclip.evaluation.ranking import retrieval_ranks as retrieval_ranks
    from longclip.evaluation.ranking import retrieval_recall as retrieval_recall
    from longclip.evaluation.ranking import short_texts as short_texts
    from longclip.evaluation.ranking import strongest_rivals as strongest_rivals
    from longclip.evaluation.ranking import text_pool as text_pool
    from longclip.evaluation.results import EvaluationResult as EvaluationResult
    from longclip.evaluation.results import TextProbes as TextProbes
    from longclip.evaluation.results import TextRetrieval as TextRetrieval
    from longclip.evaluation.stats import bootstrap_recall as bootstrap_recall
    from longclip.evaluation.stats import bootstrap_top1 as bootstrap_top1
    from longclip.evaluation.stats import compare_recall as compare_recall
    from longclip.evaluation.stats import compare_top1 as compare_top1
    from longclip.evaluation.tables import Cell as Cell
    from longclip.evaluation.tables import ResultsTable as ResultsTable
    from longclip.evaluation.tables import Row as Row
    from longclip.evaluation.tables import results_tables as results_tables
    from longclip.evaluation.zero_shot import IMAGENET_TEMPLATES as IMAGENET_TEMPLATES
    from longclip.evaluation.zero_shot import ZeroShotResult as ZeroShotResult
    from longclip.evaluation.zero_shot import top1_accuracy as top1_accuracy
    from longclip.evaluation.zero_shot import zero_shot_classifier as zero_shot_classifier

export_lazily(__name__)
