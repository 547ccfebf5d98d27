"""
Digests of every table and tensor that the commands write at small settings, to see that a change of the code changes no result.

``python tests/digests.py record before.json`` on the tree as it was, ``record after.json`` on the tree as it is, and
``compare before.json after.json``. Digests are comparable on one machine with one PyTorch alone: networks round differently elsewhere.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

#: Names that were renamed on purpose, old to new: both spellings have one digest, so that what remains is a change of a value.
RENAMED = (
    ("feature visualisation", "feature_visualization"),
    ("feature visualization", "feature_visualization"),
    ("feature-visualization", "feature_visualization"),
    ("normalised", "normalized"),
    ("same class", "same_class"),
    ("other class", "other_class"),
    ("other-class", "other_class"),
    ("own image", "own_image"),
    ("own-image", "own_image"),
    ("other image", "other_image"),
    ("other-image", "other_image"),
    ("mean image", "mean_image"),
    ("grey", "gray"),
)
#: Columns whose name changed: *group* stood for a condition of a comparison and for a subgroup of images.
_COLUMNS = ("condition", "subgroup")


def canonical(text: str) -> str:
    for old, new in RENAMED:
        text = text.replace(old, new)
    for name in _COLUMNS:
        text = re.sub(rf"\b{name}\b", "group", text)
    return text


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def of_tensors(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    return {canonical(name): of_tensor(tensor) for name, tensor in tensors.items()}


def of_tensor(tensor: torch.Tensor) -> str:
    tensor = tensor.detach().cpu().contiguous()
    content = io.BytesIO()
    content.write(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    content.write(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest(content.getvalue())


def of_folder(folder: Path) -> dict[str, str]:
    """By relative path, and for tensors by name, the digest of every table and tensor."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = canonical(path.relative_to(folder).as_posix())
        if path.suffix in (".csv", ".txt"):
            # Images of a run lie in a temporary folder of its own.
            text = path.read_text(encoding="utf-8").replace(str(folder.parent), "")
            found[name] = digest(canonical(text).encode())
        elif path.suffix == ".safetensors":
            found |= {f"{name}:{tensor}": one for tensor, one in of_tensors(path).items()}
    return found


def command(*arguments: str) -> Callable[[Path], dict[str, str]]:
    def run(folder: Path) -> dict[str, str]:
        from captum_proto.cli import main

        words = [word.replace("{images}", str(folder / "images")) for word in arguments]
        code = main([*words, "--out", str(folder / "out"), "--no-progress"])
        if code != 0:
            raise SystemExit(f"{words[0]} ended with {code}.")
        return of_folder(folder / "out")

    return run


def with_scans(run: Callable[[Path], dict[str, str]]) -> Callable[[Path], dict[str, str]]:
    """With two folders of scans of eights, as PNG files."""

    def run_with_scans(folder: Path) -> dict[str, str]:
        from PIL import Image

        from captum_proto.data import digits_images

        images, _ = digits_images(classes=[8])
        for index, image in enumerate(images[:24]):
            path = folder / "images" / ("first" if index % 2 else "second") / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image[0] * 255).round().byte().numpy()).save(path)
        return run(folder)

    return run_with_scans


def of_prototypes(prototypes: Any) -> dict[str, str]:
    values = {name: getattr(prototypes, name) for name in ("images", "logits", "probabilities")}
    values |= {name: getattr(prototypes, f"transformed_{name}") for name in ("logits", "probabilities")}
    values |= {f"history.{name}": value for name, value in prototypes.history.items()}
    values |= {f"snapshots.{step}": value for step, value in prototypes.snapshots.items()}
    return {name: of_tensor(value) for name, value in values.items()}


def library(folder: Path) -> dict[str, str]:
    """What the commands above do not reach: options of generate, attribute, capture, scores of all kinds."""
    from captum_proto import PathSimilarity, PrototypeGeneration, capture
    from captum_proto.data import digits_images
    from captum_proto.metrics import pairwise_similarity
    from captum_proto.models import load_model
    from captum_proto.optim import PhaseImage

    named = load_model("digits")
    generation = PrototypeGeneration(named.model, named.preprocess)
    scans = digits_images(classes=[3], limit=12).images
    others = digits_images(classes=[5, 7], limit=12).images
    shape = named.image_shape
    cases: dict[str, dict[str, Any]] = {
        "superclass": {"target": [[1, 4], [2]], "steps": 6, "warmup_steps": 4},
        "batches": {"target": [1, 1, 2], "steps": 5, "warmup_steps": 2, "batch_size": 2, "snapshot_steps": (0, 3)},
        "pixels apart": {"target": [1, 1, 2], "steps": 5, "warmup_steps": 0, "diversity": "pixels"},
        "gram": {
            "target": [1, 1, 2],
            "steps": 5,
            "warmup_steps": 0,
            "diversity": "gram:conv2",
            "diversity_weight": 3.0,
        },
        "fourier": {
            "target": [1, 3],
            "steps": 5,
            "warmup_steps": 2,
            "parametrization": "fourier",
            "lr_schedule": "cosine",
        },
        "phase": {"target": [1, 3], "steps": 5, "warmup_steps": 0, "parametrization": PhaseImage.measured(scans)},
        "tolerance": {"target": [1, 3], "steps": 2, "warmup_steps": 9, "warmup_tolerance": 0.02},
        "preprocessed": {"target": 4, "steps": 4, "preprocess_first": True, "clamp": False, "high_frequency_power": 2},
        "unfolded": {"target": 4, "steps": 4, "fold_batch_norm": False, "channels_last": False, "transform": None},
    }
    found: dict[str, str] = {}
    for name, options in cases.items():
        target = options.pop("target")
        made = generation.generate(target, shape, **options)
        found |= {f"{name}/{key}": value for key, value in of_prototypes(made).items()}
    found["attribute"] = of_tensor(generation.attribute(scans[:2], target=5, steps=4))
    half = PrototypeGeneration(load_model("digits").model.half()).generate(3, shape, steps=3, warmup_steps=2)
    found |= {f"half/{key}": value for key, value in of_prototypes(half).items()}
    for repeat in ("last", "all"):
        outputs = capture(named.model, scans, preprocess=named.preprocess, repeat=repeat)
        found |= {f"capture {repeat}/{name}": of_tensor(value) for name, value in outputs.items()}
    for layers in (None, "leaf"):
        similarity = PathSimilarity(named.model, layers, named.preprocess, batch_size=5).fit(scans)
        scores = similarity.evaluate(others)
        found |= {f"scores {layers}/{name}": of_tensor(getattr(scores, name)) for name in ("spearman", "l1")}
        found |= {f"sums {layers}/{i}": of_tensor(one) for i, one in enumerate(similarity.reference.sums)}
    comparison = similarity.compare(generation.generate([3, 3], shape, steps=4), scans, others, ascent_steps=4)
    found |= {f"comparison/{canonical(k)}": of_tensor(v) for k, v in {**comparison.spearman}.items()}
    pairs = pairwise_similarity(scans[:4], named.model, ["conv2"], preprocess=named.preprocess)
    found |= {"pairs/difference": of_tensor(pairs.difference), "pairs/gram": of_tensor(pairs.gram["conv2"])}
    return found


_DIGITS = ("--model", "digits", "--images", "digits")
_FEW = ("--steps", "6", "--warmup-steps", "3")
RUNS: dict[str, Callable[[Path], dict[str, str]]] = {
    "library": library,
    "generate paper": command("generate", "--model", "efficientnet-lite0", "--target", "558", "--count", "2", *_FEW),
    "generate best": command("generate", "--model", "efficientnet-lite0", "--target", "12", "--preset", "best", "--steps", "4"),
    "generate digits": command(
        "generate", "--model", "digits", "--target", "3", "--target", "1-2", "--count", "2", "--batch-size", "3", *_FEW
    ),
    "evaluate": command("evaluate", *_DIGITS, "--target", "3", "--target", "8", "--limit", "12", *_FEW),
    "evaluate paper's way": command(
        "evaluate", *_DIGITS, "--target", "3", "--no-leave-one-out", "--layers", "leaf", "--preset", "best", "--steps", "4"
    ),
    "sweep": command(
        "sweep", *_DIGITS, "--target", "3", "--target", "8", "--seeds", "0-1", "--grid", "lr=[0.05,0.1]", "--grid",
        'degrees=["none",30]', "--set", "steps=4", "--set", "warmup_steps=2", "--limit", "12", "--ascent-steps", "4",
    ),
    "sweep without images": command(
        "sweep", "--model", "digits", "--target", "3", "--seeds", "0-1", "--grid", "lr=[0.05,0.1]", "--set", "steps=4"
    ),
    "compare-groups": with_scans(
        command(
            "compare-groups", "--model", "digits", "--target", "8", "--also", "3", "--group", "a={images}/first",
            "--group", "b={images}/second", "--resamples", "99", *_FEW,
        )
    ),
    "reproduce": command(
        "reproduce", *_DIGITS, "--target", "3", "--target", "5", "--limit", "12", "--steps", "3", "--warmup-steps", "2",
        "--protocol-target", "3", "--protocol-seeds", "1",
    ),
    "planted-bias": command(
        "planted-bias", "--networks", "2", "--rates", "0", "0.5", "1", "--epochs", "2", "--steps", "8"
    ),
    "fooling": command("fooling", "--model", "digits", "--target", "3", "--target", "8", "--seeds", "1", "--limit", "12", *_FEW),
    "reproduce --small": command("reproduce", "--small"),
}  # fmt: skip
#: Takes minutes; asked for by name or with --all.
_LONG = ("reproduce --small",)


def record(path: Path, only: list[str], everything: bool) -> None:
    names = only or [name for name in RUNS if everything or name not in _LONG]
    results = json.loads(path.read_text()) if path.exists() and only else {}
    for name in names:
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            results[name] = RUNS[name](Path(folder))
        path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {len(results[name])} digests, {time.perf_counter() - begin:.0f} s", file=sys.stderr)


def compare(before: Path, after: Path) -> int:
    old, new = (json.loads(path.read_text()) for path in (before, after))
    different = 0
    for name in old:
        if name not in new:
            continue
        missing = sorted(old[name].keys() - new[name].keys())
        added = sorted(new[name].keys() - old[name].keys())
        changed = sorted(key for key in old[name].keys() & new[name].keys() if old[name][key] != new[name][key])
        equal = len(old[name]) - len(missing) - len(changed)
        print(f"{name}: {equal} of {len(old[name])} equal")
        for what, keys in (("changed", changed), ("missing", missing), ("added", added)):
            for key in keys:
                print(f"  {what}: {key}")
        different += len(changed) + len(missing)
    return int(different > 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    recording = actions.add_parser("record")
    recording.add_argument("file", type=Path)
    recording.add_argument("--only", nargs="*", default=[], choices=RUNS, metavar="RUN", help=", ".join(RUNS))
    recording.add_argument("--all", action="store_true", help="with the runs that take minutes")
    comparing = actions.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    args = parser.parse_args()
    if args.action == "record":
        record(args.file, args.only, args.all)
        return 0
    return compare(args.before, args.after)


if __name__ == "__main__":
    raise SystemExit(main())
