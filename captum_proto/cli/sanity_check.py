"""``captum-proto sanity-check``: do explanations change where the network knows nothing any more?"""

from __future__ import annotations

import argparse

from captum_proto.cli import arguments as shared
from captum_proto.cli.given import check_given
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.sanity_check import DEFAULT, METHODS, SanityCheck
from captum_proto.metrics.randomization import MEASURES
from captum_proto.metrics.randomization.result import MARGIN
from captum_proto.metrics.randomization.weights import INITS, ORDERS
from captum_proto.runs.tasks import carry_out

_EXAMPLES = """examples:
  captum-proto sanity-check --model digits --images digits --target 3 --target 7 --out digits-check
  captum-proto sanity-check --model efficientnet-lite0 --images photos --target 151-268 --target 80-100 --inputs 6 --seeds 3 --out check
  captum-proto sanity-check --model torchvision:resnet18 --images photos --method saliency --method grad_cam --stages layer4 --stages fc \\
      --out resnet-check
"""


def add(commands: shared.Commands) -> None:
    parser = shared.command(
        commands, "sanity-check", "see whether explanations change where the network knows nothing any more", _EXAMPLES
    )
    shared.add_model(parser)
    group = parser.add_argument_group("images")
    group.add_argument(
        "--images",
        required=True,
        metavar="DIR",
        help='photographs to explain, and of the classes of prototypes: as for evaluate; or "digits"',
    )
    group.add_argument("--split", help="of an ImageNet-style tree (default: val, else what there is)")
    shared.add_class_table(group)
    shared.add_exif_orientation(group)
    group.add_argument("--inputs", type=int, default=8, help="images that are explained (default: %(default)s)")
    group.add_argument(
        "--limit", type=int, help="natural images of each class that a prototype is compared with (default: all)"
    )
    group.add_argument(
        "--workers", type=int, default=2, help="threads that read images while the model works (default: %(default)s)"
    )
    group.add_argument("--image-batch", type=int, default=8, help="images at a time (default: %(default)s)")
    group = parser.add_argument_group("randomization")
    group.add_argument("--order", choices=ORDERS, default="cascading", help="default: %(default)s, from the output")
    group.add_argument("--init", choices=INITS, default="reset", help="how weights are drawn (default: %(default)s)")
    group.add_argument(
        "--stages",
        action="append",
        metavar="NUMBER|NAME",
        help="so many groups of layers; or the names of layers, repeated (default: 4)",
    )
    group.add_argument("--seeds", type=int, default=5, help="random networks (default: %(default)s)")
    group.add_argument(
        "--first-seed",
        type=int,
        default=0,
        help="of the random networks, which have this one and the next (default: %(default)s)",
    )
    group.add_argument(
        "--new-target",
        action="store_true",
        help="explain the class that each random network sees (default: that of the network itself)",
    )
    group = parser.add_argument_group("explanations")
    group.add_argument(
        "--method",
        action="append",
        choices=list(METHODS),
        help=f"repeat for several (default: {', '.join(DEFAULT)})",
    )
    group.add_argument("--layer", help="of Grad-CAM (default: the last that returns maps)")
    group.add_argument("--n-steps", type=int, default=50, help="of integrated gradients (default: %(default)s)")
    group.add_argument("--nt-samples", type=int, default=50, help="of SmoothGrad (default: %(default)s)")
    group.add_argument("--stdev", type=float, default=0.15, help="of SmoothGrad's noise (default: %(default)s)")
    group.add_argument(
        "--similarity",
        action="append",
        choices=MEASURES,
        help="repeat for several; the first is looked at first (default: spearman, and all others that the images are large enough for)",
    )
    group.add_argument(
        "--margin",
        type=float,
        default=MARGIN,
        help="a method passes of which less is left of the way from chance to no change (default: %(default)s)",
    )
    group = parser.add_argument_group("prototypes")
    group.add_argument(
        "--target",
        action="append",
        metavar="CLASS",
        help=f"{shared.CLASS}; repeat for several (default: no prototypes)",
    )
    group.add_argument(
        "--path-layers",
        action="append",
        metavar="NAME",
        help='of path similarity: name or pattern, "leaf" or "all"; repeat for several (default: all)',
    )
    shared.add_generation(parser)
    shared.add_output(parser)
    parser.set_defaults(run=run, preset="best")


def run(args: argparse.Namespace) -> None:
    check_given(args)
    named = shared.load(args)
    targets = shared.classes(args.target, named) if args.target else []
    images = NaturalImages(
        args.images,
        named.geometry,
        named.class_names,
        split=args.split,
        limit=args.limit,
        seed=args.seed,
        batch_size=args.image_batch,
        workers=args.workers,
        class_table=args.class_table,
    )
    protocol = SanityCheck(
        named,
        images,
        list(dict.fromkeys(targets)),
        methods=args.method or DEFAULT,
        inputs=args.inputs,
        layer=args.layer,
        order=args.order,
        similarity=args.similarity,
        init=args.init,
        stages=_stages(args.stages),
        seeds=range(args.first_seed, args.first_seed + args.seeds),
        new_target=args.new_target,
        margin=args.margin,
        n_steps=args.n_steps,
        nt_samples=args.nt_samples,
        noise=args.stdev,
        options=shared.generation_arguments(args),
        prototype_seed=args.seed,
        path_layers=args.path_layers,
        batch_size=args.image_batch,
    )
    table = carry_out(protocol, args.out, **shared.output(args))
    print(f"\n{table.table()}")
    print(f"written: {args.out}")


def _stages(given: list[str] | None) -> int | list[str]:
    if given is None:
        return 4
    return int(given[0]) if len(given) == 1 and given[0].isdigit() else given
