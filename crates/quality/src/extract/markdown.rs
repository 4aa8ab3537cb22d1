//! The fenced blocks of an answer, and the text between them.
//!
//! The rules are those of CommonMark 0.31, section 4.5, with what models really write: the language on the line behind the fence, code on
//! the fence's own line, a closing fence behind the last statement, blocks that another block's fence ends, fences inside docstrings.

use super::scan::{Class, Scan};
use crate::tasks::TaskLanguage;

/// Whose code a block holds, by what its fence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// The task's language, by one of its names.
    Own,
    /// Nothing is said, or nothing that is known.
    Unknown,
    /// Another language: a shell command, output, data.
    Foreign,
    /// Text that may hold fences itself.
    Markdown,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// What the fence says; none for text between blocks.
    pub(super) tag: Option<Tag>,
    /// The text without fences, and without the indentation of the opening one.
    pub(super) text: String,
    /// Where it ends in the answer.
    pub(super) end: usize,
}

/// Names that stand on a fence for a language or for what is no code.
const FOREIGN: &[&str] = &[
    "bash",
    "sh",
    "shell",
    "zsh",
    "console",
    "terminal",
    "powershell",
    "cmd",
    "bat",
    "output",
    "json",
    "yaml",
    "yml",
    "toml",
    "xml",
    "html",
    "css",
    "sql",
    "java",
    "c",
    "cpp",
    "c++",
    "csharp",
    "cs",
    "go",
    "golang",
    "rust",
    "rs",
    "ruby",
    "rb",
    "php",
    "swift",
    "kotlin",
    "scala",
    "perl",
    "lua",
    "haskell",
    "r",
    "matlab",
    "latex",
    "tex",
    "diff",
    "ini",
    "dockerfile",
    "makefile",
    "mermaid",
    "csv",
    "log",
    "pycon",
    "doctest",
];
const MARKDOWN: &[&str] = &["markdown", "md"];
const PYTHON: &[&str] =
    &["python", "py", "python3", "python2", "py3", "py2", "ipython", "cpython", "pypy", "gyp"];
const JAVASCRIPT: &[&str] = &["javascript", "js", "jsx", "node", "nodejs", "ecmascript", "es6", "mjs", "cjs"];
const TYPESCRIPT: &[&str] = &["typescript", "ts", "tsx"];

/// What a word says as a language's name; none for a word that is no such name.
fn tag(language: TaskLanguage, word: &str) -> Option<Tag> {
    let name = word.trim_matches(|c: char| !c.is_alphanumeric() && c != '+' && c != '#').to_ascii_lowercase();
    let name = match name.as_str() {
        // python3.11, py3.8
        name if name.starts_with("py") => name.trim_end_matches(|c: char| c == '.' || c.is_ascii_digit()),
        name => name,
    };
    let own: &[&[&str]] = match language {
        TaskLanguage::Python => &[PYTHON],
        TaskLanguage::JavaScript => &[JAVASCRIPT],
        // Types are optional.
        TaskLanguage::TypeScript => &[TYPESCRIPT, JAVASCRIPT],
        TaskLanguage::Other => &[],
    };
    if own.iter().any(|names| names.contains(&name)) {
        Some(Tag::Own)
    } else if MARKDOWN.contains(&name) {
        Some(Tag::Markdown)
    } else if language == TaskLanguage::Other {
        (FOREIGN.contains(&name)
            || [PYTHON, JAVASCRIPT, TYPESCRIPT].iter().any(|names| names.contains(&name)))
        .then_some(Tag::Unknown)
    } else if FOREIGN.contains(&name)
        || [PYTHON, JAVASCRIPT, TYPESCRIPT].iter().any(|names| names.contains(&name))
    {
        Some(Tag::Foreign)
    } else if ["text", "plaintext", "txt", "plain", "code", "pseudocode"].contains(&name) {
        Some(Tag::Unknown)
    } else {
        None
    }
}

/// A line that begins with a fence.
struct Fence<'a> {
    /// The white space, list mark or quotation mark before it, in bytes.
    before: usize,
    mark: char,
    length: usize,
    /// What stands behind it on its line.
    info: &'a str,
}

fn fence(line: &str) -> Option<Fence<'_>> {
    let mut rest = line.trim_start();
    let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = digits.len() < rest.len() && digits.starts_with(['.', ')']);
    let marked = rest.starts_with(['-', '*', '+', '>']);
    let behind = if numbered {
        &digits[1..]
    } else if marked {
        &rest[1..]
    } else {
        rest
    };
    if (numbered || marked) && behind.trim_start().starts_with(['`', '~']) {
        rest = behind.trim_start();
    }
    let before = line.len() - rest.len();
    let mark = rest.chars().next().filter(|c| ['`', '~'].contains(c))?;
    let info = rest.trim_start_matches(mark);
    let length = rest.len() - info.len();
    (length >= 3).then(|| Fence { before, mark, length, info: info.trim_end() })
}

struct Open {
    tag: Option<Tag>,
    mark: char,
    length: usize,
    before: usize,
    quoted: bool,
    text: String,
}

/// Splits an answer at its fences. With `literals` a fence inside a string or comment of a block's code is part of it; without, it is a
/// fence: which one is right shows in what parses.
pub(super) fn parts(language: TaskLanguage, answer: &str, literals: bool) -> Vec<Part> {
    let mut splitter =
        Splitter { language, literals, parts: Vec::new(), prose: String::new(), open: None, at: 0 };
    for line in answer.split_inclusive('\n') {
        splitter.at += line.len();
        let following = &answer[splitter.at..];
        splitter.line(line, following);
    }
    splitter.close();
    splitter.end_prose();
    splitter.parts
}

struct Splitter {
    language: TaskLanguage,
    literals: bool,
    parts: Vec<Part>,
    prose: String,
    open: Option<Open>,
    /// Bytes of the answer that were read.
    at: usize,
}

impl Splitter {
    fn line(&mut self, line: &str, following: &str) {
        let Some(open) = &self.open else {
            match fence(line) {
                Some(fence) => self.begin(line, &fence),
                None => self.prose.push_str(line),
            }
            return;
        };
        let inside = self.literals && self.is_inside(&open.text, following);
        if let Some(fence) = fence(line).filter(|f| f.mark == open.mark && f.length >= open.length && !inside)
        {
            let first = fence.info.split_whitespace().next();
            let opens = first.is_some_and(|word| tag(self.language, word).is_some());
            let behind = fence.info.to_owned();
            self.close();
            if opens {
                self.begin(line, &fence);
            } else if !behind.is_empty() {
                self.prose.push_str(&behind);
                self.prose.push('\n');
            }
            return;
        }
        let mark = String::from(open.mark).repeat(open.length);
        let line = unquoted(line, open);
        let code = line.trim_end();
        let behind_code = code.strip_suffix(mark.as_str()).filter(|code| {
            !code.trim().is_empty() && !inside && ends_in_code(self.language, &format!("{}{code}", open.text))
        });
        if let Some(code) = behind_code {
            let last = format!("{code}\n");
            if let Some(open) = &mut self.open {
                open.text.push_str(&last);
            }
            self.close();
        } else {
            let line = line.to_owned();
            if let Some(open) = &mut self.open {
                open.text.push_str(&line);
            }
        }
    }

    /// Whether a block's code ends inside a literal that goes on and is closed by what follows.
    fn is_inside(&self, code: &str, following: &str) -> bool {
        Scan::new(self.language, code).open().is_some_and(|closing| following.contains(closing))
    }

    fn begin(&mut self, line: &str, fence: &Fence<'_>) {
        self.end_prose();
        let mark = String::from(fence.mark).repeat(fence.length);
        let info = fence.info.trim_start();
        // All of it on one line.
        let (info, closed) = match info.strip_suffix(mark.as_str()) {
            Some(inside) if !inside.trim().is_empty() => (inside, true),
            _ => (info, false),
        };
        let word = info.split(|c: char| c.is_whitespace()).next().unwrap_or("");
        let named = tag(self.language, word);
        let code = if named.is_some() { info[word.len()..].trim_start() } else { info };
        let text = if begins_code(self.language, code) { format!("{code}\n") } else { String::new() };
        self.open = Some(Open {
            tag: named,
            mark: fence.mark,
            length: fence.length,
            before: fence.before,
            quoted: line.trim_start().starts_with('>'),
            text,
        });
        if closed {
            self.close();
        }
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let text = outdented(self.language, &open.text, open.before);
        let (named, text) = without_name(self.language, &text);
        let tag = match (open.tag, named) {
            (None | Some(Tag::Unknown), Some(named)) => named,
            (tag, _) => tag.unwrap_or(Tag::Unknown),
        };
        if tag == Tag::Markdown {
            let nested = parts(self.language, text, self.literals);
            self.parts.extend(nested.into_iter().map(|part| Part { end: self.at, ..part }));
        } else {
            self.parts.push(Part { tag: Some(tag), text: text.to_owned(), end: self.at });
        }
    }

    fn end_prose(&mut self) {
        let text = std::mem::take(&mut self.prose);
        if !text.trim().is_empty() {
            self.parts.push(Part { tag: None, text, end: self.at });
        }
    }
}

/// A line of a block without its mark of a quotation.
fn unquoted<'a>(line: &'a str, open: &Open) -> &'a str {
    if open.quoted {
        let rest = line.trim_start();
        if let Some(rest) = rest.strip_prefix('>') {
            return rest.strip_prefix(' ').unwrap_or(rest);
        }
    }
    line
}

/// The text of a block without the indentation of its fence, as far as all its lines of code have it.
fn outdented(language: TaskLanguage, text: &str, fence: usize) -> String {
    let scan = Scan::new(language, text);
    let own = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let mut start = 0;
    let mut shared = fence;
    for line in text.split_inclusive('\n') {
        if !line.trim().is_empty() && !scan.begins_inside(start) {
            shared = shared.min(own(line));
        }
        start += line.len();
    }
    text.split_inclusive('\n').map(|line| &line[own(line).min(shared)..]).collect()
}

/// The language's name that stands alone on the first line of a block, and the block without it.
fn without_name(language: TaskLanguage, text: &str) -> (Option<Tag>, &str) {
    let start = text.len() - text.trim_start_matches(['\n', ' ', '\t']).len();
    let line = text[start..].lines().next().unwrap_or("");
    let word = line.trim();
    // A name of one letter may be a variable's.
    let alone = word.len() > 1
        && word.strip_suffix(':').unwrap_or(word).chars().all(|c| c.is_alphanumeric() || "+#.".contains(c));
    match tag(language, word).filter(|_| alone) {
        Some(named) => (Some(named), text[start + line.len()..].trim_start_matches('\n')),
        None => (None, text),
    }
}

/// Whether the text ends outside literals and comments.
fn ends_in_code(language: TaskLanguage, text: &str) -> bool {
    let scan = Scan::new(language, &format!("{text}x"));
    scan.open().is_none() && scan.class(text.len()) == Class::Code
}

/// Whether what stands behind a fence is code and no remark on the block.
pub(super) fn begins_code(language: TaskLanguage, text: &str) -> bool {
    let words: &[&str] = match language {
        TaskLanguage::Python => &[
            "def ", "async ", "class ", "import ", "from ", "return ", "if ", "for ", "while ", "try:",
            "with ", "@", "lambda ", "\"\"\"",
        ],
        _ => &[
            "function ",
            "function* ",
            "async ",
            "class ",
            "import ",
            "export ",
            "const ",
            "let ",
            "var ",
            "return ",
            "if ",
            "for ",
            "//",
            "/*",
            "module.",
        ],
    };
    let assigned = text.split_once('=').is_some_and(|(name, value)| {
        let name = name.trim_end();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
        is_name && value.starts_with(' ') && text.contains(" =")
    });
    assigned || words.iter().any(|word| text.starts_with(word))
}

/// The code in an answer of HTML: what `<code>` or `<pre>` hold, with its entities resolved.
pub(super) fn html_blocks(answer: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut rest = answer;
    while let Some(at) = ["<code", "<pre"].iter().filter_map(|tag| rest.find(tag)).min() {
        let closing = if rest[at..].starts_with("<code") { "</code>" } else { "</pre>" };
        let Some(open) = rest[at..].find('>') else { break };
        let inside = &rest[at + open + 1..];
        let end = inside.find(closing).unwrap_or(inside.len());
        let text = &inside[..end];
        // `<pre><code>`
        let nested = text.trim_start().strip_prefix("<code").and_then(|text| text.split_once('>'));
        let text = nested.map_or(text, |(_, text)| text.trim_end().trim_end_matches("</code>"));
        if text.contains('\n') {
            blocks.push(resolved(text));
        }
        rest = &inside[end..];
    }
    blocks
}

/// A text with HTML's entities for the characters of code resolved.
fn resolved(text: &str) -> String {
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    entities.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// Code whose characters were written as HTML's entities, resolved: one of them stands outside literals, where no program has any.
pub(super) fn unescaped(language: TaskLanguage, code: &str) -> String {
    let entities = ["&lt;", "&gt;", "&quot;", "&#39;", "&#x27;", "&amp;"];
    let scan = Scan::new(language, code);
    let found = entities.iter().any(|entity| code.match_indices(entity).any(|(at, _)| scan.is_code(at)));
    if found { resolved(code) } else { code.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "def f(x):\n    return x\n";

    /// The blocks of a Python answer, with `F` for a fence.
    fn blocks(answer: &str) -> Vec<(Tag, String)> {
        let answer = answer.replace('F', "```");
        let parts = parts(TaskLanguage::Python, &answer, true);
        parts.into_iter().filter_map(|part| Some((part.tag?, part.text))).collect()
    }

    #[test]
    fn the_language_may_stand_anywhere_near_the_fence_in_any_case() {
        for opening in [
            "Fpython\n",
            "F\npython\n",
            "F\n\npython\n\n",
            "F\nPython\n",
            "F python3\n",
            "FPython3.11\n",
            "F{.python}\n",
            "Fpython:\n",
            "F\npython:\n",
            "FPY\n",
            "Fpython title=\"f.py\"\n",
            "Fpython\npython\n",
            "1. Fpython\n",
            "> Fpython\n",
            "  Fpython\n",
        ] {
            assert_eq!(
                blocks(&format!("Text.\n{opening}{CODE}F\nMore.")),
                [(Tag::Own, CODE.to_owned())],
                "{opening}"
            );
        }
        for opening in ["F\n", "F\n\n", "Ftext\n", "F\ncode\n", "Fmy_file.py\n"] {
            let found = blocks(&format!("{opening}{CODE}F"));
            assert_eq!((found[0].0, found[0].1.trim_start()), (Tag::Unknown, CODE), "{opening}");
        }
    }

    #[test]
    fn code_may_share_a_line_with_its_fences() {
        for answer in [
            format!("Fpython {CODE}F"),
            format!("F{CODE}F"),
            format!("Fpython\n{}F", CODE.trim_end()),
            format!("Fpython\n{}F\nText", CODE.trim_end()),
            format!("Fpython\n{CODE}F That is it."),
        ] {
            assert_eq!(blocks(&answer)[0].1, CODE, "{answer}");
        }
        assert_eq!(blocks("Fpython f = lambda x: xF"), [(Tag::Own, "f = lambda x: x\n".to_owned())]);
    }

    #[test]
    fn a_fence_inside_a_docstring_ends_nothing() {
        let code = "def f(x):\n    '''Doc.\n    F\n    f(1)\n    F\n    '''\n    return x\n";
        assert_eq!(blocks(&format!("Fpython\n{code}F\n"))[0].1, code.replace('F', "```"));
        let naive = parts(TaskLanguage::Python, &format!("Fpython\n{code}F\n").replace('F', "```"), false);
        assert!(naive.len() > 1);
    }

    #[test]
    fn fences_of_other_kinds_and_lengths_are_kept_apart() {
        assert_eq!(blocks(&format!("~~~python\n{CODE}~~~\n"))[0].1, CODE);
        assert_eq!(blocks(&format!("F`python\n{CODE}F`\n"))[0].1, CODE);
        assert_eq!(blocks(&format!("~~~\n{CODE}F\n~~~"))[0].1, format!("{CODE}```\n"));
        assert_eq!(
            blocks(&format!("F`markdown\nText\nFpython\n{CODE}F\nF`"))[0],
            (Tag::Own, CODE.to_owned())
        );
    }

    #[test]
    fn a_block_that_is_not_closed_ends_with_the_answer_or_the_next_fence() {
        assert_eq!(blocks(&format!("Fpython\n{CODE}"))[0].1, CODE);
        let two = blocks(&format!("Fpython\n{CODE}\nOr:\nFpython\n{CODE}"));
        assert_eq!((two.len(), two[1].1.as_str()), (2, CODE));
    }

    #[test]
    fn html_is_resolved_where_it_is_meant() {
        assert_eq!(
            html_blocks("<pre><code class=\"x\">if a &lt; b:\n    c()\n</code></pre>"),
            ["if a < b:\n    c()\n"]
        );
        assert_eq!(unescaped(TaskLanguage::Python, "if a &lt; b: c = '&lt;'"), "if a < b: c = '<'");
        let literal = "c = '&lt;'";
        assert_eq!(unescaped(TaskLanguage::Python, literal), literal);
    }
}
