"""What the paper reports: Prototype Generation (arXiv:2309.17144), sections 3 and 4 and its appendix."""

from __future__ import annotations

from dataclasses import dataclass

#: The classes of ImageNet that the paper makes prototypes of, from the house finch to the sewing machine.
CLASSES = (12, 34, 249, 429, 558, 640, 669, 694, 705, 760, 786)
#: Natural images of each.
IMAGES_PER_CLASS = 100
#: The class of Table 4.
GOLDFISH = 1
ACADEMIC_GOWN, MORTARBOARD = 400, 667


@dataclass(frozen=True)
class Published:
    """
    A figure of the paper.

    Attributes:
        value (float): As a fraction or a correlation.
        text (str): As the paper writes it.
    """

    value: float
    text: str


_RESNET18, _GOOGLENET = "torchvision:resnet18", "torchvision:googlenet"
#: By item, figure and model.
VALUES: dict[tuple[str, str, str], Published] = {
    ("table1", "prototype", _RESNET18): Published(0.54, "0.54 ± 0.06"),
    ("table1", "same_class", _RESNET18): Published(0.50, "0.50 ± 0.05"),
    ("table1", "other_class", _RESNET18): Published(0.41, "0.41 ± 0.06"),
    ("table1", "prototype", _GOOGLENET): Published(0.56, "0.56 ± 0.07"),
    ("table1", "same_class", _GOOGLENET): Published(0.50, "0.50 ± 0.05"),
    ("table1", "other_class", _GOOGLENET): Published(0.40, "0.40 ± 0.06"),
    ("fig4", "layers with D ≤ D_I", _RESNET18): Published(55 / 67, "55/67 = 82.1 %"),
    ("fig4", "layers with D ≤ D_I", _GOOGLENET): Published(150 / 223, "150/223 = 67.2 %"),
    ("fig5", "layers with SS ≥ SS_I", _RESNET18): Published(38 / 67, "38/67 = 56.7 %"),
    ("fig5", "layers with SS ≥ SS_I", _GOOGLENET): Published(147 / 224, "147/224 = 65.6 %"),
    ("table4", "best protocol", _RESNET18): Published(0.564, "0.564"),
    ("table4", "first over second", _RESNET18): Published(0.001, "0.001"),
    ("table2", "accuracy, lighter", _RESNET18): Published(0.725, "72.5 %"),
    ("table2", "accuracy, darker", _RESNET18): Published(0.60, "60 %"),
    ("table2", "p(academic gown), lighter", _RESNET18): Published(0.62, "0.62"),
    ("table2", "p(academic gown), darker", _RESNET18): Published(0.54, "0.54"),
    ("table3", "accuracy, without", _RESNET18): Published(0.923, "92.3 %"),
    ("table3", "accuracy, with", _RESNET18): Published(0.705, "70.5 %"),
    ("table3", "p(mortarboard), without", _RESNET18): Published(0.77, "0.77"),
    ("table3", "p(mortarboard), with", _RESNET18): Published(0.67, "0.67"),
    ("table3", "p(academic gown), without", _RESNET18): Published(0.05, "0.05"),
    ("table3", "p(academic gown), with", _RESNET18): Published(0.25, "0.25"),
}

__all__ = ["ACADEMIC_GOWN", "CLASSES", "GOLDFISH", "IMAGES_PER_CLASS", "MORTARBOARD", "VALUES", "Published"]
