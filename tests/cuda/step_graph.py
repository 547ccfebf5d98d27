"""
Prototypes made on a GPU by a graph of the step, first thing in the process, and again step by step: they must be the same to the last bit.

    python tests/cuda/step_graph.py [STEPS]
"""

from __future__ import annotations

import json
import sys
import time

import torch

from captum_proto import PrototypeGeneration, Prototypes
from captum_proto.models import NamedModel, load_model


def made(named: NamedModel, steps: int, cuda_graph: bool) -> tuple[Prototypes, float]:
    """Prototypes of three digits, and the milliseconds of a step on average."""
    generation = PrototypeGeneration(named.model, named.preprocess)
    torch.accelerator.synchronize()
    begin = time.perf_counter()
    prototypes = generation.generate([3, 3, 8], named.image_shape, steps=steps, warmup_steps=16, cuda_graph=cuda_graph)
    torch.accelerator.synchronize()
    return prototypes, (time.perf_counter() - begin) * 1000 / (steps + 16)


def main() -> None:
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    named = load_model("digits", device="cuda")
    replayed, cold = made(named, steps, True)
    taken, stepwise = made(named, steps, False)
    _, warm = made(named, steps, True)
    record = replayed.settings["network"]["cuda_graph"]
    print(json.dumps({"record": record, "ms a step": {"replayed, cold": cold, "replayed": warm, "taken": stepwise}}))
    if not torch.equal(replayed.images, taken.images):
        raise SystemExit("replayed steps led elsewhere than taken ones")
    if not record["replayed_steps"]:
        raise SystemExit(f"no step was replayed: {record['reasons']}")


if __name__ == "__main__":
    main()
