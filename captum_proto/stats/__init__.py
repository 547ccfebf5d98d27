"""
Statistics: states that stream and add up (:mod:`.state`, :mod:`.moments`, :mod:`.top_k`, :mod:`.quantiles`), intervals and tests
(:mod:`.intervals`), and what may be said by these (:mod:`.judgments`).
"""

from captum_proto.stats.quantiles import Quantiles
from captum_proto.stats.top_k import TopK

__all__ = ["Quantiles", "TopK"]
