"""
Statistics: states that stream and add up (:mod:`.state`), intervals and tests (:mod:`.intervals`), and what may be said by these
(:mod:`.judgments`).
"""
