"""Functions that stand between layers and bend what goes through them, each value by itself."""

from __future__ import annotations

#: By name, as functions of ``torch``, ``torch.nn.functional`` and tensors share theirs: near zero or for large values about the identity.
IDENTITIES = frozenset(
    (
        "celu",
        "clamp",
        "clamp_max",
        "clamp_min",
        "clip",
        "elu",
        "gelu",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "mish",
        "prelu",
        "relu",
        "relu6",
        "rrelu",
        "selu",
        "silu",
        "softplus",
        "softsign",
        "tanh",
        "threshold",
    )
)

__all__ = ["IDENTITIES"]
