"""An agent in the environment it acts in: those that come with the package by name, and others from a file of the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import load_tensors
from captum_proto._utils.model import fingerprint
from captum_proto.data.environments import Levels
from captum_proto.data.minigrid_levels import minigrid_levels
from captum_proto.models.factory import call_factory
from captum_proto.testing import lava_agent, side_scroller
from captum_proto.testing.side_scroller import agent as scroller

#: Agents that come with the package.
KNOWN = ("side-scroller", "minigrid-lava")
#: The output that is attributed if no action is.
VALUE = "value"


@dataclass
class AgentSetup:
    """
    An agent, where it acts, and which of its layers to look at.

    Args:
        name (str): Of both.
        agent (nn.Module): From observations (N, 3, H, W) in [0, 1] to logits of actions (N, A) and values (N,).
        make (Callable): From a number N to an environment of N levels, as :class:`~captum_proto.data.environments.Levels` has it.
        layer (str): To which values are attributed: (N, C, h, w).
        kernel (str, optional): The layer that reads it, which is edited. Default: None, what ``layer`` returns is changed instead
        untrained (nn.Module, optional): The same network with random weights, as a control. Default: None
        hide (Callable, optional): From an object's name to a ``make`` in which it is not drawn. Default: None
        quantile (float, optional): Of a feature's sizes, above which it fires: one minus about what share of all pixels an object has.
            Default: 0.995
        settings (dict, optional): Where it is from, as JSON can hold it. Default: nothing
    """

    name: str
    agent: nn.Module
    make: Callable[[int], Levels]
    layer: str
    kernel: str | None = None
    untrained: nn.Module | None = None
    hide: Callable[[str], Callable[[int], Levels]] | None = None
    quantile: float = 0.995
    settings: dict[str, Any] = field(default_factory=dict)

    def policy(self, observations: Tensor) -> Tensor:
        """Logits of actions (N, A)."""
        logits: Tensor = self.agent(observations)[0]
        return logits

    def value(self, observations: Tensor) -> Tensor:
        """(N,)."""
        values: Tensor = self.agent(observations)[1]
        return values

    def score(self, output: str) -> Callable[[Tensor], Tensor]:
        """
        What is attributed.

        Args:
            output (str): "value", or the name of an action, for its logit.

        Returns:
            Callable: From observations (N, 3, H, W) to (N,).

        Raises:
            ValueError: If there is no such action.
        """
        if output == VALUE:
            return self.value
        actions = list(self.make(1).actions)
        if output not in actions:
            hint = nearest(output, [VALUE, *actions]) or f"; expected {VALUE} or one of {', '.join(actions)}."
            raise InputError(f'there is no output "{output}"{hint}')
        place = actions.index(output)
        return lambda observations: self.policy(observations)[:, place]

    def provenance(self) -> dict[str, Any]:
        """What results depend on."""
        return {
            "name": self.name,
            "weights": fingerprint(self.agent),
            "layer": self.layer,
            "kernel": self.kernel,
            "quantile": self.quantile,
            **self.settings,
        }


def agent_setup(name: str, checkpoint: Path | None = None, environment: str | None = None) -> AgentSetup:
    """
    An agent by name.

    Args:
        name (str): "side-scroller", "minigrid-lava", or FILE.py:FACTORY, a function that returns an :class:`AgentSetup`.
        checkpoint (Path, optional): Weights that ``python -m captum_proto.testing.train_agents`` wrote. Default: None, the package's
        environment (str, optional): Another environment of MiniGrid, for "minigrid-lava". Default: None

    Raises:
        ValueError: If there is no such agent, or it does not go with what was given.
        ImportError: If minigrid is asked for and not installed.
    """
    if environment is not None and name != "minigrid-lava":
        raise InputError(f'environment was given for "{name}"; only minigrid-lava takes one.')
    if name.rpartition(":")[0].endswith(".py"):
        if checkpoint is not None:
            raise InputError(f'checkpoint was given for "{name}"; load it in the function.')
        made = call_factory(name)
        if not isinstance(made, AgentSetup):
            raise InputTypeError(
                f'"{name}" returned a {type(made).__name__}; expected a captum_proto.experiments.agent.AgentSetup.'
            )
        return made
    if name == "side-scroller":
        trained = side_scroller.scroller_agent(trained=checkpoint is None)
        _load(trained, checkpoint, scroller.KIND)
        return AgentSetup(
            name,
            trained,
            side_scroller.SideScroller,
            "seen",
            "conv3",
            side_scroller.scroller_agent(trained=False, seed=1),
            lambda hidden: lambda count: side_scroller.SideScroller(count, (hidden,)),
        )
    if name == "minigrid-lava":
        where = environment or lava_agent.ENVIRONMENT
        crossing = lava_agent.lava_agent(trained=checkpoint is None)
        _load(crossing, checkpoint, lava_agent.KIND)
        return AgentSetup(
            where,
            crossing,
            lambda count: minigrid_levels(where, count),
            "seen",
            "conv3",
            lava_agent.lava_agent(trained=False, seed=1),
            quantile=0.95,
        )
    hint = nearest(name, KNOWN) or f"; expected {', '.join(KNOWN)} or FILE.py:FACTORY."
    raise InputError(f'there is no agent "{name}"{hint}')


def _load(agent: nn.Module, checkpoint: Path | None, kind: str) -> None:
    if checkpoint is not None:
        agent.load_state_dict(load_tensors(checkpoint, kind)[0])


__all__ = ["KNOWN", "VALUE", "AgentSetup", "agent_setup"]
