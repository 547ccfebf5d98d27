"""
Readers of a group, fuzzed for so many seconds each: ``python tests/fuzz/loop.py GROUP OUT SECONDS SEED PLACE …``.

With atheris, libFuzzer chooses what to try by the lines of Python that earlier files reached; without, files are changed at random. What is
broken does not end the loop: it is kept, a file for each line at which something went wrong, and counted in the reader's result.json.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from target import Reader

try:
    import atheris
except ImportError:
    atheris = None

HERE = Path(__file__).resolve().parent
#: Of code that is watched for what it reaches. PyTorch is left out: watching it takes minutes, and what it is given is ours.
_WATCHED = [
    "captum_proto",
    "PIL",
    "json",
    "csv",
    "tomllib",
    "tomli",
    "zipfile",
    "numpy.lib",
    "torch._weights_only_unpickler",
]


def main() -> int:
    group, out, seconds, seed, *places = sys.argv[1:]
    sys.path.insert(0, str(HERE))
    import torch  # not watched
    import torchvision.transforms.v2  # noqa: F401  # which pictures are read with, and which is loaded when the first one is

    torch.set_num_threads(1)
    if atheris is not None:
        with atheris.instrument_imports(include=_WATCHED):
            from catalog import readers

            found = readers(group)  # a minute or two, once for all readers of a group
    else:
        from catalog import readers

        found = readers(group)
    for place in places:
        memory = Path("/dev/shm")  # where there is one, a file takes microseconds, not milliseconds
        scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
        child = os.fork()
        if not child:
            fuzz(found[int(place)], Path(out) / f"{group}_{place}", scratch, float(seconds), int(seed))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        shutil.rmtree(scratch, ignore_errors=True)  # libFuzzer leaves without a farewell
        (Path(out) / f"{group}_{place}" / "code.txt").write_text(str(code))
    return 0


def fuzz(reader: Reader, folder: Path, scratch: Path, seconds: float, seed: int) -> None:
    """One reader, in a process of its own."""
    from target import attempt

    own, kept, corpus = scratch / "folder", folder / "findings", folder / "corpus"
    for each in (own, kept, corpus, folder / "made"):
        each.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    (scratch / "secret.png").write_bytes(b"nobody's business")
    seeds = reader.seeds(folder / "made")
    for place, data in enumerate(seeds):
        (corpus / f"seed{place:04d}").write_bytes(data)
    counts = {"read": 0, "refused": 0, "broken": 0}
    findings: dict[str, str] = {}
    begun = time.monotonic()

    def one(data: bytes) -> None:
        outcome = attempt(reader, own, data)
        counts[outcome.kind] += 1
        if outcome.kind == "broken" and outcome.where not in findings:
            findings[outcome.where] = outcome.said
            (kept / re.sub(r"[^A-Za-z0-9.]+", "_", outcome.where)).write_bytes(data)
        if sum(counts.values()) % 50 == 0 or outcome.kind == "broken":
            write()

    def write() -> None:
        content = {
            "executions": sum(counts.values()),
            **counts,
            "findings": findings,
            "seconds": time.monotonic() - begun,
        }
        (folder / "result.json").write_text(json.dumps(content, indent=1))

    for data in seeds:
        one(data)
    write()
    if atheris is None:
        without_coverage(seeds, reader.words, seed, begun + seconds, one)
    else:
        words = folder / "words"
        lines = ['"' + "".join(f"\\x{byte:02x}" for byte in word) + '"' for word in reader.words if len(word) < 60]
        words.write_text("\n".join(lines) + "\n")
        flags = [
            f"-max_total_time={int(seconds)}",
            f"-seed={seed + 1}",
            "-timeout=60",
            "-rss_limit_mb=8192",
            "-max_len=32768",
        ]
        flags += [f"-dict={words}", f"-artifact_prefix={kept}/", "-print_final_stats=1", "-len_control=20"]
        atheris.Setup([sys.argv[0], *flags, str(corpus)], one)
        atexit.register(write)
        atheris.Fuzz()
    write()


def without_coverage(seeds: list[bytes], words: tuple[bytes, ...], seed: int, end: float, one) -> None:  # type: ignore[no-untyped-def]
    """Files changed at random until the time is over."""
    generator = random.Random(seed)
    while time.monotonic() < end:
        one(mutated(generator.choice(seeds), words, generator))


def mutated(data: bytes, words: tuple[bytes, ...], generator: random.Random) -> bytes:
    """A file changed in a few places: bytes replaced, left out, put in, doubled, or the file cut off."""
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 1, 2, 4, 8))):
        at = generator.randrange(len(changed) + 1)
        kind = generator.randrange(7)
        if kind == 0 and changed:
            changed[at % len(changed)] = generator.randrange(256)
        elif kind == 1 and changed:
            changed[at % len(changed)] ^= 1 << generator.randrange(8)
        elif kind == 2:
            del changed[at : at + generator.choice((1, 2, 8, 64))]
        elif kind == 3:
            changed[at:at] = generator.choice(words) if words else generator.randbytes(generator.choice((1, 4)))
        elif kind == 4:
            changed[at:at] = changed[at : at + generator.choice((4, 32, 256))]
        elif kind == 5:
            changed[at : at + 4] = generator.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"9999"))
        elif generator.random() < 0.2:
            del changed[at:]
    return bytes(changed)


if __name__ == "__main__":
    sys.exit(main())
