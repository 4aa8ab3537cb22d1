//! Syntax match: which subtrees of the reference occur in the prediction. Ren et al., "CodeBLEU", 2020, section 3.2.
//!
//! The published package compares the s-expressions of all subtrees as text, which costs the square of the tree. Two s-expressions
//! are equal exactly when the structural hashes here are: kinds of the named nodes and the fields that they fill.

use super::hash;
use super::language::Grammar;
use super::sexp;
use super::tree::{NONE, Tree};

/// The hashes of a tree's subtrees, sorted: the root's and those of all nodes with children.
#[derive(Debug, Default, Clone)]
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
    /// The subtrees as their s-expressions show them: named nodes and fields, the root and all nodes with children. What is wrong is part
    /// of the s-expression, if the tree was parsed to be printed; else subtrees with errors are left out, which makes no difference in a
    /// comparison with sources that have none.
    pub(super) fn printed(tree: &Tree<'_>) -> Self {
        let mut hidden = sexp::hidden_missing(tree).into_iter().rev().peekable();
        let mut error_leaves = tree.error_leaves.iter().rev().peekable();
        let printable = tree.is_printable();
        // What each node contributes to its parent's sequence, built from the last node to the first.
        let mut inside = vec![Sequence::EMPTY; tree.nodes.len()];
        let mut sorted = Vec::with_capacity(tree.nodes.len() / 2 + 1);
        for at in (0..tree.nodes.len() as u32).rev() {
            let node = tree.node(at);
            let mut own_hidden = Vec::new();
            while let Some(token) = hidden.next_if(|token| token.parent == at) {
                own_hidden.push(token);
            }
            let mut entries = Sequence::EMPTY;
            let mut printed = 0;
            let mut insert_hidden = |entries: &mut Sequence, printed: usize| {
                while let Some(token) = own_hidden.pop_if(|token| token.after <= printed) {
                    *entries = entries.then(Sequence::one(hash::mix(MISSING, hash::text(&token.text))));
                }
            };
            insert_hidden(&mut entries, printed);
            for child in tree.children(at) {
                entries = entries.then(inside[child as usize]);
                if tree.node(child).named || tree.node(child).missing {
                    printed += 1;
                    insert_hidden(&mut entries, printed);
                }
            }
            insert_hidden(&mut entries, usize::MAX);
            let whole = match error_leaves.next_if(|(leaf, _)| *leaf == at) {
                Some((_, text)) if text != "(ERROR)" => hash::mix(UNREADABLE, hash::text(text)),
                // An error that names no character prints like one over punctuation.
                _ => whole(tree, at, entries),
            };
            inside[at as usize] = if node.named || node.missing {
                Sequence::one(hash::mix(whole, u64::from(node.field)))
            } else {
                // A node without a name prints as its children.
                entries
            };
            let comparable = printable || !node.has_error;
            if comparable && (at == 0 || node.first_child != NONE) {
                sorted.push(whole);
            }
        }
        sorted.sort_unstable();
        Self { sorted }
    }

    /// The subtrees of a program: operators and keywords count, so that `a + b` and `a - b` differ. Nodes that are `ignored` are left
    /// out, and those that are `transparent` are taken for their children.
    pub(super) fn of_program(
        tree: &Tree<'_>,
        ignored: impl Fn(u32) -> bool,
        transparent: impl Fn(u32) -> bool,
    ) -> Self {
        let mut fields: Vec<u16> = Vec::with_capacity(tree.nodes.len());
        let mut is_transparent: Vec<bool> = Vec::with_capacity(tree.nodes.len());
        for (at, node) in tree.nodes.iter().enumerate() {
            let inherits = node.parent != NONE && is_transparent[node.parent as usize];
            fields.push(if inherits { fields[node.parent as usize] } else { node.field });
            is_transparent.push(transparent(at as u32));
        }
        let mut inside = vec![Sequence::EMPTY; tree.nodes.len()];
        let mut sorted = Vec::with_capacity(tree.nodes.len() / 2 + 1);
        for at in (0..tree.nodes.len() as u32).rev() {
            if ignored(at) {
                continue;
            }
            let entries =
                tree.children(at).fold(Sequence::EMPTY, |all, child| all.then(inside[child as usize]));
            if is_transparent[at as usize] {
                inside[at as usize] = entries;
                continue;
            }
            let node = tree.node(at);
            let whole = whole(tree, at, entries);
            inside[at as usize] = Sequence::one(hash::mix(whole, u64::from(fields[at as usize])));
            // Code that did not parse earns nothing, and neither does an empty program.
            if node.first_child != NONE && node.named && !Grammar::is_error(node.kind) {
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

/// A subtree's hash, given its children's.
fn whole(tree: &Tree<'_>, at: u32, entries: Sequence) -> u64 {
    let node = tree.node(at);
    if node.missing {
        return hash::mix(MISSING, hash::text(tree.kind(at)));
    }
    let head = hash::mix(if node.named { NAMED } else { ANONYMOUS }, u64::from(node.kind));
    hash::mix(head, entries.hash)
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

    fn tree(source: &str) -> Tree<'_> {
        Tree::parse(Dialect::Main(Language::Python), source)
    }

    fn printed(source: &str) -> Subtrees {
        Subtrees::printed(&Tree::parse_printed(Dialect::Main(Language::Python), source))
    }

    fn of_program(source: &str) -> Subtrees {
        Subtrees::of_program(&tree(source), |_| false, |_| false)
    }

    #[test]
    fn names_and_operators_do_not_show_in_s_expressions() {
        let [a, b] = ["x = a + b", "y = c - 1"].map(printed);
        // module, expression_statement, assignment, binary_operator: only the literal tells them apart.
        assert_eq!((a.len(), a.occurring_in(&b)), (4, 0));
        let b = printed("y = c - d");
        assert_eq!(a.occurring_in(&b), 4);
        let [a, b] = ["x = a + b", "y = c - d"].map(of_program);
        assert_eq!(a.in_common(&b), 0);
    }

    #[test]
    fn one_subtree_can_match_many() {
        let [many, one] = ["f(x)\nf(x)\nf(x)", "f(x)"].map(printed);
        // expression_statement, call, argument_list, three times; the modules differ
        assert_eq!((many.len(), many.occurring_in(&one), many.in_common(&one)), (10, 9, 3));
    }

    #[test]
    fn a_node_without_name_is_transparent() {
        // `is not` is one anonymous node over two tokens.
        let [a, b] = ["x = a is not b", "x = a is b"].map(printed);
        assert_eq!((a.len(), b.len()), (5, 4));
        assert_eq!(b.occurring_in(&a), 4);
    }
}
