"""No replaced phrase stands in text that users read, and each of them is found wherever such text may be."""

import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import check_language  # noqa: E402


def texts(source, path="src/lib.rs"):
    return list(check_language.source_texts(Path(path), source))


class Tree(unittest.TestCase):
    def test_no_replaced_phrase_is_left(self):
        self.assertEqual(check_language.check(ROOT), [])

    def test_the_texts_of_the_tree_are_read(self):
        # A lexer that loses its place would find nothing and pass.
        files = [path for path in check_language.files(ROOT) if path.suffix == ".rs"]
        pieces = [text for path in files for _, text in check_language.source_texts(path, (ROOT / path).read_text())]
        self.assertGreater(len(files), 300)
        self.assertGreater(len(pieces), 1500)
        joined = "\n".join(pieces)
        for text in ["Hard limit on the measured peak memory", "invalid KV cache type `{text}`", "A trial is on the front if no other"]:
            self.assertIn(text, joined)


class Phrases(unittest.TestCase):
    def test_every_phrase_is_found_in_a_source_and_in_a_document(self):
        for phrase in check_language.PHRASES:
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                (root / "crates/x/src").mkdir(parents=True)
                (root / "crates/x/src/lib.rs").write_text(f'fn f() {{ g("{phrase.example} ") }}\n')
                (root / "README.md").write_text(f"# Title\n\nText.\n\n{phrase.example} here.\n")
                found = check_language.check(root)
                for place in ["crates/x/src/lib.rs:1: ", "README.md:5: "]:
                    self.assertTrue(any(line.startswith(place) and line.endswith(phrase.instead) for line in found), (place, phrase.example))

    def test_ordinary_english_passes(self):
        for text in ["it is no longer the model", "there is no file x", "flips are no evidence of a loss", "so many that they do not fit",
                     "download it again", "a client tells the server", "retold"]:
            self.assertEqual(list(check_language.found_in([(1, text)])), [], text)


class Sources(unittest.TestCase):
    def test_literals_of_every_form_are_read(self):
        source = 'a("one \\" two"); b(r#"raw "text" here"#); c(b"byte text"); d("joined \\\n    line"); e(\'"\', "after a quote");'
        found = [text for _, text in texts(source)]
        self.assertEqual(found, ['one \\" two', 'raw "text" here', "byte text", "joined line", "after a quote"])

    def test_lines_are_counted_through_literals_of_many_lines(self):
        self.assertEqual(texts('a("x \\\n y");\n\nb("z z");'), [(1, "x y"), (4, "z z")])

    def test_comments_keys_and_tests_are_not_text_of_users(self):
        source = '// "told you so"\n/* "told us" */\n/// Is told.\nf("told");\n#[cfg(test)]\nmod tests { const A: &str = "was told"; }\n'
        self.assertEqual(texts("\n" + source), [])

    def test_a_lifetime_is_not_a_character(self):
        self.assertEqual(texts("fn f<'a>(x: &'a str) -> &'a str { g(\"a b\") }"), [(1, "a b")])

    def test_documentation_comments_of_arguments_are_help(self):
        source = "    /// The first line that\n    /// goes on.\n    pub a: u32,\n    /// Another one.\n    pub b: u32,\n"
        self.assertEqual(texts(source, "src/cli/args/tune.rs"), [(1, "The first line that goes on."), (4, "Another one.")])
        self.assertEqual(texts(source), [])

    def test_a_phrase_over_two_lines_of_help_is_found(self):
        pieces = texts("/// A folder of\n/// Hugging Face.\n", "src/cli/args/tune.rs")
        self.assertEqual([line for line, _, _ in check_language.found_in(pieces)], [1])


class Documents(unittest.TestCase):
    def test_code_is_not_prose(self):
        text = "Run `f told g`:\n\n```sh\necho told\n```\n\nIt was\ntold.\n"
        found = [line for line, _, _ in check_language.found_in(check_language.document_texts(text))]
        self.assertEqual(found, [7])

    def test_a_quoted_input_keeps_its_quotes(self):
        found = list(check_language.found_in(check_language.document_texts("The answer: `q9` is no cache type.\n")))
        self.assertTrue(found)


if __name__ == "__main__":
    unittest.main()
