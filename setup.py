"""
Builds the native modules where that is possible, and installs without them where it is not. Everything else is in ``pyproject.toml``.

``pip install --no-build-isolation .`` builds against the PyTorch that is installed; with build isolation pip hides PyTorch from this
file, and what is installed is pure Python. pip keeps to itself what is printed here, unless it is called with ``-v``. So what is left
out is also said on the terminal, written into the package, where ``captum-proto info`` finds it, and, where nothing native is left,
into the name of the wheel, which pip shows.

One module serves every Python from 3.10 on, and one wheel: they use CPython's limited API.

Environment variables:
    CAPTUM_PROTO_BUILD: ``auto`` (default) builds what it can, and warns about the rest; ``0`` builds nothing; ``cpu`` and ``cuda``
        demand the CPU module, or both, and fail without.
    FORCE_CUDA: ``1`` demands the CUDA module, as ``CAPTUM_PROTO_BUILD=cuda`` does; ``0`` leaves it out.
    TORCH_CUDA_ARCH_LIST: The GPU architectures to compile for. Default: those of the GPUs in sight, else a list that serves
        GPUs since 2018. No GPU is needed to compile for it.
    CUDA_HOME, MAX_JOBS, CC, CXX: As for every extension of PyTorch.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import setuptools
from setuptools import Command, setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

#: Oldest PyTorch whose stable ABI the modules are built for.
OLDEST_TORCH = (2, 10)

#: T4, A100, L4, H100, B200 and RTX 50, GPUs of the same generations, and later ones through PTX; as far as nvcc knows them.
DEFAULT_CUDA_ARCHITECTURES = ("7.5", "8.0", "8.9", "9.0", "10.0", "12.0")

#: Free-threaded Python has no limited API before 3.15, and setuptools builds none for it: there a module serves one Python.
HAS_LIMITED_API = not sysconfig.get_config_var("Py_GIL_DISABLED")

#: What the name of a wheel says where the native modules were left out though nobody asked for that. It has to begin with a digit.
PURE_PYTHON_TAG = "0_slow_pure_python"


if int(setuptools.__version__.split(".")[0]) < 77:
    # Only build isolation reads the requirement in pyproject.toml; older versions then stumble over other parts of that file.
    raise SystemExit(
        f"captum_proto: setuptools {setuptools.__version__} is too old: `pip install 'setuptools>=77' ninja`."
    )


def say(message):
    print(f"captum_proto: {message}", file=sys.stderr, flush=True)


def tell(message):
    """Says it where whoever installs reads it, also while pip keeps to itself what is printed."""
    say(message)
    if sys.stderr.isatty():
        return
    try:
        with open("/dev/tty", "w", encoding="utf-8") as terminal:
            terminal.write(f"\ncaptum_proto: {message}\n")
    except OSError:  # there is no terminal: in a container, in a scheduled job, on Windows
        return


class NotPossible(Exception):
    """A module cannot be built here; the message says why, in a sentence."""


class NoCuda(NotPossible):
    """PyTorch itself has no CUDA, so that nothing is missing."""


class LeftOut:
    """Which modules are not built, and why."""

    def __init__(self):
        self.reasons = {}
        self.unasked = []

    def add(self, device, reason, asked=False):
        self.reasons[device] = reason
        if not asked:
            self.unasked.append(device)

    @staticmethod
    def path(folder):
        return Path(folder) / "captum_proto" / "_left_out.json"

    def record(self, folder):
        """Writes the reasons beside the package's files, for ``captum_proto.ops`` to read."""
        path = self.path(folder)
        if self.reasons:
            path.write_text(json.dumps(self.reasons, indent=1) + "\n", encoding="utf-8")
        else:
            path.unlink(missing_ok=True)


LEFT_OUT = LeftOut()


class RecordWhatIsLeftOut(Command):
    """The last step of a build."""

    description = "write down which native modules are missing, and why"
    user_options = ()
    editable_mode = False

    def initialize_options(self):
        self.build_lib = None

    def finalize_options(self):
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self):
        LEFT_OUT.record(ROOT if self.editable_mode else self.build_lib)
        for device in LEFT_OUT.unasked:
            reason = LEFT_OUT.reasons[device]
            tell(f"the native {device.upper()} module is left out; PyTorch does its work, more slowly: {reason}")
        wheel = self.distribution.get_command_obj("bdist_wheel", create=False)
        if wheel is not None and not self.distribution.has_ext_modules():
            wheel.root_is_pure = True  # also where compilation was tried
            if "cpu" in LEFT_OUT.unasked:
                wheel.build_number = PURE_PYTHON_TAG

    def get_source_files(self):
        return []

    def get_outputs(self):
        return [] if self.editable_mode or not LEFT_OUT.reasons else [str(LEFT_OUT.path(self.build_lib))]

    def get_output_mapping(self):
        return {}


class Build(build):
    sub_commands = [*build.sub_commands, ("record_what_is_left_out", None)]  # noqa: RUF012  # as setuptools declares it


class BuildPythonAndSources(build_py):
    """Copies the native sources into the wheel, beside the Python files: who has the package has its kernels' source."""

    def run(self):
        super().run()
        if not self.editable_mode:
            for source, copy in self._native_sources().items():
                self.mkpath(str(Path(copy).parent))
                self.copy_file(source, copy)

    def _native_sources(self):
        target = Path(self.build_lib) / "captum_proto" / "_csrc"
        sources = [path for path in sorted((ROOT / "csrc").rglob("*")) if path.is_file()]
        return {str(path): str(target / path.relative_to(ROOT / "csrc")) for path in sources}

    def get_outputs(self, include_bytecode=True):
        copies = [] if self.editable_mode else list(self._native_sources().values())
        return [*super().get_outputs(include_bytecode), *copies]


def demands():
    """What has to be built, and what may be: two sets of "cpu" and "cuda"."""
    choice = os.environ.get("CAPTUM_PROTO_BUILD", "auto").strip().lower()
    choices = {
        "auto": (set(), {"cpu", "cuda"}),
        "0": (set(), set()),
        "cpu": ({"cpu"}, {"cpu"}),
        "cuda": ({"cpu", "cuda"}, {"cpu", "cuda"}),
    }
    if choice not in choices:
        raise SystemExit(f"captum_proto: CAPTUM_PROTO_BUILD is {choice!r}; expected auto, 0, cpu or cuda.")
    required, wanted = choices[choice]
    force_cuda = os.environ.get("FORCE_CUDA", "").strip()
    if choice == "auto" and force_cuda == "1":
        required = {"cuda"}
    elif choice == "auto" and force_cuda == "0":
        wanted = {"cpu"}
    return required, wanted


def import_cpp_extension():
    """``torch.utils.cpp_extension``; NotPossible where there is no PyTorch."""
    try:
        import torch.utils.cpp_extension
    except Exception as error:  # a broken PyTorch raises anything from ImportError to OSError
        raise NotPossible(
            f"PyTorch cannot be imported ({error}). If it is installed, pip hides it from the build: "
            "use `pip install --no-build-isolation .` in a checkout of captum_proto."
        ) from error
    version = tuple(int(part) for part in re.findall(r"\d+", torch.__version__)[:2])
    if version < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise NotPossible(f"PyTorch {torch.__version__} is too old: its stable ABI serves from version {oldest}.")
    return torch.utils.cpp_extension


def common_arguments(module_name):
    """Arguments that both modules' extensions share."""
    major, minor = OLDEST_TORCH
    target_version = f"0x{major:02x}{minor:02x}{0:012x}"  # a byte for each, and none for patches
    return {
        "include_dirs": [str(ROOT / "csrc")],
        # With this PyTorch links nothing that depends on the Python at hand.
        "py_limited_api": HAS_LIMITED_API,
        "define_macros": [("TORCH_TARGET_VERSION", target_version), ("CAPTUM_PROTO_MODULE", module_name)],
        # Paths relative to setup.py, as setuptools wants them.
        "depends": [str(path.relative_to(ROOT)) for path in sorted((ROOT / "csrc").rglob("*.*h"))],
    }


def cxx_flags():
    if os.name == "nt":
        return ["/O2", "/fp:precise"]
    # No contraction to fused multiply-adds: results must not depend on what the processor offers. No debug information, which Python's
    # own flags ask for: it is ten times the rest.
    return ["-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]


def cpu_extension(cpp_extension):
    return cpp_extension.CppExtension(
        "captum_proto._C",
        [
            "csrc/cpu/rows.cpp",
            "csrc/cpu/images.cpp",
            "csrc/cpu/streams.cpp",
            "csrc/cpu/concepts.cpp",
            "csrc/module.cpp",
        ],
        extra_compile_args={"cxx": cxx_flags()},
        **common_arguments("_C"),
    )


def output_of(*command):
    """What a command says, on either stream; empty if it cannot run."""
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
    except OSError:
        return ""


def has_cuda_headers(home):
    return any(home.glob("include/cuda_runtime.h")) or any(home.glob("targets/*/include/cuda_runtime.h"))


def find_cuda_home():
    """
    The folder of the CUDA toolkit.

    PyTorch takes the folder above the first ``nvcc`` on the path, which is not the toolkit where that is a wrapper script, as
    compiler caches, environment modules and distributions install. So candidates have to have headers, and nvcc is asked itself.
    """
    candidates = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        candidates.append(str(Path(nvcc).resolve().parent.parent))
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "nothing.cu")
            source.touch()
            here = re.search(r"_HERE_=(.+)", output_of(nvcc, "-dryrun", "-c", str(source)))
        if here:
            candidates.append(str(Path(here.group(1).strip()).parent))
    candidates.append("/usr/local/cuda")
    for candidate in filter(None, candidates):
        home = Path(candidate)
        if has_cuda_headers(home) and shutil.which("nvcc", path=str(home / "bin")):
            return home
    raise NotPossible("there is no CUDA toolkit: neither CUDA_HOME nor an nvcc on the path leads to one with headers.")


def cuda_architectures(nvcc):
    """The architectures to compile for, as ``TORCH_CUDA_ARCH_LIST`` writes them, separated by semicolons."""
    import torch

    chosen = os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip()
    if chosen:
        return ";".join(re.split(r"[\s;]+", chosen))
    known = set(re.findall(r"compute_(\d+)", output_of(nvcc, "--list-gpu-arch")))
    in_sight = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    names = [f"{major}.{minor}" for major, minor in sorted(in_sight)] or list(DEFAULT_CUDA_ARCHITECTURES)
    names = [name for name in names if not known or name.replace(".", "") in known]
    if not names:
        raise NotPossible("nvcc knows none of the GPU architectures to compile for; name some in TORCH_CUDA_ARCH_LIST.")
    return ";".join(names) + "+PTX"


def cuda_extension(cpp_extension):
    import torch

    if torch.version.cuda is None:
        raise NoCuda(f"PyTorch {torch.__version__} is built without CUDA.")
    home = find_cuda_home()
    nvcc = shutil.which("nvcc", path=str(home / "bin"))
    version = re.search(r"release (\d+)\.(\d+)", output_of(nvcc, "--version"))
    if version is None or version.group(1) != torch.version.cuda.split(".")[0]:
        found = ".".join(version.groups()) if version else "an unknown version"
        raise NotPossible(
            f"nvcc is of CUDA {found} and PyTorch of CUDA {torch.version.cuda}; their major versions have to agree."
        )
    architectures = cuda_architectures(nvcc)
    os.environ["TORCH_CUDA_ARCH_LIST"] = architectures
    cpp_extension.CUDA_HOME = str(home)

    # PyTorches of two versions of CUDA find a module each, side by side.
    name = f"_C_cuda{version.group(1)}"
    arguments = common_arguments(name)
    arguments["define_macros"] += [
        ("USE_CUDA", None),
        ("CAPTUM_PROTO_NVCC", f'"{".".join(version.groups())}"'),
        ("CAPTUM_PROTO_CUDA_ARCHITECTURES", f'"{architectures}"'),
    ]
    return cpp_extension.CUDAExtension(
        f"captum_proto.{name}",
        [
            "csrc/cuda/rows.cu",
            "csrc/cuda/images.cu",
            "csrc/cuda/streams.cu",
            "csrc/cuda/concepts.cu",
            "csrc/module.cpp",
        ],
        extra_compile_args={"cxx": cxx_flags(), "nvcc": ["-O3", "--threads", "2"]},
        **arguments,
    )


def native_build():
    """The extensions to build and the command that builds them."""
    required, wanted = demands()
    for device in sorted({"cpu", "cuda"} - wanted):
        LEFT_OUT.add(device, "it was left out by CAPTUM_PROTO_BUILD or FORCE_CUDA.", asked=True)
    if not wanted:
        say("CAPTUM_PROTO_BUILD=0: installing pure Python.")
        return [], {}

    extensions = []
    try:
        cpp_extension = import_cpp_extension()
        for kind, make in (("cpu", cpu_extension), ("cuda", cuda_extension)):
            if kind not in wanted:
                continue
            try:
                extensions.append(make(cpp_extension))
            except NotPossible as reason:
                if kind in required:
                    raise
                say(f"not building the native {kind.upper()} module: {reason}")
                LEFT_OUT.add(kind, str(reason), asked=isinstance(reason, NoCuda))
    except NotPossible as reason:
        if required:
            raise SystemExit(
                f"captum_proto: cannot build the native {' and '.join(sorted(required))} module: {reason}"
            ) from None
        say(f"installing pure Python: {reason}")
        for kind in sorted(wanted - set(LEFT_OUT.reasons)):
            LEFT_OUT.add(kind, str(reason), asked=kind == "cuda")  # once is enough
    if not extensions:
        return [], {}

    class BuildWhatCanBe(cpp_extension.BuildExtension):
        """Lets a module that fails to compile go without taking the other, or the installation, with it."""

        def run(self):
            super().run()
            if self.inplace:
                LEFT_OUT.record(ROOT)

        def copy_extensions_to_source(self):
            """Removes modules as earlier versions named them, after one Python, which that Python prefers to one that serves several."""
            super().copy_extensions_to_source()
            for extension in self.extensions if HAS_LIMITED_API else ():
                built = ROOT / self.get_ext_filename(extension.name)
                stem = built.name.partition(".")[0]
                for other in built.parent.glob(f"{stem}.cpython-*{built.suffix}"):
                    say(f"removing {other.name}, which Python would load instead of {built.name}.")
                    other.unlink()

        def build_extensions(self):
            try:
                super().build_extensions()
            except Exception as error:  # raised while looking at the compilers, before any module is built
                self._forgo(self.extensions[-1], error)
                if self.extensions:
                    self.build_extensions()

        def build_extension(self, extension):
            shared_folder = self.build_temp
            # module.cpp goes into both modules, differently compiled.
            self.build_temp = os.path.join(shared_folder, extension.name)
            try:
                super().build_extension(extension)
            except Exception as error:  # ninja raises RuntimeError, the compiler's absence OSError, distutils its own
                self._forgo(extension, error)
            finally:
                self.build_temp = shared_folder

        def _forgo(self, extension, error):
            device = "cpu" if extension.name == "captum_proto._C" else "cuda"
            if device in required:
                raise error
            say(
                f"WARNING: {extension.name} failed to build and is left out; PyTorch takes over its work. The error was: {error}"
            )
            LEFT_OUT.add(device, f"it failed to build: {error}")
            # A new list: the one at hand is being walked through.
            self.extensions = [other for other in self.extensions if other is not extension]
            self.distribution.ext_modules = self.extensions

    return extensions, {"build_ext": BuildWhatCanBe}


ext_modules, commands = native_build()
setup(
    ext_modules=ext_modules,
    cmdclass={
        "build": Build,
        "build_py": BuildPythonAndSources,
        "record_what_is_left_out": RecordWhatIsLeftOut,
        **commands,
    },
    options={"bdist_wheel": {"py_limited_api": "cp310"}} if ext_modules and HAS_LIMITED_API else {},
)
