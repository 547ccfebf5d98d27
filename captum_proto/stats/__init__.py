"""Statistics: states that stream and add up (:mod:`.state`), and intervals and tests (:mod:`.intervals`)."""
