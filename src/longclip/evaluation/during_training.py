"""The former name of `longclip.evaluation.periodic`, kept for code that uses it."""

from longclip.evaluation.periodic import periodic_evaluation as periodic_evaluation
