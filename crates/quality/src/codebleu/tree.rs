//! A parsed source as a flat list of nodes in preorder. Everything that walks a tree walks this list, so that no input, however
//! deeply nested, can exhaust the stack.

use std::cell::RefCell;

use tree_sitter::{Parser, TreeCursor};

use super::language::{Dialect, Grammar};

/// "No node" in a link.
pub(super) const NONE: u32 = u32::MAX;

/// A visible node of the parser's tree, named or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// Number of the kind in the grammar.
    pub(super) kind: u16,
    /// Number of the field that the node fills in its parent, or 0.
    pub(super) field: u16,
    /// The grammar gives it a name (it is no keyword or punctuation).
    pub(super) named: bool,
    /// The parser invented it to go on.
    pub(super) missing: bool,
    /// It or something below it is an error or missing.
    pub(super) has_error: bool,
    /// A comment or the like, which may stand anywhere.
    pub(super) extra: bool,
    /// Number of the first child, or [`NONE`].
    pub(super) first_child: u32,
    /// Number of the next sibling, or [`NONE`].
    pub(super) next_sibling: u32,
    /// Number of the parent, or [`NONE`].
    pub(super) parent: u32,
    /// One past the number of the last node below it.
    pub(super) end: u32,
    /// Bytes of the source.
    pub(super) bytes: (u32, u32),
}

/// A parsed source.
#[derive(Debug)]
pub(super) struct Tree<'t> {
    /// The source.
    pub(super) text: &'t str,
    /// The grammar that gave the kinds and fields.
    pub(super) grammar: &'static Grammar,
    /// The nodes in preorder; the root is the first. Empty when the parser gave up.
    pub(super) nodes: Vec<Node>,
    /// Whether the source has no errors and nothing is missing.
    pub(super) is_valid: bool,
    print_errors: bool,
    /// How many nodes lie on the longest way from the root to a leaf.
    pub(super) depth: u32,
    /// The s-expressions of error nodes without children, by node: some name the character that no token starts with.
    pub(super) error_leaves: Vec<(u32, String)>,
    /// The s-expression of the whole, for shallow trees with errors: it shows missing tokens that are no visible nodes.
    pub(super) error_text: Option<String>,
}

/// Above this depth the parser's own (recursive) printer is not asked.
const PRINTABLE_DEPTH: u32 = 500;

thread_local! {
    /// Lists of nodes that are free: a tree's list is its largest piece of memory, and the next tree wants one like it.
    static LISTS: RefCell<Vec<Vec<Node>>> = const { RefCell::new(Vec::new()) };
    static PARSERS: RefCell<[Option<Parser>; Dialect::COUNT]> = const { RefCell::new([const { None }; Dialect::COUNT]) };
}

/// A list longer than this is not kept for the next tree.
const KEPT_NODES: usize = 1 << 16;

impl Drop for Tree<'_> {
    fn drop(&mut self) {
        let mut nodes = std::mem::take(&mut self.nodes);
        if nodes.capacity() <= KEPT_NODES {
            nodes.clear();
            // Where the thread is ending, the list is dropped with it.
            let _ = LISTS.try_with(|lists| lists.borrow_mut().push(nodes));
        }
    }
}

/// The parser's own tree.
fn raw(dialect: Dialect, text: &str) -> Option<tree_sitter::Tree> {
    PARSERS.with_borrow_mut(|parsers| {
        let slot = &mut parsers[dialect.index()];
        if slot.is_none() {
            let mut parser = Parser::new();
            // Every pinned grammar is accepted (a test sees to it); a refused one would parse nothing and score 0.
            parser.set_language(&dialect.grammar().language).ok()?;
            *slot = Some(parser);
        }
        slot.as_mut()?.parse(text, None)
    })
}

/// Whether a source parses without errors and without missing parts.
pub(super) fn is_valid(dialect: Dialect, text: &str) -> bool {
    raw(dialect, text).is_some_and(|tree| !tree.root_node().has_error())
}

impl<'t> Tree<'t> {
    /// Parses a source. Wrong code gives a tree with error nodes.
    pub(super) fn parse(dialect: Dialect, text: &'t str) -> Self {
        Self::parse_with(dialect, text, false)
    }

    /// Parses a source and keeps the parser's text of what is wrong with it, for the published syntax match.
    pub(super) fn parse_printed(dialect: Dialect, text: &'t str) -> Self {
        Self::parse_with(dialect, text, true)
    }

    fn parse_with(dialect: Dialect, text: &'t str, print_errors: bool) -> Self {
        let grammar = dialect.grammar();
        let tree = raw(dialect, text);
        let mut flat = Self {
            text,
            grammar,
            nodes: LISTS.with_borrow_mut(Vec::pop).unwrap_or_default(),
            is_valid: false,
            print_errors,
            depth: 0,
            error_leaves: Vec::new(),
            error_text: None,
        };
        if let Some(tree) = tree {
            let root = tree.root_node();
            flat.is_valid = !root.has_error();
            // One node for each four bytes is usual.
            flat.nodes.reserve(text.len() / 4 + 1);
            flat.flatten(&mut tree.walk());
            if print_errors && flat.depth <= PRINTABLE_DEPTH && !flat.is_valid {
                flat.error_text = Some(root.to_sexp());
            }
        }
        flat
    }

    fn flatten(&mut self, cursor: &mut TreeCursor<'_>) {
        let mut parent = NONE;
        let mut previous = NONE;
        // How many children each open node has yet to come: asking the cursor in vain for one more costs as much as a child.
        let mut to_come: Vec<usize> = Vec::new();
        loop {
            let node = cursor.node();
            let at = self.push(&node, cursor, parent);
            self.depth = self.depth.max(to_come.len() as u32 + 1);
            match (previous, parent) {
                (NONE, NONE) => {}
                (NONE, parent) => self.nodes[parent as usize].first_child = at,
                (previous, _) => self.nodes[previous as usize].next_sibling = at,
            }
            let children = node.child_count();
            if children > 0 && cursor.goto_first_child() {
                (parent, previous) = (at, NONE);
                to_come.push(children as usize - 1);
                continue;
            }
            if self.print_errors && Grammar::is_error(self.node(at).kind) {
                self.error_leaves.push((at, node.to_sexp()));
            }
            previous = at;
            loop {
                let end = self.nodes.len() as u32;
                self.nodes[previous as usize].end = end;
                let Some(children) = to_come.last_mut() else { return };
                if *children > 0 && cursor.goto_next_sibling() {
                    *children -= 1;
                    break;
                }
                cursor.goto_parent();
                to_come.pop();
                previous = parent;
                parent = self.nodes[previous as usize].parent;
            }
        }
    }

    fn push(&mut self, node: &tree_sitter::Node<'_>, cursor: &TreeCursor<'_>, parent: u32) -> u32 {
        let kind = node.kind_id();
        let at = self.nodes.len() as u32;
        self.nodes.push(Node {
            kind,
            field: cursor.field_id().map_or(0, |id| id.get()),
            named: self.grammar.is_named(kind),
            missing: !self.is_valid && node.is_missing(),
            has_error: !self.is_valid && node.has_error(),
            extra: node.is_extra(),
            first_child: NONE,
            next_sibling: NONE,
            parent,
            end: at + 1,
            bytes: (node.start_byte() as u32, node.end_byte() as u32),
        });
        at
    }

    /// Whether all that is wrong with the source can be told from this tree.
    pub(super) fn is_printable(&self) -> bool {
        self.is_valid || self.print_errors
    }

    /// A node by number.
    pub(super) fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    /// The name of a node's kind.
    pub(super) fn kind(&self, at: u32) -> &'static str {
        self.grammar.kind(self.node(at).kind)
    }

    /// A node's source.
    pub(super) fn source(&self, at: u32) -> &'t str {
        let (start, end) = self.node(at).bytes;
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// Whether a node has children.
    pub(super) fn has_children(&self, at: u32) -> bool {
        self.node(at).first_child != NONE
    }

    /// A node's children in order.
    pub(super) fn children(&self, at: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.node(at).first_child;
        std::iter::from_fn(move || {
            let child = next;
            (child != NONE).then(|| {
                next = self.node(child).next_sibling;
                child
            })
        })
    }

    /// The first child that fills a field.
    pub(super) fn child_by_field(&self, at: u32, field: u16) -> Option<u32> {
        if field == 0 {
            return None;
        }
        self.children(at).find(|child| self.node(*child).field == field)
    }
}

#[cfg(test)]
mod tests {
    use super::super::language::Language;
    use super::*;

    #[test]
    fn nodes_are_linked_in_preorder() {
        let tree = Tree::parse(Dialect::Main(Language::Python), "x = f(1)\ny");
        let root = tree.node(0);
        assert_eq!((tree.kind(0), root.end as usize), ("module", tree.nodes.len()));
        assert_eq!(tree.children(0).count(), 2);
        let assignment = tree.children(0).next().map(|s| s + 1).unwrap();
        let left = tree.child_by_field(assignment, tree.grammar.field("left")).unwrap();
        assert_eq!((tree.kind(assignment), tree.source(left)), ("assignment", "x"));
        for (at, node) in tree.nodes.iter().enumerate() {
            assert!(
                node.end as usize > at && (node.parent == NONE || tree.node(node.parent).end >= node.end)
            );
        }
    }

    #[test]
    fn deep_nesting_is_only_a_long_list() {
        let source = format!("{}x{}", "(".repeat(100_000), ")".repeat(100_000));
        let tree = Tree::parse(Dialect::Main(Language::Python), &source);
        assert!(tree.depth > 1_000 || !tree.is_valid);
    }

    #[test]
    fn the_table_of_named_kinds_agrees_with_the_parser() {
        for (language, source) in [
            (
                Language::Python,
                "async def f(a, *b) -> int:\n  return a is not b if a else [x for x in 'y' f'{z}']",
            ),
            (Language::JavaScript, "class A { static get b() { return `c${d}` ?? /e/g } }"),
            (
                Language::Php,
                "a <?php class B extends C { function d(?int $e = 1) { yield $f => \"$g\"; } } ?> h",
            ),
            (Language::Ruby, "def a(b, c: 1) = b&.d { |e| %w[f g] + [:h, \"i#{j}\"] }"),
            (
                Language::Cpp,
                "template <typename T> auto f(T &&x) -> decltype(x) { return std::move(x) <=> 1; }",
            ),
            (Language::CSharp, "var a = b is { C: > 1 } ? $\"{d}\" : @\"e\"; a b c"),
        ] {
            let dialect = Dialect::Main(language);
            let tree = raw(dialect, source).unwrap();
            let mut stack = vec![tree.root_node()];
            while let Some(node) = stack.pop() {
                assert_eq!(
                    dialect.grammar().is_named(node.kind_id()),
                    node.is_named(),
                    "{language} {}",
                    node.kind()
                );
                stack.extend((0..node.child_count()).filter_map(|at| node.child(at)));
            }
        }
    }

    #[test]
    fn every_child_that_the_parser_counts_is_in_the_list() {
        for (language, source) in [
            (Language::Python, "def f(a, *b):\n  return [x for x in a if x]  # c\nf(1, y=2"),
            (Language::Ruby, "def a(b, c: 1)\n b&.d { |e| %w[f g] + [:h, \"i#{j}\"] }\nend"),
            (Language::Php, "a <?php class B { function d(?int $e = 1) { yield $f => \"$g\"; } } ?> h"),
            (Language::CSharp, "var a = b is { C: > 1 } ? $\"{d}\" : @\"e\"; a b c ("),
            (Language::Cpp, "template <typename T> auto f(T &&x) -> decltype(x) { return x <=> 1; }"),
        ] {
            let dialect = Dialect::Main(language);
            let raw = raw(dialect, source).unwrap();
            let tree = Tree::parse(dialect, source);
            let mut stack = vec![(raw.root_node(), 0)];
            let mut met = 0;
            while let Some((node, at)) = stack.pop() {
                met += 1;
                let children: Vec<u32> = tree.children(at).collect();
                assert_eq!(children.len(), node.child_count() as usize, "{language} {}", node.kind());
                for (number, child) in (0..).zip(children) {
                    let raw = node.child(number).unwrap();
                    assert_eq!(
                        (raw.kind(), raw.start_byte() as u32),
                        (tree.kind(child), tree.node(child).bytes.0)
                    );
                    stack.push((raw, child));
                }
            }
            assert_eq!(met, tree.nodes.len(), "{language}");
        }
    }

    #[test]
    fn an_empty_source_is_a_root_alone() {
        for language in Language::ALL {
            let tree = Tree::parse(Dialect::Main(language), "");
            assert_eq!((tree.nodes.len(), tree.depth), (1, 1), "{language}");
        }
    }
}
