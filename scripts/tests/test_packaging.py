"""Tests of scripts/tarball.py, and of a built wheel: AUTOTUNE_TEST_WHEEL names it, AUTOTUNE_TEST_WHEEL_DEMO=1 tunes the demo with it."""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import unittest
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import tarball  # noqa: E402


class Tarball(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.program = self.folder / "autotune"
        self.program.write_text('#!/bin/sh\necho "$@"\n', "utf-8")
        self.program.chmod(0o755)

    def test_the_archive_holds_the_command_and_its_documents(self):
        archive = tarball.pack(self.program, self.folder / "out")
        digest, name = Path(f"{archive}.sha256").read_text("utf-8").split()
        self.assertEqual((digest, name), (hashlib.sha256(archive.read_bytes()).hexdigest(), archive.name))
        with tarfile.open(archive) as tar:
            members = {m.name.split("/", 1)[1]: m for m in tar.getmembers()}
            self.assertEqual({m.name.split("/")[0] for m in members.values()}, {archive.name[: -len(".tar.gz")]})
            self.assertEqual(members["autotune"].mode, 0o755)
            self.assertEqual(tar.extractfile(members["autotune"]).read(), self.program.read_bytes())
            self.assertEqual(tar.extractfile(members["completions/_autotune"]).read(), b"completions zsh\n")
            self.assertIn("LICENSE-MIT", members)
            self.assertIn("man/autotune.1", members)

    def test_the_archive_is_the_same_each_time(self):
        first = tarball.pack(self.program, self.folder / "a").read_bytes()
        self.assertEqual(first, tarball.pack(self.program, self.folder / "b").read_bytes())

    def test_libraries_that_not_every_system_has_are_found(self):
        text = (
            "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/libm.so.6 (0x0)\n\tlibgomp.so.1 => /lib/libgomp.so.1 (0x0)\n"
            "\tlibc.so.6 => /lib/libc.so.6 (0x0)\n\t/lib64/ld-linux-x86-64.so.2 (0x0)\n\tlibtorch_cpu.so => not found\n"
        )
        self.assertEqual(tarball.needed(text), ["libgomp.so.1", "libtorch_cpu.so"])


@unittest.skipUnless(os.environ.get("AUTOTUNE_TEST_WHEEL"), "AUTOTUNE_TEST_WHEEL names no wheel (scripts/wheel.py builds one)")
class Wheel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        environment = Path(cls.folder.name, "venv")
        venv.create(environment, with_pip=True)
        wheel = Path(os.environ["AUTOTUNE_TEST_WHEEL"]).resolve()
        install = [environment / "bin" / "python", "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", wheel]
        subprocess.run(install, check=True)
        cls.bin = environment / "bin"

    def run_command(self, *arguments):
        # As a user of the virtual environment types it.
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(Path(self.folder.name, "cache"))}
        done = subprocess.run(
            ["autotune", *arguments], capture_output=True, text=True, cwd=self.folder.name, env=environment
        )
        self.assertEqual(done.returncode, 0, f"{arguments}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_the_command_is_in_the_path_and_probes_this_machine(self):
        self.assertEqual(self.run_command("--version").strip(), f"autotune {tarball.version()}")
        self.assertGreater(json.loads(self.run_command("probe", "--json"))["memory"]["usable_bytes"], 0)

    @unittest.skipUnless(os.environ.get("AUTOTUNE_TEST_WHEEL_DEMO") == "1", "AUTOTUNE_TEST_WHEEL_DEMO is not 1")
    def test_the_demo_is_tuned(self):
        out = self.run_command("demo", "--budget", "1GB", "--trials", "2", "--task-limit", "4", "--quiet")
        self.assertIn("on the front under 1.00 GB", out)
        self.assertTrue(Path(self.folder.name, "results", "autotune.db").is_file())


if __name__ == "__main__":
    unittest.main()
