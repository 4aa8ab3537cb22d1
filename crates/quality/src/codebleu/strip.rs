//! Comments removed as the published package removes them: by a Python tokenizer for Python, by one pattern for the other languages,
//! not at all for Ruby.

use super::language::Language;
use super::{python_tokens, text};

/// The source without comments (and, for Python, docstrings) and blank lines.
///
/// Python that CPython's tokenizer refuses comes back unchanged.
pub(super) fn strip_comments(language: Language, source: &str) -> String {
    match language {
        Language::Python => python_tokens::without_comments(source)
            .map_or_else(|_| source.to_owned(), |out| text::drop_blank_lines(&out)),
        Language::Ruby => source.to_owned(),
        _ => text::drop_blank_lines(&without_c_comments(source)),
    }
}

/// Replaces each `// ...` and `/* ... */` outside of quotes by a space.
///
/// A quote that never closes is no string, and what follows it is scanned anew; a quoted string may span lines.
fn without_c_comments(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = String::with_capacity(source.len());
    let mut strings = [Unclosed::default(), Unclosed::default()];
    let mut block_closes = true;
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        let comment_end = match (bytes[at], bytes.get(at + 1)) {
            (b'/', Some(b'/')) => Some(source[at..].find('\n').map_or(bytes.len(), |n| at + n)),
            (b'/', Some(b'*')) if block_closes => {
                let end = source[at + 2..].find("*/").map(|n| at + 2 + n + 2);
                block_closes = end.is_some();
                end
            }
            (quote @ (b'\'' | b'"'), _) => {
                at = strings[usize::from(quote == b'"')].end(bytes, at).unwrap_or(at + 1);
                continue;
            }
            _ => None,
        };
        match comment_end {
            Some(end) => {
                out.push_str(&source[copied..at]);
                out.push(' ');
                (at, copied) = (end, end);
            }
            None => at += 1,
        }
    }
    out.push_str(&source[copied..]);
    out
}

/// Finds the ends of strings of one quote character. Remembers the positions from which no end can be reached: a source of unclosed
/// quotes would otherwise be scanned to its end from each of them.
#[derive(Debug, Default)]
struct Unclosed {
    dead: Vec<bool>,
}

impl Unclosed {
    /// The position after the closing quote of the string that opens at `open`.
    fn end(&mut self, bytes: &[u8], open: usize) -> Option<usize> {
        let mut at = open + 1;
        while at < bytes.len() && !self.dead.get(at).copied().unwrap_or(false) {
            match bytes[at] {
                b if b == bytes[open] => return Some(at + 1),
                // The escaped character may have several bytes, but the bytes after its first are no quotes.
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.dead.resize(bytes.len(), false);
        let mut at = open + 1;
        while at < bytes.len() && !self.dead[at] {
            self.dead[at] = true;
            at += if bytes[at] == b'\\' { 2 } else { 1 };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_a_space() {
        let source =
            "int a; // one\n/* two\n */ char *s = \"/* no */\"; char c = '\\'';\n\n// three\nx = 1 / 2;";
        assert_eq!(
            strip_comments(Language::C, source),
            "int a;  \n  char *s = \"/* no */\"; char c = '\\'';\nx = 1 / 2;"
        );
    }

    #[test]
    fn an_unclosed_quote_is_no_string() {
        // The apostrophe of a Rust lifetime pairs with the next one, wherever it is.
        assert_eq!(without_c_comments("f<'a>(x) // it\ny"), "f<'a>(x)  \ny");
        assert_eq!(without_c_comments("f<'a>(x) // it's\ny"), "f<'a>(x) // it's\ny");
        assert_eq!(without_c_comments("/* open"), "/* open");
        assert_eq!(without_c_comments("a /*/ b */ c"), "a   c");
    }

    #[test]
    fn unclosed_quotes_are_scanned_once() {
        let source = "\\'".repeat(100_000);
        assert!(without_c_comments(&source) == source);
        let source = "/* ".repeat(100_000);
        assert!(without_c_comments(&source) == source);
    }

    #[test]
    fn ruby_is_left_alone_and_broken_python_too() {
        assert_eq!(strip_comments(Language::Ruby, "x # y\n\n"), "x # y\n\n");
        assert_eq!(strip_comments(Language::Python, "f( # open\n\n"), "f( # open\n\n");
        assert_eq!(
            strip_comments(Language::Python, "def f():\n    \"doc\"\n    return 1  # one\n"),
            "def f():\n    \n    return 1  ".replace("    \n", "")
        );
    }
}
