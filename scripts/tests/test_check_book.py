"""Tests of scripts/check_book.py, and the check itself over this repository."""

import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import check_book  # noqa: E402


class Book(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name)
        self.write("docs/src/SUMMARY.md", "# Summary\n\n- [A](a.md)\n- [B](sub/b.md)\n")
        self.write("docs/src/a.md", "# A page\n\n## Two words: *here*\n\n## Same\n\n## Same\n")
        self.write("docs/src/sub/b.md", "# B\n")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")

    def found(self):
        return list(check_book.findings(self.root))

    def test_a_sound_book_has_no_findings(self):
        self.write("docs/src/sub/b.md", "[x](../a.md) [y](../a.md#two-words-here) [z](../a.md#same-1) [w](#b)\n# B\n")
        self.write("README.md", "[book](docs/src/a.md#a-page) [site](https://example.org/none.md) [mail](mailto:a@b.c)\n")
        self.assertEqual(self.found(), [])

    def test_a_page_that_is_not_listed_is_found(self):
        self.write("docs/src/c.md", "# C\n")
        self.assertEqual(self.found(), ["docs/src/SUMMARY.md: c.md is not listed"])

    def test_a_page_that_is_listed_twice_is_found(self):
        self.write("docs/src/SUMMARY.md", "- [A](a.md)\n- [B](sub/b.md)\n- [A](a.md)\n")
        self.assertEqual(self.found(), ["docs/src/SUMMARY.md: a.md is listed 2 times"])

    def test_a_listed_page_that_does_not_exist_is_found(self):
        self.write("docs/src/SUMMARY.md", "- [A](a.md)\n- [B](sub/b.md)\n- [C](c.md)\n")
        self.assertEqual(self.found(), ["docs/src/SUMMARY.md:3: c.md: no such file"])

    def test_dead_files_and_anchors_are_found(self):
        self.write("docs/src/sub/b.md", "# B\n[x](a.md)\n\n![p](../none.png) [y](../a.md#nowhere)\n")
        self.write("CONTRIBUTING.md", "[x](docs/OLD.md)\n")
        self.assertEqual(
            self.found(),
            [
                "docs/src/sub/b.md:2: a.md: no such file",
                "docs/src/sub/b.md:4: ../none.png: no such file",
                "docs/src/sub/b.md:4: ../a.md#nowhere: no such heading in docs/src/a.md",
                "CONTRIBUTING.md:1: docs/OLD.md: no such file",
            ],
        )

    def test_links_out_of_the_book_and_out_of_the_repository_are_found(self):
        self.write("README.md", "[x](../other/README.md)\n")
        self.write("docs/src/a.md", "[x](../../README.md)\n")
        self.assertEqual(
            self.found(),
            [
                "docs/src/a.md:1: ../../README.md: leads out of the book, where it is dead after rendering",
                "README.md:1: ../other/README.md: leads out of the repository",
            ],
        )

    def test_pictures_inside_links_definitions_and_html_are_followed(self):
        self.write("README.md", '[![p](none.png)](gone.md)\n<img src="lost.svg">\n[ref]: absent.md\n')
        self.assertEqual(
            self.found(),
            [
                "README.md:1: none.png: no such file",
                "README.md:1: gone.md: no such file",
                "README.md:2: lost.svg: no such file",
                "README.md:3: absent.md: no such file",
            ],
        )

    def test_code_is_not_read_as_links(self):
        self.write("README.md", "`[x](none.md)` and ``a ` [y](none.md)``\n\n```\n[z](none.md)\n```\n\n    text\n")
        self.assertEqual(self.found(), [])

    def test_a_page_that_a_source_file_names_must_exist(self):
        self.write("crates/x/src/lib.rs", "//! See docs/src/a.md.\n\n// `docs/src/gone.md` has the rules.\n")
        self.assertEqual(self.found(), ["crates/x/src/lib.rs:3: docs/src/gone.md: no such file"])

    def test_a_source_file_that_a_page_names_must_exist(self):
        self.write("crates/x/src/lib.rs", "")
        self.write("docs/src/sub/b.md", "# B\n`crates/x/src/lib.rs` and `crates/x/src/gone.rs`, not `crates/*.rs`\n")
        self.assertEqual(self.found(), ["docs/src/sub/b.md:2: crates/x/src/gone.rs: no such file"])

    def test_a_page_without_its_summary_is_one_finding(self):
        (self.root / "docs/src/SUMMARY.md").unlink()
        self.assertEqual(self.found(), ["docs/src/SUMMARY.md: no such file"])

    def test_headings_get_the_anchors_of_the_renderer(self):
        self.assertEqual(check_book.slug("Pass@k and the `sandbox`"), "passk-and-the-sandbox")
        self.assertEqual(check_book.slug("[Linked](x.md) heading, A/B"), "linked-heading-ab")
        self.assertEqual(check_book.slug("A_b - c"), "a_b---c")


class Repository(unittest.TestCase):
    def test_the_documents_have_no_dead_link(self):
        self.assertEqual(list(check_book.findings(ROOT)), [])


if __name__ == "__main__":
    unittest.main()
