"""The states of a network dissection, chunk by chunk of the images, in the files of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from captum_proto._utils.files import load_tensors, save_tensors
from captum_proto.concept import Dissection
from captum_proto.concept.dissection_passes import DissectionPasses, end_pass, thresholds_of
from captum_proto.concept.tally import Counts
from captum_proto.stats.quantiles import Quantiles

#: The folders of what chunks come to in each pass for thresholds, of what these add up to, and of counts.
PASS, MERGED, COUNTS = "pass", "merged", "counts"
#: Passes for thresholds that have tasks; what is not known after them, as of float64, is found in one go.
PASSES = 3
#: What is in the files.
_LEVELS_KIND, _COUNTS_KIND = "quantiles of activations", "counts of network dissection"


@dataclass(frozen=True)
class LayerChunks:
    """
    The states of one layer, chunk by chunk, in the folder of a run.

    Args:
        folder (Path): Of the run.
        place (str): Of the layer among all.
        name (str): Its name.
        passes (DissectionPasses): Over the images, of this layer alone.
        chunk (int): Images in a chunk at most.
    """

    folder: Path
    place: str
    name: str
    passes: DissectionPasses
    chunk: int

    def look(self, number: int, first: int) -> None:
        """One pass for thresholds over one chunk; where they are known, there is nothing to do."""
        levels = self._merged(number - 1)
        if not levels.finished:
            self.passes.look({self.name: levels}, self._chunks[first])
            save_tensors(self._path(f"{PASS}{number}", first), _LEVELS_KIND, levels.state_dict(), {}, overwrite=True)

    def add_up(self, number: int) -> None:
        """What the chunks of a pass come to; after the last pass that has tasks, all that is missing."""
        levels = self._merged(number - 1)
        if not levels.finished:
            for first in self._chunks:
                part = self.passes.start()[self.name]
                part.load_state_dict(load_tensors(self._path(f"{PASS}{number}", first), _LEVELS_KIND)[0])
                levels.merge(part)
            end_pass({self.name: levels})
        if number == PASSES:
            self.passes.finish({self.name: levels})
        save_tensors(self._path_merged(number), _LEVELS_KIND, levels.state_dict(), {}, overwrite=True)

    def count(self, first: int) -> None:
        """Where units fire in one chunk."""
        found = self.passes.count(self._thresholds(), self._chunks[first], first)
        save_tensors(self._path(COUNTS, first), _COUNTS_KIND, found.state_dict(), {}, overwrite=True)

    def result(self) -> Dissection:
        """What the counts of all chunks come to."""
        counts: Counts | None = None
        for first in self._chunks:
            part = Counts.restored(load_tensors(self._path(COUNTS, first), _COUNTS_KIND)[0])
            if counts is None:
                counts = part
            else:
                counts.merge(part)
        assert counts is not None  # there is at least one image
        return self.passes.result(self._thresholds(), counts)

    @cached_property
    def _chunks(self) -> dict[int, list[list[int]]]:
        return chunks_of(self.passes.batches, self.chunk)

    def _thresholds(self) -> dict[str, Tensor]:
        return thresholds_of({self.name: self._merged(PASSES)})

    def _merged(self, number: int) -> Quantiles:
        """The state after a pass, onto the CPU."""
        levels = self.passes.start()[self.name]
        if number:
            levels.load_state_dict(load_tensors(self._path_merged(number), _LEVELS_KIND)[0])
        return levels

    def _path_merged(self, number: int) -> Path:
        return self.folder / MERGED / self.place / f"{number}.safetensors"

    def _path(self, kind: str, first: int) -> Path:
        return self.folder / kind / self.place / f"{first:07d}.safetensors"


def chunks_of(batches: Sequence[list[int]], chunk: int) -> dict[int, list[list[int]]]:
    """
    Batches in chunks of at most so many images, but at least one batch each.

    Returns:
        dict[int, list[list[int]]]: By how many images go before.

    Examples::

        >>> chunks_of([[3, 1], [0, 4], [2]], 4)
        {0: [[3, 1], [0, 4]], 4: [[2]]}
    """
    each = max(1, chunk // len(batches[0]))  # none is larger than the first
    found, first = dict[int, list[list[int]]](), 0
    for begin in range(0, len(batches), each):
        found[first] = list(batches[begin : begin + each])
        first += sum(map(len, found[first]))
    return found


__all__ = ["COUNTS", "MERGED", "PASS", "PASSES", "LayerChunks", "chunks_of"]
