from captum.attr import IntegratedGradients

from captum_proto import PathSimilarity, PrototypeGeneration, RandomAffine
from captum_proto.data import digits_images
from captum_proto.models import load_model

digits = load_model("digits")  # a small network, trained within seconds on scans of digits

generation = PrototypeGeneration(digits.model, preprocess=digits.preprocess)
prototypes = generation.generate(
    target=[3, 8],
    image_shape=digits.image_shape,
    transform=RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1)),  # upside down, a 6 is a 9
    high_frequency_weight=30.0,
    high_frequency_power=2,
)
attributions = IntegratedGradients(digits.logits).attribute(prototypes.images, target=[3, 8])

similarity = PathSimilarity(digits.model, preprocess=digits.preprocess)
threes = digits_images(classes=[3]).images
others = digits_images(classes=[0, 1, 2, 4, 5, 6, 7, 8, 9], limit=len(threes)).images
print(similarity.compare(prototypes.of((3,)), threes, others).table())
