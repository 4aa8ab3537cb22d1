"""The layers of the workspace: which crate may depend on which, and which one touches native libraries.

    python3 scripts/check_layers.py

Reads the manifests with Python's standard library. Cargo itself refuses circles; this keeps a crate from growing a dependency on a layer
that it must not know. docs/src/project/architecture.md explains the layers; change both together.
"""

import sys
import tomllib
from pathlib import Path

# A crate, and the crates of the workspace that its library may use.
ALLOWED = {
    "core": set(),
    "model": {"core"},
    "host": {"core"},
    "search": {"core"},
    "sandbox": {"core"},
    "store": {"core"},
    "engine": {"core", "model"},
    "compress": {"core", "engine", "model"},
    "quality": {"core", "sandbox"},
    "worker": {"compress", "core", "engine", "host", "model", "quality"},
    "study": {"compress", "core", "engine", "host", "model", "quality", "sandbox", "search", "store", "worker"},
    "report": {"compress", "core", "engine", "host", "model", "quality", "search", "store", "study", "worker"},
    "torch": {"compress", "core", "engine", "model", "worker"},
}
# Native libraries, and the only crate that may name them.
NATIVE = {"llama-cpp-sys-2": "engine", "tch": "torch", "torch-sys": "torch"}
# Crates of user interfaces, which only the command at the root may use.
INTERFACE = {"clap", "clap_complete", "clap_mangen", "indicatif", "console"}


def manifests(root):
    """The manifest of each crate, by its short name."""
    return {path.parent.name: tomllib.loads(path.read_text()) for path in sorted(root.glob("crates/*/Cargo.toml"))}


def dependencies(manifest):
    """The names of all dependencies that are not for tests."""
    names = set(manifest.get("dependencies", {}))
    for target in manifest.get("target", {}).values():
        names |= set(target.get("dependencies", {}))
    return names


def broken(crates, root_manifest):
    """What breaks the layers, a line each."""
    found = []
    for name in sorted(set(crates) ^ set(ALLOWED)):
        found.append(f"crates/{name}: it is missing in ALLOWED, or no longer there")
    for name, manifest in crates.items():
        used = dependencies(manifest)
        inner = {one.removeprefix("autotune-") for one in used if one.startswith("autotune-")}
        for other in sorted(inner - ALLOWED.get(name, set())):
            found.append(f"crates/{name} depends on crates/{other}, which its layer must not know")
        for native, owner in NATIVE.items():
            if native in used and owner != name:
                found.append(f"crates/{name} depends on {native}, which only crates/{owner} may")
        for one in sorted(used & INTERFACE):
            found.append(f"crates/{name} depends on {one}, which only the command may")
    for native, owner in NATIVE.items():
        if native in dependencies(root_manifest):
            found.append(f"the command depends on {native}, which only crates/{owner} may")
    return found


def main():
    root = Path(__file__).resolve().parent.parent
    found = broken(manifests(root), tomllib.loads((root / "Cargo.toml").read_text()))
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
