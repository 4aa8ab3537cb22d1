//! Syntax match: which subtrees of the reference occur in the prediction. Ren et al., "CodeBLEU", 2020, section 3.2.
//!
//! The published package compares the s-expressions of all subtrees as text, which costs the square of the tree. Two s-expressions
//! are equal exactly when the structural hashes here are: kinds of the named nodes and the fields that they fill.

use super::hash;
use super::language::Grammar;
use super::sexp;
use super::tree::{NONE, Tree};

/// What a subtree's hash is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// The s-expression's content: named nodes and fields.
    Named,
    /// Operators and keywords too, so that `a + b` and `a - b` differ; comments and what `skip` names are left out.
    Tokens,
}

/// The hashes of a tree's subtrees, sorted: the root's and those of all nodes with children.
#[derive(Debug, Default)]
pub(super) struct Subtrees {
    sorted: Vec<u64>,
}

/// Seeds that keep the kinds of list entries apart.
const ANONYMOUS: u64 = 1;
const MISSING: u64 = 2;
const UNREADABLE: u64 = 3;
const NAMED: u64 = 4;

/// The children of a node as a polynomial over the hashes of its entries, so that the children of an unprinted node can be spliced in.
#[derive(Debug, Clone, Copy)]
struct Sequence {
    hash: u64,
    power: u64,
}

impl Sequence {
    const EMPTY: Self = Self { hash: 0, power: 1 };
    /// An odd multiplier: products modulo 2^64 then lose nothing.
    const BASE: u64 = 0x2545_f491_4f6c_dd1d;

    fn one(entry: u64) -> Self {
        Self { hash: entry, power: Self::BASE }
    }

    fn then(self, next: Self) -> Self {
        Self {
            hash: self.hash.wrapping_mul(next.power).wrapping_add(next.hash),
            power: self.power.wrapping_mul(next.power),
        }
    }
}

impl Subtrees {
    /// Hashes a tree. In [`Detail::Tokens`] mode `skip` tells which leaves are no part of the program.
    pub(super) fn new(tree: &Tree<'_>, detail: Detail, skip: impl Fn(u32) -> bool) -> Self {
        let hidden = match detail {
            Detail::Named => sexp::hidden_missing(tree),
            Detail::Tokens => Vec::new(),
        };
        let mut hidden = hidden.into_iter().rev().peekable();
        let mut error_leaves = tree.error_leaves.iter().rev().peekable();
        // What each node contributes to its parent's sequence, built from the last node to the first.
        let mut inside = vec![Sequence::EMPTY; tree.nodes.len()];
        let mut sorted = Vec::with_capacity(tree.nodes.len() / 2 + 1);
        for at in (0..tree.nodes.len() as u32).rev() {
            let node = tree.node(at);
            // Invisible missing tokens come after a given number of this node's printed entries.
            let mut extra = Vec::new();
            while let Some(token) = hidden.next_if(|token| token.parent == at) {
                extra.push(token);
            }
            let mut entries = Sequence::EMPTY;
            let mut printed = 0;
            let mut splice = |entries: &mut Sequence, printed: usize| {
                while let Some(token) = extra.pop_if(|token| token.after <= printed) {
                    *entries = entries.then(Sequence::one(hash::mix(MISSING, hash::text(&token.text))));
                }
            };
            splice(&mut entries, printed);
            for child in tree.children(at) {
                entries = entries.then(inside[child as usize]);
                if tree.node(child).named || tree.node(child).missing {
                    printed += 1;
                    splice(&mut entries, printed);
                }
            }
            splice(&mut entries, usize::MAX);

            let is_leaf = node.first_child == NONE;
            let kind = u64::from(node.kind);
            let skipped =
                detail == Detail::Tokens && (node.extra && !Grammar::is_error(node.kind) || skip(at));
            let error_leaf = error_leaves.next_if(|(leaf, _)| *leaf == at);
            let whole = if let Some((_, text)) = error_leaf {
                hash::mix(UNREADABLE, hash::text(text))
            } else if node.missing {
                hash::mix(MISSING, hash::text(tree.kind(at)))
            } else {
                let head = hash::mix(if node.named { NAMED } else { ANONYMOUS }, kind);
                hash::mix(head, entries.hash)
            };
            inside[at as usize] = match detail {
                _ if skipped => Sequence::EMPTY,
                Detail::Named if !node.named && !node.missing => entries,
                _ => Sequence::one(hash::mix(whole, u64::from(node.field))),
            };
            let counts = match detail {
                Detail::Named => at == 0 || !is_leaf,
                // Code that did not parse earns nothing, and neither does an empty program.
                Detail::Tokens => !is_leaf && node.named && !skipped && !Grammar::is_error(node.kind),
            };
            if counts {
                sorted.push(whole);
            }
        }
        sorted.sort_unstable();
        Self { sorted }
    }

    /// Number of subtrees.
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// How many of these subtrees occur in `other`, each as often as it is here (the published count).
    pub(super) fn occurring_in(&self, other: &Self) -> usize {
        let mut rest = other.sorted.as_slice();
        let mut found = 0;
        for hash in &self.sorted {
            let skip = rest.partition_point(|h| h < hash);
            rest = &rest[skip..];
            found += usize::from(rest.first() == Some(hash));
        }
        found
    }

    /// The size of the common multiset: a subtree counts no more often than it is in either.
    pub(super) fn in_common(&self, other: &Self) -> usize {
        common(&self.sorted, &other.sorted)
    }
}

/// The size of the common multiset of two sorted lists.
pub(super) fn common(a: &[u64], b: &[u64]) -> usize {
    let mut rest = b.iter().peekable();
    let mut found = 0;
    for hash in a {
        while rest.next_if(|other| *other < hash).is_some() {}
        found += usize::from(rest.next_if(|other| *other == hash).is_some());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::language::{Dialect, Language};
    use super::*;

    fn subtrees(source: &str, detail: Detail) -> Subtrees {
        Subtrees::new(&Tree::parse(Dialect::Main(Language::Python), source), detail, |_| false)
    }

    #[test]
    fn names_and_operators_do_not_show_in_s_expressions() {
        let [a, b] = ["x = a + b", "y = c - 1"].map(|s| subtrees(s, Detail::Named));
        // module, expression_statement, assignment, binary_operator: only the literal tells them apart.
        assert_eq!((a.len(), a.occurring_in(&b)), (4, 0));
        let b = subtrees("y = c - d", Detail::Named);
        assert_eq!(a.occurring_in(&b), 4);
        let [a, b] = ["x = a + b", "y = c - d"].map(|s| subtrees(s, Detail::Tokens));
        assert_eq!(a.in_common(&b), 0);
    }

    #[test]
    fn one_subtree_can_match_many() {
        let [many, one] = ["f(x)\nf(x)\nf(x)", "f(x)"].map(|s| subtrees(s, Detail::Named));
        // expression_statement, call, argument_list, three times; the modules differ
        assert_eq!((many.len(), many.occurring_in(&one), many.in_common(&one)), (10, 9, 3));
    }

    #[test]
    fn a_node_without_name_is_transparent() {
        // `is not` is one anonymous node over two tokens.
        let [a, b] = ["x = a is not b", "x = a is b"].map(|s| subtrees(s, Detail::Named));
        assert_eq!((a.len(), b.len()), (5, 4));
        assert_eq!(b.occurring_in(&a), 4);
    }
}
