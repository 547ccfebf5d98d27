"""``captum-proto generate``: prototypes of classes."""

from __future__ import annotations

import argparse

from captum_proto._utils.class_names import label_of
from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.experiments.generate import Generate
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto generate --model efficientnet-lite0 --target 558 --target 12 --target 669 --out flute-finch-net
  captum-proto generate --model torchvision:resnet18 --target "house finch" --count 4 --autocast bfloat16 --out finches
  captum-proto generate --model torchvision:resnet50 --checkpoint mine.safetensors --target 151-268 --out dogs
  captum-proto generate --model nets/mine.py:factory --image-shape 1 28 28 --target 3 --transform none --out threes
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "generate", "make prototypes of classes", _EXAMPLES)
    shared.add_model(parser)
    shared.add_targets(parser)
    shared.add_generation(parser)
    shared.add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    check_given(args)
    options = shared.generation_arguments(args)
    named = shared.load(args)
    targets = shared.classes(args.target, named)
    repeated = [target for target in targets for _ in range(shared.count_of(args, 1))]
    prototypes = carry_out(
        Generate(named, repeated, options, seed=args.seed, batch_size=args.batch_size), args.out, **shared.output(args)
    )
    transformed = options["transform"] is not None or bool(options.get("noise"))
    print("target, seed: logit and probability as it is" + ("; expected under the transforms" if transformed else ""))
    for i, target in enumerate(prototypes.target):
        line = f"{label_of(target, named.class_names)}, {prototypes.seeds[i]}: {float(prototypes.logits[i]):.2f}, "
        line += f"p = {float(prototypes.probabilities[i]):.4f}"
        if transformed:
            line += f"; {float(prototypes.transformed_logits[i]):.2f}, p = {float(prototypes.transformed_probabilities[i]):.4f}"
        print(line)
    print(f"written: {args.out}")
