"""
Builds the wheel that serves every Python from 3.10 on, looks into it, and tries it where nothing else of this checkout is: in an
environment with another Python and the oldest PyTorch that it is for. ``make wheel`` calls this.

What is built here runs on this machine's C library and later ones; ``cibuildwheel``, with the same settings in ``pyproject.toml``, builds
for manylinux_2_28. The first run downloads a PyTorch; later ones find it in ``build/wheel``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "wheel"
#: Libraries that every Linux or every PyTorch brings: others would have to travel in the wheel, or tie it to a Python.
EXPECTED_LIBRARIES = re.compile(
    r"(libtorch(_cpu|_cuda)?|libc10(_cuda)?|libcudart|libstdc\+\+|libgcc_s|libm|libc|libpthread|libdl|librt|"
    r"ld-linux-x86-64|ld-linux-aarch64)\.so(\.\d+)*"
)
#: What of the tests an installed wheel can be tried with.
TESTS = (
    "pyproject.toml",
    "tests/conftest.py",
    "tests/networks.py",
    "tests/native",
    "tests/ops",
    "tests/test_loading.py",
)


def run(*command: object, cwd: Path = ROOT, **environment: str) -> str:
    """What a command prints; the script ends with it where the command fails."""
    words = [str(word) for word in command]
    print("$", shlex.join(words), flush=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    settings = {**inherited, "PATH": path, **environment}
    result = subprocess.run(
        words, cwd=cwd, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode != 0:
        raise SystemExit(f"{result.stdout}\n{words[0]} failed with status {result.returncode}.")
    return result.stdout


def the_one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"{folder} holds {[path.name for path in found]}; expected one {pattern}.")
    return found[0]


def build_wheel() -> Path:
    """The wheel as setup.py makes it, of a clean copy of what the source distribution holds."""
    for folder in ("source", "raw"):
        shutil.rmtree(WORK / folder, ignore_errors=True)
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", WORK / "source")
    archive = the_one(WORK / "source", "*.tar.gz")
    shutil.unpack_archive(archive, WORK / "source", filter="data")
    tree = the_one(WORK / "source", "captum_proto-*[0-9]")
    choice = os.environ.get("CAPTUM_PROTO_BUILD", "cpu")  # a wheel without native modules is not what is wanted here
    run(
        sys.executable,
        *("-m", "build", "--wheel", "--no-isolation", "--outdir", WORK / "raw"),
        cwd=tree,
        CAPTUM_PROTO_BUILD=choice,
    )
    return the_one(WORK / "raw", "*.whl")


def add_modules(wheel: Path, other: Path) -> Path:
    """``wheel``, with those CUDA modules beside its own that another wheel has and it lacks."""
    folder = WORK / "merged"
    shutil.rmtree(folder, ignore_errors=True)
    run(sys.executable, "-m", "wheel", "unpack", "--dest", folder, wheel)
    tree = the_one(folder, "*")
    with zipfile.ZipFile(other) as archive:
        added = [name for name in archive.namelist() if re.fullmatch(r"captum_proto/_C_cuda\d+\.abi3\.so", name)]
        added = [name for name in added if not (tree / name).exists()]
        if not added:
            raise SystemExit(f"{other.name} has no CUDA module that {wheel.name} lacks.")
        for name in added:
            archive.extract(name, tree)
    run(sys.executable, "-m", "wheel", "pack", "--dest-dir", folder, tree)
    return the_one(folder, "*.whl")


def repair(wheel: Path, destination: Path) -> Path:
    """The wheel under the tag that its symbols allow, by the command that cibuildwheel uses."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    command = settings["tool"]["cibuildwheel"]["linux"]["repair-wheel-command"]
    shutil.rmtree(WORK / "repaired", ignore_errors=True)
    words = [word.format(dest_dir=WORK / "repaired", wheel=wheel) for word in shlex.split(command)]
    run(*words)
    destination.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(the_one(WORK / "repaired", "*.whl"), destination))


def look_into(wheel: Path) -> None:
    """Ends the script where a wheel would not serve every Python and every PyTorch that it says."""
    if "-cp310-abi3-" not in wheel.name:
        raise SystemExit(f"{wheel.name} is not tagged for the limited API of Python 3.10 (cp310-abi3).")
    print(run("auditwheel", "show", wheel))
    print(run(sys.executable, "-m", "abi3audit", "--strict", "--report", wheel))
    with zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if ".so" in Path(name).name]
        strange = [name for name in libraries if not re.fullmatch(r"captum_proto/_C(_cuda\d+)?\.abi3\.so", name)]
        if strange or "captum_proto/_C.abi3.so" not in libraries:
            raise SystemExit(f"{wheel.name} holds {libraries}; expected captum_proto/_C.abi3.so, and CUDA modules.")
        for name in libraries:
            with archive.open(name) as file:
                tags = list(ELFFile(file).get_section_by_name(".dynamic").iter_tags())
            needed = [tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"]
            paths = [tag.entry.d_tag for tag in tags if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH")]
            print(f"{name} needs {', '.join(needed)}")
            unexpected = [library for library in needed if not EXPECTED_LIBRARIES.fullmatch(library)]
            if unexpected or paths:
                raise SystemExit(
                    f"{name} needs {unexpected} and has {paths or 'no paths of its own'}; expected neither."
                )


def other_python() -> str:
    """A Python on the path whose version is not this one's, the newest first; this one where there is no other."""
    for minor in range(20, 9, -1):
        python = shutil.which(f"python3.{minor}")
        works = python and not subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode
        if python and works and minor != sys.version_info.minor:
            return python
    return sys.executable


def try_out(wheel: Path, python: str, torch: str) -> None:
    """Installs the wheel in an environment of its own, and runs the operators' tests there, away from this checkout."""
    version = run(python, "-c", "import sys; print(sys.version.split()[0])").strip()
    place = WORK / f"python{version}-{re.sub(r'[^0-9a-z.]+', '-', torch)}"
    inside = place / "bin" / "python"
    if not inside.exists():
        run(python, "-m", "venv", place)
    pip = (inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, torch, "torchvision", "pytest", "hypothesis")
    run(*pip, wheel)
    run(*pip, "--force-reinstall", "--no-deps", wheel)  # also where one of the same version was installed before

    tests = WORK / "tests"
    shutil.rmtree(tests, ignore_errors=True)
    for name in TESTS:
        copy = tests / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ROOT / name, copy) if (ROOT / name).is_dir() else shutil.copy(ROOT / name, copy)
    facts = json.loads(run(place / "bin" / "captum-proto", "info", "--json", cwd=tests))["native"]
    print(json.dumps(facts, indent=2))
    if not facts["cpu"]["native"]:
        raise SystemExit(f"the CPU module is not in use with Python {version} and {torch}: {facts['cpu']['reason']}")
    find = "import importlib.util; print(importlib.util.find_spec('captum_proto._C').origin)"
    where = run(inside, "-c", find, cwd=tests)
    if not Path(where.strip()).is_relative_to(place):
        raise SystemExit(f"{where.strip()} is loaded instead of the wheel's module.")
    print(run(inside, "-m", "pytest", "-q", "tests/ops", "tests/test_loading.py", cwd=tests))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="look at this one instead of building one")
    parser.add_argument("--add", type=Path, help="another wheel of this version: its CUDA modules go in as well")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where the wheel goes (default: dist)")
    parser.add_argument("--python", help="the Python to try it with (default: another one on the path)")
    parser.add_argument("--torch", default="torch==2.10.*", help="the PyTorch to try it with (default: %(default)s)")
    arguments = parser.parse_args()
    print(run(sys.executable, "-m", "cibuildwheel", "--platform", "linux", "--print-build-identifiers"))
    wheel = arguments.wheel
    if wheel is None:
        wheel = build_wheel()
        wheel = repair(add_modules(wheel, arguments.add) if arguments.add else wheel, arguments.out)
    look_into(wheel.resolve())
    try_out(wheel.resolve(), arguments.python or other_python(), arguments.torch)
    print(f"{wheel} serves.")


if __name__ == "__main__":
    main()
