"""
The pictures of the gallery page: twelve units each of an early, a middle and a late layer of EfficientNet-Lite0.

``python docs/gallery.py`` makes them beside the photographs of scikit-image that excite each unit most, and puts the sheets into
docs/images. ``python docs/gallery.py --images DIR --judge MODEL --out FOLDER`` takes the photographs of a folder instead, with a score by
another network, and leaves docs alone.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image

from captum_proto.data import ImageCollection, photographs
from captum_proto.experiments.visualize import LayerUnits, NaturalExamples, Visualize, channels_in, stem_of
from captum_proto.models import load_model
from captum_proto.runs.tasks import carry_out

DOCS = Path(__file__).parent
#: Before their activation functions; what each is called on the page.
LAYERS = {"early": "_blocks.2._bn0", "middle": "_blocks.8._bn0", "late": "_blocks.14._bn0"}
#: Twelve units, evenly spaced over the layer: not chosen by what they look like.
COUNT = 12
#: A sheet in docs is at most so wide, and holds at most so many bytes.
WIDTH, BYTES = 900, 125_000


def spaced(width: int) -> tuple[int, ...]:
    """Evenly spaced units of a layer."""
    return tuple(round((place + 0.5) * width / COUNT) for place in range(COUNT))


def small(sheet: Path, path: Path) -> None:
    """A sheet as a JPEG that a page of documentation can hold."""
    with Image.open(sheet) as file:
        image = file.convert("RGB")
    image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    for quality in range(85, 20, -5):
        buffer = io.BytesIO()
        image.save(buffer, format="jpeg", quality=quality, optimize=True)
        if buffer.tell() <= BYTES:
            break
    path.write_bytes(buffer.getvalue())
    print(f"{path}: {len(buffer.getvalue()) / 1000:.0f} kB at quality {quality}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of photographs in place of scikit-image's")
    parser.add_argument("--judge", help="the model by whose features pictures are scored, such as efficientnet-lite1")
    parser.add_argument(
        "--k", type=int, help="highest and lowest images of each unit (default: 15; of scikit-image's 6)"
    )
    parser.add_argument("--pool", default="max", help="what an image scores: max or mean (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=128, help="default: %(default)s")
    parser.add_argument("--lr", type=float, default=0.1, help="default: %(default)s")
    parser.add_argument("--attempts", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=DOCS / "_build" / "gallery", help="default: %(default)s")
    args = parser.parse_args()
    named = load_model("efficientnet-lite0")
    shown = photographs(named.geometry) if args.images is None else ImageCollection.one_class(args.images)
    judge = None if args.judge is None else load_model(args.judge)
    natural = NaturalExamples(shown, k=args.k or (6 if args.images is None else 15), pool=args.pool, judge=judge)
    layers = [
        LayerUnits(layer, spaced(width), width) for layer, width in channels_in(named, [*LAYERS.values()]).items()
    ]
    options = {"steps": args.steps, "lr": args.lr, "attempts": args.attempts}
    protocol = Visualize(named, layers, options, batch_size=COUNT, natural=natural)
    carry_out(protocol, args.out, resume=args.out.exists(), show_progress=True)
    print(f"the page: {args.out / 'report.html'}")
    if args.images is None:
        for name, layer in LAYERS.items():
            small(args.out / f"{stem_of(layer)}.png", DOCS / "images" / f"gallery_{name}.jpg")


if __name__ == "__main__":
    main()
