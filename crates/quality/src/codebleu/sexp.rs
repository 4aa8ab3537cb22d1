//! Missing tokens that are no visible nodes. When the parser invents, say, the line end that a broken Python statement lacks, its
//! s-expression shows `(MISSING _newline)`, but no walk over the nodes meets it. The published syntax match compares s-expressions, so
//! they are looked up in the text.

use super::language::Grammar;
use super::tree::{NONE, Tree};

/// An invisible missing token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HiddenToken {
    /// The node that it is printed inside.
    pub(super) parent: u32,
    /// How many of the parent's printed children come before it.
    pub(super) after: usize,
    /// The text that names it.
    pub(super) text: String,
}

/// The invisible missing tokens of a tree: by ascending parent, and for one parent in the order of the text.
pub(super) fn hidden_missing(tree: &Tree<'_>) -> Vec<HiddenToken> {
    let Some(text) = tree.error_text.as_deref().filter(|text| text.contains("(MISSING ")) else {
        return Vec::new();
    };
    let mut hidden = Vec::new();
    // The printed nodes in the order of the text.
    let mut printed = (0..tree.nodes.len() as u32).filter(|at| {
        let node = tree.node(*at);
        *at == 0 || node.named || node.missing
    });
    let mut next = printed.next();
    // The open groups: the node (none for a hidden token) and how many children it has printed.
    let mut open: Vec<(u32, usize)> = Vec::new();
    for event in (Events { rest: text }) {
        match event {
            Event::Close => {
                open.pop();
            }
            Event::Open(head) => {
                let parent = open.last_mut();
                match next.filter(|at| prints_as(tree, *at, head)) {
                    Some(at) => {
                        if let Some((_, children)) = parent {
                            *children += 1;
                        }
                        open.push((at, 0));
                        next = printed.next();
                    }
                    None => {
                        if let Some((parent, children)) = parent.filter(|(parent, _)| *parent != NONE) {
                            hidden.push(HiddenToken {
                                parent: *parent,
                                after: *children,
                                text: head.to_owned(),
                            });
                        }
                        open.push((NONE, 0));
                    }
                }
            }
        }
    }
    hidden.sort_by_key(|token| token.parent);
    hidden
}

/// Whether a node's group starts with this head.
fn prints_as(tree: &Tree<'_>, at: u32, head: &str) -> bool {
    let node = tree.node(at);
    match head.strip_prefix("MISSING ") {
        Some(name) => node.missing && name.trim_matches('"') == tree.kind(at).trim_matches('"'),
        None if head.starts_with("UNEXPECTED ") => Grammar::is_error(node.kind) && node.first_child == NONE,
        None => !node.missing && head == tree.kind(at),
    }
}

enum Event<'s> {
    Open(&'s str),
    Close,
}

/// The brackets of an s-expression.
struct Events<'s> {
    rest: &'s str,
}

impl<'s> Iterator for Events<'s> {
    type Item = Event<'s>;

    fn next(&mut self) -> Option<Event<'s>> {
        let at = self.rest.find(['(', ')'])?;
        let closes = self.rest[at..].starts_with(')');
        self.rest = &self.rest[at + 1..];
        if closes {
            return Some(Event::Close);
        }
        // A quoted name or character may itself be a bracket.
        let length = if self.rest.starts_with("MISSING \"") {
            let quoted = "MISSING \"".len();
            self.rest[quoted..].find("\")").map(|n| quoted + n + 1)
        } else if self.rest.starts_with("UNEXPECTED '") {
            let quoted = "UNEXPECTED '".len();
            self.rest[quoted..].find("')").map(|n| quoted + n + 1)
        } else {
            let word = self.rest.find([' ', ')']).unwrap_or(self.rest.len());
            match &self.rest[..word] {
                "MISSING" | "UNEXPECTED" => self.rest.find(')'),
                _ => Some(word),
            }
        };
        let length = length.unwrap_or(self.rest.len());
        let head = &self.rest[..length];
        self.rest = &self.rest[length..];
        Some(Event::Open(head))
    }
}

#[cfg(test)]
mod tests {
    use super::super::language::{Dialect, Language};
    use super::*;

    fn heads(text: &str) -> Vec<&str> {
        Events { rest: text }
            .filter_map(|event| match event {
                Event::Open(head) => Some(head),
                Event::Close => None,
            })
            .collect()
    }

    #[test]
    fn quoted_brackets_are_names() {
        assert_eq!(
            heads(
                "(a (MISSING \")\") left: (b (UNEXPECTED '(')) (MISSING x) (UNEXPECTED 160) (MISSING \"\"\"))"
            ),
            ["a", "MISSING \")\"", "b", "UNEXPECTED '('", "MISSING x", "UNEXPECTED 160", "MISSING \"\"\""]
        );
    }

    #[test]
    fn finds_the_line_end_that_python_lacks() {
        let sources = [
            "def items(self): if self.a: self.b() with c(self): for k in d: yield k",
            "match command.split():\n        x = 1\n    case [a]:\n    case _:\n        x = 2\n",
        ];
        let mut found = 0;
        for source in sources {
            let tree = Tree::parse_printed(Dialect::Main(Language::Python), source);
            let text = tree.error_text.clone().unwrap_or_default();
            let hidden = hidden_missing(&tree);
            assert_eq!(
                text.matches("(MISSING _").count(),
                hidden.iter().filter(|token| token.text.starts_with("MISSING _")).count(),
                "{text}"
            );
            found += hidden.len();
        }
        assert!(found > 0, "no source made the parser invent a hidden token");
    }
}
