//! The tokens of a tree, numbered in the order of the text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::super::hash::{self, IdentityHasher};
use super::super::text::Lines;
use super::super::tree::Tree;

/// "No token" for a node.
const NONE: u32 = u32::MAX;
/// For a node that is a part of a token.
const PART: u32 = u32::MAX - 1;

/// How a token's text is cut out of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slicing {
    /// By bytes, as is right.
    Bytes,
    /// By byte columns that index characters, as the published package does.
    PublishedColumns,
}

/// The tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    /// For each node its token, or [`NONE`], or [`PART`] (by the published rule only).
    of_node: Vec<u32>,
    /// For each node how many tokens come before it in preorder.
    before: Vec<u32>,
    /// For each token the one that stands for all tokens of the same place (empty ones can coincide): the last.
    stands_for: Vec<u32>,
    /// For each token whether it is spelled like its kind: keywords and punctuation, by the published rule.
    plain: Vec<bool>,
    /// For each token the number of its name (its text); the largest number for keywords and punctuation.
    pub(super) names: Vec<u32>,
    /// Hash of each name.
    pub(super) name_hashes: Vec<u64>,
}

impl Tokens {
    /// Numbers the tokens: nodes without children, and those with children for which `is_whole` says so. `is_none` names leaves that
    /// are no tokens.
    pub(super) fn new(
        tree: &Tree<'_>,
        slicing: Slicing,
        is_whole: impl Fn(u16) -> bool,
        is_none: impl Fn(u32) -> bool,
    ) -> Self {
        let published = slicing == Slicing::PublishedColumns;
        // In ASCII bytes are characters.
        let lines = (published && !tree.text.is_ascii()).then(|| Lines::new(tree.text));
        let count = tree.nodes.len();
        let mut tokens = Self {
            of_node: vec![NONE; count],
            before: Vec::with_capacity(count + 1),
            stands_for: Vec::with_capacity(count / 2),
            plain: Vec::with_capacity(count / 2),
            names: Vec::with_capacity(count / 2),
            name_hashes: Vec::new(),
        };
        let mut numbers: HashMap<u64, u32, BuildHasherDefault<IdentityHasher>> = HashMap::default();
        numbers.reserve(count / 8);
        // Tokens that are where the one before them is, and that place.
        let mut coinciding: Vec<u32> = Vec::new();
        let mut place = (u32::MAX, u32::MAX);
        let mut inside_until = 0;
        for at in 0..count as u32 {
            tokens.before.push(tokens.names.len() as u32);
            let node = tree.node(at);
            if published && at < inside_until {
                tokens.of_node[at as usize] = PART;
            }
            if at < inside_until || (tree.has_children(at) && !is_whole(node.kind)) || is_none(at) {
                continue;
            }
            inside_until = node.end;
            let text: Cow<'_, str> = match &lines {
                Some(lines) => lines.between(node.bytes),
                None => match tree.source(at) {
                    // A published token of several lines is joined without their ends.
                    text if published && text.contains('\n') => text.replace('\n', "").into(),
                    text => text.into(),
                },
            };
            let plain = published && text == tree.kind(at);
            let token = tokens.names.len() as u32;
            tokens.of_node[at as usize] = token;
            tokens.stands_for.push(token);
            if node.bytes == place {
                coinciding.push(token);
            }
            place = node.bytes;
            tokens.plain.push(plain);
            // Nobody asks for the name of a keyword.
            let name = if plain { NONE } else { tokens.intern(&text, &mut numbers) };
            tokens.names.push(name);
        }
        tokens.before.push(tokens.names.len() as u32);
        for later in coinciding.into_iter().rev() {
            tokens.stands_for[later as usize - 1] = tokens.stands_for[later as usize];
        }
        tokens
    }

    /// The number of a name. Equality of hashes stands for equality of names.
    fn intern(
        &mut self,
        text: &str,
        numbers: &mut HashMap<u64, u32, BuildHasherDefault<IdentityHasher>>,
    ) -> u32 {
        let hash = hash::text(text);
        let next = self.name_hashes.len() as u32;
        let name = *numbers.entry(hash).or_insert(next);
        if name == next {
            self.name_hashes.push(hash);
        }
        name
    }

    /// The token of a node: its number, and whether it is spelled like its kind.
    pub(super) fn of(&self, node: u32) -> Option<(u32, bool)> {
        let token = self.of_node[node as usize];
        (token < PART).then(|| (self.stands_for[token as usize], self.plain[token as usize]))
    }

    /// Whether a node is a part of a token: the published package knows no such place, and raises when it comes there.
    pub(super) fn is_part(&self, node: u32) -> bool {
        self.of_node[node as usize] == PART
    }

    /// The name of each node that is a token; the largest number for the others.
    pub(super) fn names_of_nodes(&self) -> Vec<u32> {
        let name = |token: &u32| if *token >= PART { NONE } else { self.names[*token as usize] };
        self.of_node.iter().map(name).collect()
    }

    /// The tokens below (or at) a node that are not spelled like their kinds: names and literals.
    pub(super) fn variables<'s>(&'s self, tree: &Tree<'_>, node: u32) -> impl Iterator<Item = u32> + 's {
        let range = self.before[node as usize]..self.before[tree.node(node).end as usize];
        range.filter(|token| !self.plain[*token as usize]).map(|token| self.stands_for[token as usize])
    }
}
