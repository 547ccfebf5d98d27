"""``captum-proto generate``: prototypes of classes."""

from __future__ import annotations

import argparse
from pathlib import Path

from captum_proto._utils.class_names import label_of
from captum_proto._utils.errors import InputError
from captum_proto.cli import arguments as shared
from captum_proto.cli import other_inputs
from captum_proto.cli.given import check_given
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.generate import Generate
from captum_proto.experiments.natural_data import with_natural_images
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto generate --model efficientnet-lite0 --target 558 --target 12 --target 669 --out flute-finch-net
  captum-proto generate --model torchvision:resnet18 --target "house finch" --count 4 --autocast bfloat16 --out finches
  captum-proto generate --model torchvision:resnet50 --checkpoint mine.safetensors --target 151-268 --out dogs
  captum-proto generate --model nets/mine.py:factory --image-shape 1 28 28 --target 3 --transform none --out threes
  captum-proto generate --model efficientnet-lite0 --target 12 --preset matched --natural-images photos --out matched
  captum-proto generate --input tabular --model wine --networks 5 --out wine
  captum-proto generate --input text --model minilm-topics --target chess --language-model bigram --out chess
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(commands, "generate", "make prototypes of classes", _EXAMPLES)
    shared.add_model(parser)
    shared.add_targets(parser, required=False)
    shared.add_generation(parser)
    _add_natural_images(parser)
    shared.add_verifier(parser)
    other_inputs.add(parser)
    shared.add_output(parser)
    parser.set_defaults(run=run)


def _add_natural_images(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("natural images that prototypes are made with, for the presets matched and maco")
    group.add_argument(
        "--natural-images",
        metavar="DIR",
        help='an ImageNet-style tree, a folder per class, or a flat folder with classes in the file names; or "digits": of "matched" the '
        'images of each class, by which its prototypes cannot be judged afterwards; of "maco" the mean spectrum of all',
    )
    group.add_argument("--split", help="of an ImageNet-style tree (default: val, else what there is)")
    shared.add_class_table(group)
    shared.add_exif_orientation(group)
    group.add_argument("--limit", type=int, help="images of each class (default: all)")
    group.add_argument(
        "--spectrum",
        type=Path,
        metavar="FILE",
        help='of "maco" a magnitude spectrum that is there, .safetensors or .npy',
    )


def run(args: argparse.Namespace) -> None:
    if args.input != "image":
        return other_inputs.run(args)
    if args.target is None:
        raise InputError("target is missing; name a class with --target.")
    check_given(args)
    named = shared.load(args)
    options = shared.generation_arguments(args, named)
    targets = shared.classes(args.target, named)
    natural = None
    if args.natural_images is not None:
        natural = NaturalImages(
            args.natural_images,
            named.geometry,
            named.class_names,
            split=args.split,
            limit=args.limit,
            class_table=args.class_table,
        )
    options = with_natural_images(options, named, targets, natural, args.spectrum)
    repeated = [target for target in targets for _ in range(shared.count_of(args, 1))]
    prototypes = carry_out(
        Generate(
            named,
            repeated,
            options,
            seed=args.seed,
            batch_size=args.batch_size,
            verifiers=shared.verifiers(args, named),
        ),
        args.out,
        **shared.output(args),
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
