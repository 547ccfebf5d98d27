"""An agent's value by feature, and its failures before and after an edit."""

from captum_proto.experiments.agent.page import agent_page_of
from captum_proto.experiments.agent.protocol import ORIGINAL, RANDOM, StudyAgent
from captum_proto.experiments.agent.setup import KNOWN, AgentSetup, agent_setup

__all__ = ["KNOWN", "ORIGINAL", "RANDOM", "AgentSetup", "StudyAgent", "agent_page_of", "agent_setup"]
