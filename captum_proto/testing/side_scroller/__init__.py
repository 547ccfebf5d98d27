"""A side-scroller in NumPy whose every object is known, and a small agent that plays it from its pixels."""

from captum_proto.testing.side_scroller.agent import ScrollerAgent, scroller_agent
from captum_proto.testing.side_scroller.environment import SideScroller, single_side_scroller

__all__ = ["ScrollerAgent", "SideScroller", "scroller_agent", "single_side_scroller"]
