//! A source reduced to what the data-flow match looks at: a straight list of uses and definitions, with brackets for what may or may
//! not run and for what runs twice. Walking the list needs no recursion, whatever the source looked like.

/// How a value reaches a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// A use of what was defined before, or a declaration.
    ComesFrom,
    /// An assignment.
    ComputedFrom,
}

/// A slice of [`Program::lists`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl List {
    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What a definition records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Each target once with all parents as they stand, repetitions included, even when there are none.
    Together,
    /// Each target with each parent; nothing without parents.
    Pairwise,
    /// Each target without parents.
    Bare,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// A token is read. It comes from the definitions of its name; an identifier without any becomes one.
    Use { token: u32, identifier: bool },
    /// The targets are defined by the parents.
    Define { targets: List, parents: List, relation: Relation, form: Form },
    /// A choice begins; what follows is its first branch.
    ChoiceBegin,
    /// The next branch begins, in the state from before the choice.
    ChoiceNext,
    /// The choice ends: a name may have what any branch gave it, and with `skippable` what it had before.
    ChoiceEnd { skippable: bool },
    /// What follows, up to [`Op::LoopBetween`], runs twice.
    LoopBegin { number: u32 },
    /// What follows, up to [`Op::LoopEnd`], runs between the two turns (for Go's update clauses; else empty).
    LoopBetween { number: u32 },
    /// The loop ends.
    LoopEnd { number: u32 },
}

/// Where a loop's parts are in [`Program::ops`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Loop {
    pub(super) begin: u32,
    pub(super) between: u32,
    pub(super) end: u32,
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct Program {
    /// The steps.
    pub(super) ops: Vec<Op>,
    /// Tokens, sliced by the definitions.
    pub(super) lists: Vec<u32>,
    /// The loops by number.
    pub(super) loops: Vec<Loop>,
    /// The name of each token.
    pub(super) names: Vec<u32>,
    /// Hash of each name.
    pub(super) name_hashes: Vec<u64>,
    /// How many names there are.
    pub(super) name_count: u32,
}
