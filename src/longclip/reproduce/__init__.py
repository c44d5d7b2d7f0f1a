"""Experiments of papers, from weights to the tables beside their published numbers."""

from typing import TYPE_CHECKING

from longclip.util.lazy import export_lazily

if TYPE_CHECKING:
    from longclip.reproduce.config import ReproduceConfig as ReproduceConfig
    from longclip.reproduce.experiments import EXPERIMENTS as EXPERIMENTS
    from longclip.reproduce.plan import Plan as Plan
    from longclip.reproduce.plan import make_plan as make_plan
    from longclip.reproduce.run import reproduce as reproduce

export_lazily(__name__)
