//! Data flow for the sound score: rules that fit the current grammars, variables only, and a comparison edge by edge.

mod lower;
mod rules;

use std::collections::HashSet;
use std::sync::OnceLock;

use self::rules::Rules;
use super::super::hash;
use super::super::language::{Dialect, Language};
use super::super::syntax::common;
use super::super::tree::{NONE, Tree};
use super::flow::{self, Flow, Source};
use super::program::{Program, Relation};
use super::tokens::{Slicing, Tokens};

/// "A value of `from` reaches `to`."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edge {
    to: u32,
    from: u32,
    relation: Relation,
}

/// The edges between the variables of a source. Variables are numbered in the order of their appearance.
#[derive(Debug, Default)]
pub(in super::super) struct Edges {
    edges: Vec<Edge>,
    /// Hash of each variable's name.
    names: Vec<u64>,
}

/// How many edges are compared; an assignment of thousands to thousands would have millions.
const EDGE_LIMIT: usize = 200_000;

impl Edges {
    /// Extracts the edges of a tree; `ignored` nodes are not walked.
    pub(in super::super) fn extract(
        language: Language,
        dialect: Dialect,
        tree: &Tree<'_>,
        ignored: &[bool],
    ) -> Self {
        static RULES: [OnceLock<Rules>; Dialect::COUNT] = [const { OnceLock::new() }; Dialect::COUNT];
        let rules = RULES[dialect.index()].get_or_init(|| Rules::new(language, dialect));
        let is_none = |at: u32| {
            let node = tree.node(at);
            let parent = (node.parent != NONE).then(|| tree.node(node.parent).kind);
            ignored[at as usize] || node.missing || !rules.is_variable(node.kind, node.field, parent)
        };
        let tokens = Tokens::new(tree, Slicing::Bytes, |kind| rules.is_whole_variable(kind), is_none);
        let Ok(program) = lower::lower(tree, tokens, rules) else { return Self::default() };
        let Some(flow) = flow::analyse(&program) else { return Self::default() };
        Self::new(&program, &flow)
    }

    fn new(program: &Program, flow: &Flow) -> Self {
        let mut this = Self::default();
        let mut numbers = vec![NONE; program.name_count as usize];
        for item in &flow.items {
            let to = this.number(&mut numbers, program, item.token);
            for source in &item.sources {
                match source {
                    Source::Nothing => {}
                    Source::Itself => this.push(Edge { to, from: to, relation: item.relation }),
                    Source::Tokens(list) => {
                        for token in &program.lists[list.range()] {
                            let from = this.number(&mut numbers, program, *token);
                            this.push(Edge { to, from, relation: item.relation });
                        }
                    }
                }
            }
        }
        this
    }

    fn number(&mut self, numbers: &mut [u32], program: &Program, token: u32) -> u32 {
        let name = program.names[token as usize] as usize;
        if numbers[name] == NONE {
            numbers[name] = self.names.len() as u32;
            self.names.push(program.name_hashes[name]);
        }
        numbers[name]
    }

    fn push(&mut self, edge: Edge) {
        if self.edges.len() < EDGE_LIMIT {
            self.edges.push(edge);
        }
    }

    /// Number of edges.
    pub(in super::super) fn len(&self) -> usize {
        self.edges.len()
    }

    /// How many edges two sources share, variables matched up in the better of two ways: all by order of appearance (a consistent
    /// renaming changes nothing), or those with the same name first and the others by order (an added variable does not
    /// shift the rest).
    pub(in super::super) fn in_common(&self, other: &Self) -> usize {
        let by_order = common(&self.hashes(u64::from), &other.hashes(u64::from));
        let (own, others) = (self.labels_against(other), other.labels_against(self));
        let by_name = common(&self.hashes(|v| own[v as usize]), &other.hashes(|v| others[v as usize]));
        by_order.max(by_name)
    }

    /// Labels by which variables are matched up with those of `other`: names that both have, and numbers for the rest.
    fn labels_against(&self, other: &Self) -> Vec<u64> {
        let theirs: HashSet<u64> = other.names.iter().copied().collect();
        let mut unshared = 0;
        let label = |name: &u64| {
            if theirs.contains(name) {
                return *name;
            }
            unshared += 1;
            unshared
        };
        self.names.iter().map(label).collect()
    }

    fn hashes(&self, label: impl Fn(u32) -> u64) -> Vec<u64> {
        let mut hashes: Vec<u64> = self
            .edges
            .iter()
            .map(|edge| {
                let relation = match edge.relation {
                    Relation::ComesFrom => 1,
                    Relation::ComputedFrom => 2,
                };
                hash::mix(hash::mix(label(edge.to), label(edge.from)), relation)
            })
            .collect();
        hashes.sort_unstable();
        hashes
    }
}
