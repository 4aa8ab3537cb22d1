//! Data flow as PyPI `codebleu` 0.7.0 extracts it, its dead rules included.

mod lower;
mod names;
mod rules;

use std::collections::HashMap;
use std::sync::OnceLock;

use self::lower::Rules;
use super::super::hash;
use super::super::language::Language;
use super::super::syntax::common;
use super::super::tree::Tree;
use super::flow::{self, Flow, Source};
use super::program::{Program, Relation};
use super::tokens::{Slicing, Tokens};

/// Kinds that are one token although they have children.
const WHOLE: &[&str] = &["string_literal", "string", "character_literal"];

/// How deep a tree can be before Python raises `RecursionError` (limit 1000) in the published package, called from a script. It
/// then has no data flow.
const PYTHON_DEPTH: u32 = 993;

/// The relations of one source: a hash each, sorted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in super::super) struct Relations {
    sorted: Vec<u64>,
}

impl Relations {
    /// Number of relations.
    pub(in super::super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The size of the common multiset.
    pub(in super::super) fn in_common(&self, other: &Self) -> usize {
        common(&self.sorted, &other.sorted)
    }

    /// Extracts the relations of a tree.
    pub(in super::super) fn extract(language: Language, tree: &Tree<'_>) -> Self {
        static RULES: [OnceLock<Rules>; Language::ALL.len()] =
            [const { OnceLock::new() }; Language::ALL.len()];
        if tree.depth > PYTHON_DEPTH {
            return Self::default();
        }
        let rules = RULES[language as usize].get_or_init(|| rules::rules(language));
        let is_whole = |kind: u16| WHOLE.contains(&tree.grammar.kind(kind));
        let is_comment = |at: u32| tree.kind(at) == "comment";
        let tokens = Tokens::new(tree, Slicing::PublishedColumns, is_whole, is_comment);
        let Ok(program) = lower::lower(tree, tokens, rules) else { return Self::default() };
        flow::analyse(&program).map_or_else(Self::default, |flow| Self::new(&program, &flow))
    }

    fn new(program: &Program, flow: &Flow) -> Self {
        let mut variables = vec![UNNUMBERED; program.name_count as usize];
        let mut count = 0u64;
        let mut number = |name: u32| {
            let slot = &mut variables[name as usize];
            if *slot == UNNUMBERED {
                *slot = count;
                count += 1;
            }
            *slot
        };
        // A long list of parents is hashed once: an assignment to many targets from many sources would otherwise cost their product.
        let mut known: HashMap<(u32, u32, bool), u64> = HashMap::new();
        let mut sorted = Vec::with_capacity(flow.items.len());
        let mut seen = vec![0u32; program.name_count as usize];
        for (round, item) in (1u32..).zip(&flow.items) {
            let has_parents = item.sources().any(|source| match source {
                Source::Nothing => false,
                Source::Itself => true,
                Source::Tokens(list) => !list.is_empty(),
            });
            if !has_parents && !flow.is_parent[item.token as usize] {
                continue;
            }
            let own = program.names[item.token as usize];
            let mut hash_of = || {
                let mut parents = 0;
                let mut add = |name: u32| {
                    if !item.merged || seen[name as usize] != round {
                        seen[name as usize] = round;
                        parents = hash::mix(parents, number(name) + 1);
                    }
                };
                for source in item.sources() {
                    match source {
                        Source::Nothing => {}
                        Source::Itself => add(own),
                        Source::Tokens(list) => {
                            program.lists[list.range()]
                                .iter()
                                .for_each(|token| add(program.names[*token as usize]));
                        }
                    }
                }
                parents
            };
            let parents = match item.source {
                Source::Tokens(list) if item.more.is_empty() && list.range().len() > SHORT => {
                    *known.entry((list.start, list.end, item.merged)).or_insert_with(hash_of)
                }
                _ => hash_of(),
            };
            let variable = number(own);
            let relation = match item.relation {
                Relation::ComesFrom => 1,
                Relation::ComputedFrom => 2,
            };
            sorted.push(hash::mix(hash::mix(parents, variable), relation));
        }
        sorted.sort_unstable();
        Self { sorted }
    }
}

const UNNUMBERED: u64 = u64::MAX;

/// Parents that are hashed sooner than looked up.
const SHORT: usize = 16;
