//! The part of CPython 3.11's `tokenize` module that decides what survives when comments and docstrings are removed.
//!
//! Only what changes the result is told apart: strings, comments, line ends, brackets, indentation and line continuations. Names,
//! numbers and operators are all copied, so that their exact borders do not matter. Columns are bytes here: only differences between
//! columns with ASCII white space in between are used.
//! Source of the rules: the module's documentation and behaviour (Python Software Foundation, version 3.11).

use thiserror::Error;

/// Why CPython's tokenizer raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Refused {
    /// The source ends inside a triple-quoted string or a continued one.
    #[error("end of file in a string of several lines")]
    OpenString,
    /// The source ends inside brackets or after a continuation.
    #[error("end of file in a statement of several lines")]
    OpenStatement,
    /// A line's indentation matches no enclosing block.
    #[error("an indentation that matches no outer level")]
    Dedent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Comment,
    String,
    /// The end of a statement.
    NewLine,
    Indent,
    Other,
}

/// A string literal that goes on in the next line.
struct Open {
    /// Its first byte in the source.
    start: usize,
    at: (usize, usize),
    quote: u8,
    triple: bool,
}

/// The source without comments and without strings that start a line, otherwise token by token at its old columns.
pub(super) fn without_comments(source: &str) -> Result<String, Refused> {
    let mut out = Writer::new(source.len());
    let mut depth = 0i64;
    let mut continued = false;
    let mut indents = vec![0usize];
    let mut open: Option<Open> = None;
    // Set by a one-line string that is continued, and by the tokenizer's oversight not reset when that continuation breaks off.
    let mut must_continue = false;
    let mut row = 0;
    let mut last = "";
    let mut next_line = 0;

    for line in source.split_inclusive('\n') {
        let bytes = line.as_bytes();
        let line_start = next_line;
        next_line += line.len();
        row += 1;
        let mut at = 0;
        if let Some(string) = open.take() {
            let broken_off = must_continue && !line.ends_with("\\\n") && !line.ends_with("\\\r\n");
            match string_end(bytes, 0, string.quote, string.triple) {
                Some(end) => {
                    at = end;
                    must_continue = false;
                    out.token(Kind::String, &source[string.start..line_start + end], string.at, (row, end));
                }
                None if broken_off => {
                    out.token(Kind::Other, &source[string.start..next_line], string.at, (row, line.len()));
                    last = line;
                    continue;
                }
                None => {
                    open = Some(string);
                    last = line;
                    continue;
                }
            }
        } else if depth == 0 && !continued {
            let column;
            (at, column) = indentation(bytes);
            if at == line.len() {
                // White space up to the end of the file.
                break;
            }
            if matches!(bytes[at], b'#' | b'\r' | b'\n') {
                if bytes[at] == b'#' {
                    let end = line.trim_end_matches(['\r', '\n']).len();
                    out.token(Kind::Comment, "", (row, at), (row, end));
                    at = end;
                }
                out.token(Kind::Other, &line[at..], (row, at), (row, line.len()));
                last = line;
                continue;
            }
            if column > indents.last().copied().unwrap_or(0) {
                indents.push(column);
                out.token(Kind::Indent, &line[..at], (row, 0), (row, at));
            }
            while column < indents.last().copied().unwrap_or(0) {
                if !indents.contains(&column) {
                    return Err(Refused::Dedent);
                }
                indents.pop();
                out.token(Kind::Other, "", (row, at), (row, at));
            }
        }
        continued = false;
        while at < line.len() {
            let Lexeme { class, start, end } = lexeme(bytes, at);
            at = end;
            let text = &line[start..end];
            match class {
                Class::End => {}
                Class::Continuation => continued = true,
                Class::LineEnd => {
                    let kind = if depth > 0 { Kind::Other } else { Kind::NewLine };
                    out.token(kind, text, (row, start), (row, end));
                }
                Class::Comment => out.token(Kind::Comment, "", (row, start), (row, end)),
                Class::String => out.token(Kind::String, text, (row, start), (row, end)),
                Class::OpenString { quote, triple } => {
                    open = Some(Open { start: line_start + start, at: (row, start), quote, triple });
                    must_continue |= !triple;
                    at = line.len();
                }
                Class::Other => {
                    match bytes[start] {
                        b'(' | b'[' | b'{' => depth += 1,
                        b')' | b']' | b'}' => depth -= 1,
                        _ => {}
                    }
                    out.token(Kind::Other, text, (row, start), (row, end));
                }
            }
        }
        last = line;
    }
    if open.is_some() {
        return Err(Refused::OpenString);
    }
    // A bracket closed too often leaves the depth below zero: the statement is then open, too.
    if depth != 0 || continued {
        return Err(Refused::OpenStatement);
    }
    let comment = super::text::python_strip(last).starts_with('#');
    if !last.is_empty() && !last.ends_with(['\r', '\n']) && !comment {
        out.token(Kind::NewLine, "", (row, last.len()), (row, last.len() + 1));
    }
    Ok(out.text)
}

/// The position of the first byte that is no indentation, and its column with tabs of 8.
fn indentation(line: &[u8]) -> (usize, usize) {
    let mut column = 0;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            b' ' => column += 1,
            b'\t' => column = (column / 8 + 1) * 8,
            b'\x0c' => column = 0,
            _ => return (at, column),
        }
    }
    (line.len(), column)
}

/// Where the string whose inside starts at `at` ends in this line. A backslash before the line's end ends nothing.
fn string_end(line: &[u8], mut at: usize, quote: u8, triple: bool) -> Option<usize> {
    while at < line.len() {
        match line[at] {
            b'\\' if line.get(at + 1).is_none_or(|byte| *byte == b'\n') => return None,
            // The escaped character may have several bytes, but those after its first end nothing.
            b'\\' => at += 2,
            byte if byte == quote && !triple => return Some(at + 1),
            byte if byte == quote && line[at..].starts_with(&[quote; 3]) => return Some(at + 3),
            _ => at += 1,
        }
    }
    None
}

enum Class {
    /// White space before the end of the file.
    End,
    Continuation,
    LineEnd,
    Comment,
    String,
    OpenString {
        quote: u8,
        triple: bool,
    },
    /// A name, a number, an operator, or a character that starts no token.
    Other,
}

struct Lexeme {
    class: Class,
    start: usize,
    end: usize,
}

/// The token at `at`, white space before it skipped.
fn lexeme(line: &[u8], at: usize) -> Lexeme {
    let start = at + line[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\x0c')).count();
    let token = |class, end| Lexeme { class, start, end };
    let rest = &line[start..];
    let Some(first) = rest.first() else { return token(Class::End, start) };
    match first {
        b'\\' if rest.starts_with(b"\\\n") => return token(Class::Continuation, start + 2),
        b'\\' if rest.starts_with(b"\\\r\n") => return token(Class::Continuation, start + 3),
        b'\n' => return token(Class::LineEnd, start + 1),
        b'\r' if rest.starts_with(b"\r\n") => return token(Class::LineEnd, start + 2),
        b'#' => {
            let length = rest.iter().take_while(|byte| !matches!(byte, b'\r' | b'\n')).count();
            return token(Class::Comment, start + length);
        }
        _ => {}
    }
    let prefix = prefix_length(rest);
    if let Some(quote) = rest.get(prefix).copied().filter(|byte| is_quote(*byte)) {
        if rest[prefix..].starts_with(&[quote; 3]) {
            return match string_end(line, start + prefix + 3, quote, true) {
                Some(end) => token(Class::String, end),
                None => token(Class::OpenString { quote, triple: true }, line.len()),
            };
        }
        match plain_string(rest, prefix + 1, quote) {
            Some((length, true)) => return token(Class::String, start + length),
            Some((length, false)) => {
                return token(Class::OpenString { quote, triple: false }, start + length);
            }
            None => {}
        }
    }
    // Whether a character beyond ASCII belongs to a name makes no difference to what is copied.
    let in_word = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'_' || !byte.is_ascii();
    let word = rest.iter().take_while(in_word).count();
    token(Class::Other, start + word.max(1))
}

fn is_quote(byte: u8) -> bool {
    matches!(byte, b'\'' | b'"')
}

/// The length of the string prefix (`b`, `r`, `u`, `f`, `br`, `fr` in any order and case) before a quote, else 0.
fn prefix_length(rest: &[u8]) -> usize {
    let lower = |at: usize| rest.get(at).map_or(b' ', u8::to_ascii_lowercase);
    match (lower(0), lower(1)) {
        (b'b' | b'r' | b'u' | b'f', quote) if is_quote(quote) => 1,
        (b'b' | b'f', b'r') | (b'r', b'b' | b'f') if is_quote(lower(2)) => 2,
        _ => 0,
    }
}

/// The length of a one-line string whose inside starts at `at`, and whether it is closed (else it is continued after a backslash).
fn plain_string(rest: &[u8], mut at: usize, quote: u8) -> Option<(usize, bool)> {
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\n' => return None,
            b'\\' => match (rest.get(at + 1)?, rest.get(at + 2)) {
                (b'\n', _) => return Some((at + 2, false)),
                (b'\r', Some(b'\n')) => return Some((at + 3, false)),
                _ => at += 2,
            },
            byte if *byte == quote => return Some((at + 1, true)),
            _ => at += 1,
        }
    }
    None
}

/// Puts tokens back at their columns.
struct Writer {
    text: String,
    previous: Kind,
    last_row: usize,
    last_column: usize,
}

impl Writer {
    fn new(capacity: usize) -> Self {
        // The published package starts as if an indentation had just been seen: a string there is a docstring.
        Self { text: String::with_capacity(capacity), previous: Kind::Indent, last_row: 0, last_column: 0 }
    }

    fn token(&mut self, kind: Kind, text: &str, start: (usize, usize), end: (usize, usize)) {
        if start.0 > self.last_row {
            self.last_column = 0;
        }
        self.text.extend(std::iter::repeat_n(' ', start.1.saturating_sub(self.last_column)));
        let dropped = match kind {
            Kind::Comment => true,
            // A string that starts a statement or stands in column 0 is taken for a docstring.
            Kind::String => matches!(self.previous, Kind::Indent | Kind::NewLine) || start.1 == 0,
            Kind::NewLine | Kind::Indent | Kind::Other => false,
        };
        if !dropped {
            self.text.push_str(text);
        }
        self.previous = kind;
        (self.last_row, self.last_column) = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(source: &str) -> String {
        without_comments(source).unwrap()
    }

    #[test]
    fn comments_and_docstrings_go_and_columns_stay() {
        let source =
            "\"\"\"Module.\"\"\"\ndef f(a):  # one\n    '''two\n    lines'''\n    s = '# no'\n    return s\n";
        assert_eq!(stripped(source), "\ndef f(a):  \n    \n    s = '# no'\n    return s\n");
    }

    #[test]
    fn a_string_in_column_0_counts_as_a_docstring_even_in_brackets() {
        assert_eq!(stripped("x = [\n'a',\n 'b']\n"), "x = [\n,\n 'b']\n");
        assert_eq!(stripped("'a''b'\n"), "'b'\n");
        assert_eq!(stripped("'a' 'b'\n"), " 'b'\n");
    }

    #[test]
    fn continuations_join_lines() {
        assert_eq!(stripped("x = 1 + \\\n  2\n"), "x = 1 +  2\n");
        assert_eq!(stripped("x = 'a\\\nb' # c\n"), "x = 'a\\\nb' \n");
    }

    #[test]
    fn open_ends_are_refused() {
        assert_eq!(without_comments("f(\n"), Err(Refused::OpenStatement));
        assert_eq!(without_comments("f)\n"), Err(Refused::OpenStatement));
        assert_eq!(without_comments("x = '''a\n"), Err(Refused::OpenString));
        assert_eq!(without_comments("if x:\n        y\n    z\n"), Err(Refused::Dedent));
    }

    #[test]
    fn an_unclosed_quote_is_a_character() {
        assert_eq!(stripped("x = 'a # b\n"), "x = 'a \n");
        assert_eq!(stripped("x = 'a\\\n # b\n"), "x = 'a\\\n # b\n");
    }
}
