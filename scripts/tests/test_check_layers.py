"""The layers of this workspace hold, and a broken one is named."""

import sys
import tomllib
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import check_layers  # noqa: E402


class Layers(unittest.TestCase):
    def test_the_manifests_keep_the_layers(self):
        root = tomllib.loads((ROOT / "Cargo.toml").read_text())
        self.assertEqual(check_layers.broken(check_layers.manifests(ROOT), root), [])

    def test_a_broken_layer_is_named(self):
        crates = check_layers.manifests(ROOT)
        crates["search"]["dependencies"]["autotune-model"] = {"workspace": True}
        crates["quality"]["dependencies"]["llama-cpp-sys-2"] = {"workspace": True}
        crates["store"]["dependencies"]["clap"] = {"workspace": True}
        found = "\n".join(check_layers.broken(crates, {"dependencies": {"tch": "1"}}))
        for words in ["crates/search depends on crates/model", "crates/quality depends on llama-cpp-sys-2",
                      "crates/store depends on clap", "the command depends on tch"]:
            self.assertIn(words, found)

    def test_a_new_crate_has_to_be_placed(self):
        crates = check_layers.manifests(ROOT) | {"extra": {}}
        self.assertIn("crates/extra", "\n".join(check_layers.broken(crates, {})))


if __name__ == "__main__":
    unittest.main()
