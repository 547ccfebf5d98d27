"""What commands share that compare where units fire with labels of concepts, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeVar

from captum_proto.capture import select_layers
from captum_proto.concept import ConceptDataset
from captum_proto.models import NamedModel
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol

#: In what is recorded of a run: where the labels are from.
CONCEPTS = "concepts"
Result = TypeVar("Result")


class ConceptProtocol(Protocol[Result]):
    """
    A protocol over the layers of a model and a data set of concepts.

    Attributes:
        named (NamedModel): The model.
        dataset (ConceptDataset): Images and labels.
        layers (sequence of str): Names or patterns.
        batch_size (int): Images at a time.
    """

    named: NamedModel
    dataset: ConceptDataset
    layers: Sequence[str]
    batch_size: int

    unit = "layer"

    @cached_property
    def names(self) -> list[str]:
        """The layers, one by one."""
        return list(select_layers(self.named.model, list(self.layers)))

    @property
    def image_size(self) -> tuple[int, int]:
        return self.named.image_shape[1], self.named.image_shape[2]

    def recorded(self, command: str, choices: Sequence[str]) -> dict[str, Any]:
        """The provenance of a command whose results depend on these attributes, beside the model and the data set."""
        return provenance(
            command,
            {
                "model": self.named.provenance(),
                "image_shape": self.named.image_shape,
                "concepts": self.dataset.digest(),
                "batch_size": self.batch_size,
                **{name: getattr(self, name) for name in ("layers", *choices)},
            },
        )

    def begun(self) -> dict[str, Any]:
        return {CONCEPTS: self.dataset.where, "layer_names": self.names}


__all__ = ["CONCEPTS", "ConceptProtocol"]
