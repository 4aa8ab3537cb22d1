//! The part of CPython 3.11's `tokenize` module that decides what survives when comments and docstrings are removed.
//!
//! Only what changes the result is told apart: strings, comments, line ends, brackets, indentation and line continuations. Names,
//! numbers and operators are all copied, so that their exact borders do not matter.
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
    text: Vec<char>,
    row: usize,
    column: usize,
    quote: char,
    triple: bool,
}

/// The source without comments and without strings that start a line, otherwise token by token at its old columns.
pub(super) fn without_comments(source: &str) -> Result<String, Refused> {
    let mut out = Writer::default();
    let mut depth = 0i64;
    let mut continued = false;
    let mut indents = vec![0usize];
    let mut open: Option<Open> = None;
    // Set by a one-line string that is continued, and by the tokenizer's oversight not reset when that continuation breaks off.
    let mut must_continue = false;
    let mut row = 0;
    let mut last: &[char] = &[];
    let source: Vec<char> = source.chars().collect();
    out.text.reserve(source.len());

    for line in source.split_inclusive(|c| *c == '\n') {
        row += 1;
        let mut at = 0;
        if let Some(mut string) = open.take() {
            match string_end(line, 0, string.quote, string.triple) {
                Some(end) => {
                    at = end;
                    must_continue = false;
                    string.text.extend_from_slice(&line[..end]);
                    out.token(Kind::String, &string.text, (string.row, string.column), (row, end));
                }
                None => {
                    let broken_off = must_continue && !ends_with_continuation(line);
                    string.text.extend_from_slice(line);
                    if broken_off {
                        out.token(Kind::Other, &string.text, (string.row, string.column), (row, line.len()));
                    } else {
                        open = Some(string);
                    }
                    last = line;
                    continue;
                }
            }
        } else if depth == 0 && !continued {
            let column;
            (at, column) = indentation(line);
            if at == line.len() {
                // White space up to the end of the file.
                break;
            }
            if matches!(line[at], '#' | '\r' | '\n') {
                if line[at] == '#' {
                    let end = line.iter().rposition(|c| !matches!(c, '\r' | '\n')).map_or(at, |n| n + 1);
                    out.token(Kind::Comment, &[], (row, at), (row, end));
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
                out.token(Kind::Other, &[], (row, at), (row, at));
            }
        }
        continued = false;
        while at < line.len() {
            let lexeme = lexeme(line, at);
            let (start, end) = (lexeme.start, lexeme.end);
            at = end;
            match lexeme.class {
                Class::End => {}
                Class::Continuation => continued = true,
                Class::LineEnd => {
                    let kind = if depth > 0 { Kind::Other } else { Kind::NewLine };
                    out.token(kind, &line[start..end], (row, start), (row, end));
                }
                Class::Comment => out.token(Kind::Comment, &[], (row, start), (row, end)),
                Class::String => out.token(Kind::String, &line[start..end], (row, start), (row, end)),
                Class::OpenString { quote, triple } => {
                    open = Some(Open { text: line[start..].to_vec(), row, column: start, quote, triple });
                    must_continue |= !triple;
                    at = line.len();
                }
                Class::Other => {
                    match line[start] {
                        '(' | '[' | '{' => depth += 1,
                        ')' | ']' | '}' => depth -= 1,
                        _ => {}
                    }
                    out.token(Kind::Other, &line[start..end], (row, start), (row, end));
                }
            }
        }
        last = line;
    }
    // A bracket closed too often leaves the depth below zero: the statement is then open, too.
    if open.is_some() {
        return Err(Refused::OpenString);
    }
    if depth != 0 || continued {
        return Err(Refused::OpenStatement);
    }
    let comment = text_of(last).trim_matches(super::text::is_python_space).starts_with('#');
    if last.last().is_some_and(|c| !matches!(c, '\r' | '\n')) && !comment {
        out.token(Kind::NewLine, &[], (row, last.len()), (row, last.len() + 1));
    }
    Ok(out.text)
}

fn text_of(line: &[char]) -> String {
    line.iter().collect()
}

/// The position of the first character that is no indentation, and its column with tabs of 8.
fn indentation(line: &[char]) -> (usize, usize) {
    let mut column = 0;
    for (at, c) in line.iter().enumerate() {
        match c {
            ' ' => column += 1,
            '\t' => column = (column / 8 + 1) * 8,
            '\u{c}' => column = 0,
            _ => return (at, column),
        }
    }
    (line.len(), column)
}

fn ends_with_continuation(line: &[char]) -> bool {
    line.ends_with(&['\\', '\n']) || line.ends_with(&['\\', '\r', '\n'])
}

/// Where the string whose inside starts at `at` ends in this line. A backslash before the line's end ends nothing.
fn string_end(line: &[char], mut at: usize, quote: char, triple: bool) -> Option<usize> {
    while at < line.len() {
        match line[at] {
            '\\' if line.get(at + 1).is_none_or(|c| *c == '\n') => return None,
            '\\' => at += 2,
            c if c == quote && !triple => return Some(at + 1),
            c if c == quote && line[at..].starts_with(&[quote; 3]) => return Some(at + 3),
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
        quote: char,
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
fn lexeme(line: &[char], at: usize) -> Lexeme {
    let start = at + line[at..].iter().take_while(|c| matches!(c, ' ' | '\t' | '\u{c}')).count();
    let token = |class, end| Lexeme { class, start, end };
    let rest = &line[start..];
    let Some(first) = rest.first() else { return token(Class::End, start) };
    match first {
        '\\' if rest.get(1) == Some(&'\n') => return token(Class::Continuation, start + 2),
        '\\' if rest.get(1) == Some(&'\r') && rest.get(2) == Some(&'\n') => {
            return token(Class::Continuation, start + 3);
        }
        '\n' => return token(Class::LineEnd, start + 1),
        '\r' if rest.get(1) == Some(&'\n') => return token(Class::LineEnd, start + 2),
        '#' => {
            let length = rest.iter().take_while(|c| !matches!(c, '\r' | '\n')).count();
            return token(Class::Comment, start + length);
        }
        _ => {}
    }
    let prefix = prefix_length(rest);
    if let Some(quote) = rest.get(prefix).copied().filter(|c| matches!(c, '\'' | '"')) {
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
    let word = rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
    token(Class::Other, start + word.max(1))
}

/// The length of the string prefix (`b`, `r`, `u`, `f`, `br`, `fr` in any order and case) before a quote, else 0.
fn prefix_length(rest: &[char]) -> usize {
    let lower = |at: usize| rest.get(at).map_or(' ', char::to_ascii_lowercase);
    let is_quote = |c: char| matches!(c, '\'' | '"');
    match (lower(0), lower(1)) {
        ('b' | 'r' | 'u' | 'f', quote) if is_quote(quote) => 1,
        ('b' | 'f', 'r') | ('r', 'b' | 'f') if is_quote(lower(2)) => 2,
        _ => 0,
    }
}

/// The length of a one-line string whose inside starts at `at`, and whether it is closed (else it is continued after a backslash).
fn plain_string(rest: &[char], mut at: usize, quote: char) -> Option<(usize, bool)> {
    while let Some(c) = rest.get(at) {
        match c {
            '\n' => return None,
            '\\' => match (rest.get(at + 1)?, rest.get(at + 2)) {
                ('\n', _) => return Some((at + 2, false)),
                ('\r', Some('\n')) => return Some((at + 3, false)),
                _ => at += 2,
            },
            c if *c == quote => return Some((at + 1, true)),
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

impl Default for Writer {
    fn default() -> Self {
        // The published package starts as if an indentation had just been seen: a string there is a docstring.
        Self { text: String::new(), previous: Kind::Indent, last_row: 0, last_column: 0 }
    }
}

impl Writer {
    fn token(&mut self, kind: Kind, text: &[char], start: (usize, usize), end: (usize, usize)) {
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
            self.text.extend(text);
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
