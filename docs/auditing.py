"""Make the figures of the page "Which concepts units fire at": networks that learn a shortcut, audited, edited, and shown it by pasting."""

from __future__ import annotations

import itertools

from captum_proto.concept import (
    CopyPaste,
    Description,
    Formula,
    NetworkDissection,
    ablation_effect,
    compare_descriptions,
    labels_as_descriptions,
    units_described,
)
from captum_proto.testing import ShapeClassifier, images_and_targets, spurious_shapes, train_shape_classifier

NETWORKS = 5
SIZE = (48, 48)


def describe(network: ShapeClassifier) -> list[Description]:
    """Each unit of the last convolution by the concept with which it agrees best."""
    found = NetworkDissection(network, ["features"], quantile=0.02, size=SIZE, draws=0).interpret(labeled, SIZE)
    return labels_as_descriptions(found["features"])


labeled = spurious_shapes(300, "labeled", seed=1)
marked = [train_shape_classifier("marked", seed) for seed in range(NETWORKS)]
clean = [train_shape_classifier("clean", seed) for seed in range(NETWORKS)]
of_marked, of_clean = ([describe(network) for network in networks] for networks in (marked, clean))
print("units described as text, by network:")
for name, several in (("trained with text", of_marked), ("without", of_clean)):
    print(f"  {name}:", [len(units_described(each, "text")) for each in several])
print(compare_descriptions([*itertools.chain(*of_marked)], [*itertools.chain(*of_clean)], "text").table())

adversarial = images_and_targets(spurious_shapes(500, "adversarial", seed=2))
without_text = images_and_targets(spurious_shapes(500, "clean", seed=2))
for seed, (network, described) in enumerate(zip(marked, of_marked, strict=True)):
    units = units_described(described, "text")
    print(f"\nnetwork {seed}, adversarial images, without the units {units}:")
    counts = None if seed == 0 else [0, len(units)]
    print(ablation_effect(network, "features", units, *adversarial, counts=counts).table())
    effect = ablation_effect(network, "features", units, *without_text, counts=[0, len(units)], random_choices=20)
    print("images without text: {:.1%} before, {:.1%} after".format(*(effect.accuracy(n).value for n in effect.counts)))
    tried = CopyPaste(network, "features", trials=100).interpret(
        units[0], Formula(labeled.label("text")), 0, labeled, labeled.targets(), SIZE
    )
    print(tried.table())
