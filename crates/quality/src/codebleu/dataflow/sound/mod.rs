//! Data flow for the sound score: rules that fit the current grammars, bound variables only, and a comparison edge by edge.

mod lower;
mod rules;

use std::collections::HashSet;
use std::hash::BuildHasherDefault;
use std::sync::OnceLock;

use self::rules::Rules;
use super::super::hash::{self, IdentityHasher};
use super::super::language::{Dialect, Language};
use super::super::syntax::common;
use super::super::tree::{NONE, Tree};
use super::flow::{self, Flow, Source};
use super::program::{Op, Program, Relation};
use super::tokens::{Slicing, Tokens};

/// "A value of `from` reaches `to`."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edge {
    to: u32,
    from: u32,
    relation: Relation,
}

/// The bound variables of a source, numbered in the order of their appearance, and the edges between them.
#[derive(Debug, Default)]
pub(in super::super) struct Variables {
    edges: Vec<Edge>,
    /// Hash of each variable's name.
    names: Vec<u64>,
}

/// How variables of two sources are matched up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Matching {
    /// By order of appearance: a consistent renaming changes nothing.
    Order,
    /// Those with the same name first and the others by order: an added variable does not shift the rest.
    Name,
}

/// How many edges are compared; an assignment of thousands to thousands would have millions.
const EDGE_LIMIT: usize = 200_000;

impl Variables {
    /// Extracts the variables of a tree; `ignored` nodes are not walked. The second result tells for each node which variable
    /// it is, or [`NONE`].
    pub(in super::super) fn extract(
        language: Language,
        dialect: Dialect,
        tree: &Tree<'_>,
        ignored: &[bool],
    ) -> (Self, Vec<u32>) {
        static RULES: [OnceLock<Rules>; Dialect::COUNT] = [const { OnceLock::new() }; Dialect::COUNT];
        let rules = RULES[dialect.index()].get_or_init(|| Rules::new(language, dialect));
        let is_none = |at: u32| {
            let node = tree.node(at);
            let parent = (node.parent != NONE).then(|| tree.node(node.parent).kind);
            ignored[at as usize] || node.missing || !rules.is_variable(node.kind, node.field, parent)
        };
        let tokens = Tokens::new(tree, Slicing::Bytes, |kind| rules.is_whole_variable(kind), is_none);
        let mut of_nodes = tokens.names_of_nodes();
        let flowing =
            lower::lower(tree, tokens, rules).ok().and_then(|p| flow::analyse(&p).map(|flow| (p, flow)));
        let Some((program, flow)) = flowing else { return (Self::default(), vec![NONE; of_nodes.len()]) };
        let (this, numbers) = Self::new(&program, &flow);
        for name in of_nodes.iter_mut().filter(|name| **name != NONE) {
            *name = numbers[*name as usize];
        }
        (this, of_nodes)
    }

    fn new(program: &Program, flow: &Flow) -> (Self, Vec<u32>) {
        let mut bound = vec![false; program.name_count as usize];
        for op in &program.ops {
            if let Op::Define { targets, .. } = op {
                for target in &program.lists[targets.range()] {
                    bound[program.names[*target as usize] as usize] = true;
                }
            }
        }
        let mut this = Self::default();
        let mut numbers = vec![NONE; bound.len()];
        for name in &program.names {
            let name = *name as usize;
            if bound[name] && numbers[name] == NONE {
                numbers[name] = this.names.len() as u32;
                this.names.push(program.name_hashes[name]);
            }
        }
        let number = |token: u32| numbers[program.names[token as usize] as usize];
        for item in &flow.items {
            let (to, relation) = (number(item.token), item.relation);
            for source in item.sources() {
                match source {
                    Source::Nothing => {}
                    Source::Itself => this.push(Edge { to, from: to, relation }),
                    Source::Tokens(list) => {
                        for token in &program.lists[list.range()] {
                            this.push(Edge { to, from: number(*token), relation });
                        }
                    }
                }
            }
        }
        (this, numbers)
    }

    fn push(&mut self, edge: Edge) {
        // An unbound name has no value that could flow.
        if edge.from != NONE && self.edges.len() < EDGE_LIMIT {
            self.edges.push(edge);
        }
    }

    /// Number of edges.
    pub(in super::super) fn edges(&self) -> usize {
        self.edges.len()
    }

    /// How many edges two sources share, in the better matching of their variables.
    pub(in super::super) fn edges_in_common(&self, other: &Self) -> usize {
        let shared = |matching| {
            common(&self.hashes(&self.labels(other, matching)), &other.hashes(&other.labels(self, matching)))
        };
        let by_order = shared(Matching::Order);
        if self.same_order(other) { by_order } else { by_order.max(shared(Matching::Name)) }
    }

    /// A label for each variable, such that matched variables of this and the other source have equal labels.
    pub(in super::super) fn labels(&self, other: &Self, matching: Matching) -> Vec<u64> {
        match matching {
            Matching::Order => (0..self.names.len() as u64).collect(),
            Matching::Name => {
                let theirs: HashSet<u64, BuildHasherDefault<IdentityHasher>> =
                    other.names.iter().copied().collect();
                let mut unshared = 0;
                let label = |name: &u64| {
                    if theirs.contains(name) {
                        *name
                    } else {
                        unshared += 1;
                        unshared
                    }
                };
                self.names.iter().map(label).collect()
            }
        }
    }

    /// Whether both sources name their variables alike.
    pub(in super::super) fn same_names(&self, other: &Self) -> bool {
        let sorted = |names: &[u64]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            names
        };
        sorted(&self.names) == sorted(&other.names)
    }

    /// Whether both sources name their variables alike and in the same order.
    pub(in super::super) fn same_order(&self, other: &Self) -> bool {
        self.names == other.names
    }

    fn hashes(&self, labels: &[u64]) -> Vec<u64> {
        let mut hashes: Vec<u64> = self
            .edges
            .iter()
            .map(|edge| {
                let relation = match edge.relation {
                    Relation::ComesFrom => 1,
                    Relation::ComputedFrom => 2,
                };
                hash::mix(hash::mix(labels[edge.to as usize], labels[edge.from as usize]), relation)
            })
            .collect();
        hashes.sort_unstable();
        hashes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(language: Language, source: &str) -> Variables {
        let dialect = super::super::super::sound::dialect(language, source);
        let tree = Tree::parse(dialect, source);
        assert!(tree.is_valid, "{language}: {source}");
        Variables::extract(language, dialect, &tree, &vec![false; tree.nodes.len()]).0
    }

    /// Two sources that differ only in which value flows where.
    #[test]
    fn every_rule_is_alive() {
        use Language::{C, CSharp, Cpp, Go, Java, JavaScript, Php, Python, Ruby, Rust, Tsx, TypeScript};
        for (language, one, other) in [
            (Python, "def f(a, b):\n    x = a", "def f(a, b):\n    x = b"),
            (Python, "def f(a, b, c: int = 1):\n    return b", "def f(a, b, c: int = 1):\n    return c"),
            (Python, "def f(a, b):\n    if (n := a): pass", "def f(a, b):\n    if (n := b): pass"),
            (Python, "def f(a, b):\n    x, y = a, b", "def f(a, b):\n    x, y = b, a"),
            (Python, "def f(a, b):\n    return [x for x in a]", "def f(a, b):\n    return [x for x in b]"),
            (Python, "def f(a, b):\n    with a as x: b = x", "def f(a, b):\n    with a as x: b = a"),
            (Python, "def f(a, b):\n    a[b] = 1", "def f(a, b):\n    b[a] = 1"),
            (JavaScript, "function f(a, b) { let x; x = a }", "function f(a, b) { let x; x = b }"),
            (JavaScript, "(a, b) => { for (const x of a) {} }", "(a, b) => { for (const x of b) {} }"),
            (JavaScript, "function f(a, b) { const { x } = a }", "function f(a, b) { const { x } = b }"),
            (JavaScript, "function f(a, b) { a += b }", "function f(a, b) { b += a }"),
            (
                TypeScript,
                "function f(a: A, b = 1) { const x: B = a }",
                "function f(a: A, b = 1) { const x: B = b }",
            ),
            (Tsx, "const F = (a: A, b: B) => <p>{a}</p>", "const F = (a: A, b: B) => <p>{b}</p>"),
            (
                Java,
                "int f(int a, int b) { int x = a; return x; }",
                "int f(int a, int b) { int x = b; return x; }",
            ),
            (Java, "void f(int a, int b) { a++; }", "void f(int a, int b) { b++; }"),
            (Java, "void f(A a, A b) { for (A x : a) {} }", "void f(A a, A b) { for (A x : b) {} }"),
            (Go, "func f(a int, b int) { x := a }", "func f(a int, b int) { x := b }"),
            (Go, "func f(a int, b int) { a, b = b, a }", "func f(a int, b int) { a, b = a, b }"),
            (Go, "func f(a T, b T) { for k := range a {} }", "func f(a T, b T) { for k := range b {} }"),
            (Go, "func (a T) f(b T) { b-- }", "func (a T) f(b T) { a-- }"),
            (Rust, "fn f(a: A, b: A) { let x = a; }", "fn f(a: A, b: A) { let x = b; }"),
            (Rust, "fn f(a: A, b: A) { for x in a {} }", "fn f(a: A, b: A) { for x in b {} }"),
            (
                Rust,
                "fn f(a: A, b: A) { if let Some(x) = a {} }",
                "fn f(a: A, b: A) { if let Some(x) = b {} }",
            ),
            (Rust, "fn f(a: A) { let g = |x, y| x; }", "fn f(a: A) { let g = |x, y| y; }"),
            (C, "int f(int a, int b) { int x = a; }", "int f(int a, int b) { int x = b; }"),
            (C, "void f(int *a, int b) { *a = b; }", "void f(int *a, int b) { b = *a; }"),
            (C, "void f(int a) { int x; a = x; }", "void f(int a) { int x; x = a; }"),
            (Cpp, "void f(A a, A b) { for (auto x : a) {} }", "void f(A a, A b) { for (auto x : b) {} }"),
            (CSharp, "void F(int a, int b) { int x = a; }", "void F(int a, int b) { int x = b; }"),
            (
                CSharp,
                "void F(A a, A b) { foreach (var x in a) {} }",
                "void F(A a, A b) { foreach (var x in b) {} }",
            ),
            (CSharp, "void F(int a, int b) { ++a; }", "void F(int a, int b) { ++b; }"),
            (Php, "function f($a, $b) { $x = $a; }", "function f($a, $b) { $x = $b; }"),
            (
                Php,
                "function f($a, $b) { foreach ($a as $k => $v) {} }",
                "function f($a, $b) { foreach ($b as $k => $v) {} }",
            ),
            (Ruby, "def f(a, b)\n x = a\nend", "def f(a, b)\n x = b\nend"),
            (Ruby, "def f(a, b)\n a.each { |x| x }\nend", "def f(a, b)\n b.each { |x| x }\nend"),
            (Ruby, "def f(a, b: 1)\n a += b\nend", "def f(a, b: 1)\n b += a\nend"),
        ] {
            let (a, b) = (variables(language, one), variables(language, other));
            assert!(a.edges() > 0 && b.edges() > 0, "{language}: {one} {a:?}");
            assert_eq!(a.edges_in_common(&a), a.edges(), "{language}: {one}");
            let alike = a.edges() == b.edges() && a.edges_in_common(&b) == a.edges();
            assert!(!alike, "{language}: {one} {a:?} | {other} {b:?}");
        }
    }

    #[test]
    fn renaming_changes_nothing_and_addition_little() {
        let source = "def f(a, b):\n    c = a + b\n    return c * a";
        let known = variables(Language::Python, source);
        let renamed = variables(Language::Python, "def f(b, a):\n    x = b + a\n    return x * b");
        assert_eq!((known.edges_in_common(&renamed), renamed.edges()), (known.edges(), known.edges()));
        // By order alone the first new variable would shift all others.
        let longer = variables(Language::Python, "def f(z, a, b):\n    c = a + b\n    return c * a");
        assert_eq!(known.edges_in_common(&longer), known.edges());
    }

    #[test]
    fn what_nothing_binds_does_not_flow() {
        let prose = Tree::parse(Dialect::Main(Language::Python), "I think that I can do what I want");
        let ignored = vec![false; prose.nodes.len()];
        let (variables, of_nodes) =
            Variables::extract(Language::Python, Dialect::Main(Language::Python), &prose, &ignored);
        assert_eq!(variables.edges(), 0);
        assert!(of_nodes.iter().all(|variable| *variable == NONE));
    }
}
