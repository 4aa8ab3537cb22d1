"""The set-up's rooms.

- `console`: what is printed, and `SetupError`, the one-sentence failure.
- `pins`: every package with its version, size and SHA-256.
- `fetch`: pip download, verification, unpacking.
- `system`: what the operating system gives: compiler, Rust, Node.js, Chromium, apt-get.
- `buildtools`: cmake and libclang, from the system or from PyPI.
- `libtorch`: the CPU libtorch, from the environment or put together from PyPI.
- `libclang_probe`: loads one libclang in a process of its own and parses a header with it.
- `cargo_config`: `.cargo/config.toml`, which makes plain `cargo build` see the same tools.
- `data`: the demo model and HumanEval.
- `run`: the order of the steps.
"""
