"""Code names metrics by the constants of the registry, so that a misspelt name does not compile."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
REGISTRY = ROOT / "crates/core/src/metric/registry.rs"
TESTS = "#[cfg(test)]\nmod tests"


def names():
    return re.findall(r'^ +[A-Z0-9_]+ = "(\w+)"', REGISTRY.read_text(), re.M)


def literals(text, pattern):
    """Lines outside tests, comments, attributes and keys of JSON that spell a metric's name."""
    for line in text.split(TESTS)[0].splitlines():
        code = line.strip()
        if not code.startswith("//") and "#[" not in code and pattern.search(code):
            yield code


class MetricNames(unittest.TestCase):
    def test_no_name_is_spelt_outside_the_registry(self):
        known = names()
        self.assertGreater(len(known), 50)
        pattern = re.compile(r'"(%s)"(?!\s*:)' % "|".join(known))
        found = [
            f"{path.relative_to(ROOT)}: {line}"
            for folder in ["crates", "src"]
            for path in sorted((ROOT / folder).rglob("*.rs"))
            if "tests" not in path.parts and path != REGISTRY and path.name not in ("testing.rs", "carried.rs")
            # `codebleu` is also the word of a command, and of an axis.
            for line in literals(path.read_text(), pattern)
            if line.count('"codebleu"') == 0
        ]
        self.assertEqual(found, [])

    def test_a_spelt_name_is_found(self):
        pattern = re.compile(r'"(kl_mean)"(?!\s*:)')
        text = 'let a = "kl_mean";\n// "kl_mean"\njson!({"kl_mean": 1});\n' + TESTS + ' { "kl_mean" }'
        self.assertEqual(list(literals(text, pattern)), ['let a = "kl_mean";'])


if __name__ == "__main__":
    unittest.main()
