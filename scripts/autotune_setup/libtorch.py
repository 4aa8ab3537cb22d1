"""libtorch for the processor, which the crate `torch-sys` compiles and links against.

`LIBTORCH` or `LIBTORCH_USE_PYTORCH` in the environment is the user's own choice and comes first. Else `.deps/libtorch`
is assembled from the pinned wheels: the headers, and of the libraries those that work without a GPU. PyTorch's
`libtorch.so` only names its parts, the CUDA ones among them; here it is an empty library of the same name. Where the
folder `lib` is exchanged for that of a whole CUDA libtorch of the same version, that one's takes its place and brings
the GPU in, without anything being compiled anew.
"""

import os
import shlex
import shutil
import subprocess
import zipfile
from pathlib import Path

from . import fetch
from .buildtools import Chosen
from .cargo_config import Entry
from .console import SetupError
from .pins import CUDA_CUPTI, CUDA_RUNTIME, TORCH

FOLDER = "libtorch"
HEADERS = "torch/include/"
# What is taken out of each wheel into one flat folder; the libraries find each other there.
LIBRARIES = (
    (TORCH, ("torch/lib/libtorch_cpu.so", "torch/lib/libc10.so", "torch/lib/libgomp.so.1")),
    (CUDA_RUNTIME, ("nvidia/cu13/lib/libcudart.so.13",)),
    (CUDA_CUPTI, ("nvidia/cu13/lib/libcupti.so.13",)),
)
STUB = "libtorch.so"
OWN_CHOICE = ("LIBTORCH", "LIBTORCH_USE_PYTORCH")


def own_choice():
    """The user's own libtorch as Chosen, else None: the variables reach cargo by themselves."""
    for name in OWN_CHOICE:
        value = os.environ.get(name)
        if value:
            return Chosen(f"libtorch by {name}={value}")
    return None


def assembled(deps):
    """The libtorch put together earlier as Chosen, else None."""
    folder = deps / FOLDER
    try:
        version = (folder / "build-version").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    names = [Path(member).name for _, members in LIBRARIES for member in members] + [STUB]
    if version != TORCH.version or not all((folder / "lib" / name).is_file() for name in names):
        return None
    return Chosen(
        f"libtorch {version} from PyPI, for the processor", {"LIBTORCH": Entry(f".deps/{FOLDER}", relative=True)}
    )


def find(deps):
    return own_choice() or assembled(deps)


def require(deps):
    chosen = find(deps)
    if chosen:
        return chosen
    if TORCH.wheel() is None:
        raise SetupError(
            "no libtorch is pinned for this machine: set LIBTORCH to the folder of libtorch "
            f"{TORCH.version}, or LIBTORCH_USE_PYTORCH=1 where Python has torch {TORCH.version}, and run this again; "
            "or build without it: cargo build --release --no-default-features --features llama"
        )
    assemble(deps)
    return assembled(deps)


def assemble(deps):
    """Make `.deps/libtorch` in one step: half a folder never bears the name."""
    target, partial = deps / FOLDER, deps / f"{FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "lib").mkdir(parents=True)
    wheels = [fetch.fetch(package, deps) for package, _ in LIBRARIES]
    for wheel, (package, members) in zip(wheels, LIBRARIES):
        with zipfile.ZipFile(wheel) as archive:
            for member in members:
                take(archive, member, partial / "lib" / Path(member).name)
            if package is TORCH:
                for name in archive.namelist():
                    if name.startswith(HEADERS) and not name.endswith("/"):
                        take(archive, name, partial / "include" / name[len(HEADERS) :])
    make_stub(partial / "lib" / STUB)
    (partial / "build-version").write_text(TORCH.version + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    os.replace(partial, target)
    for wheel in wheels:
        wheel.unlink()


def take(archive, member, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, open(path, "wb") as sink:
        shutil.copyfileobj(source, sink, fetch.CHUNK_BYTES)


def make_stub(path):
    """An empty shared library that is called `libtorch.so`."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = compiler + ["-shared", "-fPIC", "-x", "c", "/dev/null", f"-Wl,-soname,{path.name}", "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SetupError(
            f"{shlex.join(compiler)} cannot make a shared library ({fetch.last_error_line(done.stderr)}): "
            "mend the C compiler and run this again"
        )
