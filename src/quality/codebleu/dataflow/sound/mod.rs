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
            for source in &item.sources {
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
        shared(Matching::Order).max(shared(Matching::Name))
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
