"""The measures of prototypes: what each is called, what it says, and whether more of it is better."""

from __future__ import annotations

from dataclasses import dataclass

#: What the values of a measure are, which decides how they are summed up: right or wrong; a number; a rank; a figure of a whole row.
SHARE, MEAN, MEDIAN, WHOLE = "share", "mean", "median", "whole"
#: The tables that the measures are shown in.
RECOGNITION, FEATURES, PATH = "recognition", "features", "path"


@dataclass(frozen=True)
class Measure:
    """
    A column of the table.

    Attributes:
        name (str): In files.
        label (str): In tables; "{}" stands for the verifier's name.
        kind (str): What its values are: "share", right or wrong; "mean", a number; "median", a rank; "whole", a single figure of all
            pictures, which no test is made of.
        family (str): The table that shows it: "recognition", "features" or "path".
        meaning (str): What it says.
        higher (bool): Whether more of it is better. Default: True
    """

    name: str
    label: str
    kind: str
    family: str
    meaning: str
    higher: bool = True


#: For so many prototypes of a class the coverage is measured, where there are as many.
COVERAGES = (1, 2, 4, 8)
_OF = "the natural images of its class"
_EVERY = [
    Measure("own_top1", "own top-1", SHARE, RECOGNITION, "the network it was made with gives its class first."),
    Measure("own_top5", "own top-5", SHARE, RECOGNITION, "that network has its class among its first five."),
    Measure("own_p", "own p", MEAN, RECOGNITION, "the probability of its class in that network."),
    Measure("top1", "top-1, {}", SHARE, RECOGNITION, "another network, the verifier, gives its class first."),
    Measure("top5", "top-5, {}", SHARE, RECOGNITION, "the verifier has its class among its first five."),
    Measure("relative", "R, {}", WHOLE, RECOGNITION, f"top-1 by the verifier over that of {_OF}: 1 is as well."),
    Measure(
        "kid",
        "KID, {}",
        MEAN,
        FEATURES,
        "unbiased squared MMD with a cubic kernel between pictures and natural images in the verifier's features.",
        higher=False,
    ),
    Measure(
        "retrieval",
        "rank, {}",
        MEDIAN,
        FEATURES,
        "the rank of the first photograph of its class among all photographs, by cosine in the verifier's features.",
        higher=False,
    ),
    Measure(
        "naming", "named, {}", SHARE, FEATURES, "of the classes asked for, its own is the nearest in these features."
    ),
    Measure(
        "naming_logits",
        "named by p, {}",
        SHARE,
        FEATURES,
        "of the classes asked for, the verifier gives its own the highest probability.",
    ),
    *(
        Measure(
            f"coverage_{count}",
            f"covered by {count}, {{}}",
            MEAN,
            FEATURES,
            f"the share of {_OF} that has one of {count} prototypes among its nearest neighbors in these features.",
        )
        for count in COVERAGES
    ),
    Measure("spearman", "Spearman", MEAN, PATH, f"path similarity: mean rank correlation over layers with {_OF}."),
    Measure("above_mean", "SS ≥ SS_I", MEAN, PATH, f"layers in which it is at least that of the mean of {_OF}."),
    Measure("above_every", "SS ≥ every I", MEAN, PATH, f"layers in which it is at least that of each of {_OF}."),
    Measure("l1_below", "D ≤ D_I", MEAN, PATH, f"layers whose L1 distance is at most that of {_OF}."),
    Measure(
        "criteria",
        "all three",
        SHARE,
        PATH,
        "classes in which the paper's criteria are met at once: Spearman at least that of natural images, in 56.7 % of the layers too, and "
        "D ≤ D_I in 82 %.",
    ),
    Measure("cosine", "cosine", MEAN, PATH, "mean cosine over layers with the mean natural activations."),
    Measure("pearson", "Pearson", MEAN, PATH, "mean Pearson correlation over layers with these."),
    Measure(
        "depth",
        "depth",
        MEAN,
        PATH,
        "the share of the depth from which on the normalized Spearman curve stays above one half.",
        higher=False,
    ),
    Measure(
        "sorted",
        "sorted",
        MEAN,
        PATH,
        "sorted path similarity, blind to positions: 0 as the same class, 1 as other classes.",
        higher=False,
    ),
    Measure(
        "sorted_median",
        "sorted ≤ median",
        MEAN,
        PATH,
        f"pictures that are at most as far by it as the median of {_OF}.",
    ),
    Measure(
        "nearest",
        "class rank",
        MEDIAN,
        PATH,
        "the rank of its own class by path similarity among the references of all classes.",
        higher=False,
    ),
]
#: Every measure, by name, in the order of the tables.
MEASURES = {measure.name: measure for measure in _EVERY}


#: Numbers that a table has in per cent, beside what is right or wrong.
PERCENT = {"above_mean", "above_every", "l1_below", "sorted_median", *(f"coverage_{count}" for count in COVERAGES)}

#: Numbers between 0 and 1 that a table has as they are.
SHARES = {"own_p", "depth"}


def column_label(key: str) -> str:
    """What a table calls a column: ``top-1, efficientnet-lite1``."""
    measure, _, verifier = key.partition("@")
    return MEASURES[measure].label.format(verifier)


__all__ = [
    "COVERAGES",
    "FEATURES",
    "MEAN",
    "MEASURES",
    "MEDIAN",
    "PATH",
    "PERCENT",
    "RECOGNITION",
    "SHARE",
    "SHARES",
    "WHOLE",
    "Measure",
    "column_label",
]
