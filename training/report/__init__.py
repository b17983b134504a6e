"""The two-week report: what routing earned against one fixed model, where it loses, and what has drifted."""

from training.report.facts import Question
from training.report.writing import Written, write_report

__all__ = ["Question", "Written", "write_report"]
