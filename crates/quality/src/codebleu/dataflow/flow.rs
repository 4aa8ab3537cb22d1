//! The analysis of a [`Program`]: which definitions reach which uses.
//!
//! The published package walks the body of a loop twice and both turns of an outer loop walk the inner ones again, so that its time
//! doubles with each nesting. The same result comes from one walk. What a piece of program does to a name is one of very few things:
//! it leaves its definitions, replaces them, or adds to them; and which of these it is does not depend on other names. So each loop
//! body is first reduced to its *transfer*, what it does to each name that it touches (found by two silent walks: with no name
//! defined, and with every name defined somewhere outside, the mark). Then one recording walk goes through the body in the union
//! of the states in which its two turns would begin, which records what both turns together would have recorded.

use super::program::{Form, List, Loop, Op, Program, Relation};

/// A set of tokens: the empty set, or a node of [`Sets`].
type Set = u32;
const EMPTY: Set = 0;

/// Sets of tokens, built by union only. A set is never listed before the end, so a union is a node over its two parts.
#[derive(Debug)]
struct Sets {
    nodes: Vec<SetNode>,
    used: Vec<bool>,
}

#[derive(Debug, Clone, Copy)]
enum SetNode {
    Token(u32),
    Union(Set, Set),
}

impl Sets {
    fn new() -> Self {
        Self { nodes: vec![SetNode::Token(u32::MAX)], used: vec![false] }
    }

    fn push(&mut self, node: SetNode) -> Set {
        self.nodes.push(node);
        self.used.push(false);
        (self.nodes.len() - 1) as Set
    }

    fn token(&mut self, token: u32) -> Set {
        self.push(SetNode::Token(token))
    }

    fn union(&mut self, a: Set, b: Set) -> Set {
        match (a, b) {
            (EMPTY, other) | (other, EMPTY) => other,
            (a, b) if a == b => a,
            (a, b) => self.push(SetNode::Union(a, b)),
        }
    }

    /// Flags the tokens of all sets that were used as parents.
    fn flag_used(&mut self, flags: &mut [bool]) {
        for at in (1..self.nodes.len()).rev() {
            if self.used[at] {
                match self.nodes[at] {
                    SetNode::Token(token) => flags[token as usize] = true,
                    // Parts come before their union.
                    SetNode::Union(a, b) => {
                        self.used[a as usize] = true;
                        self.used[b as usize] = true;
                    }
                }
            }
        }
    }
}

/// What a name may be at some point: a union over the ways to get there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value {
    /// It may be undefined.
    absent: bool,
    /// It may have the definitions from before the loop body that is being reduced.
    mark: bool,
    /// Definitions that may reach.
    set: Set,
}

const UNDEFINED: Value = Value { absent: true, mark: false, set: EMPTY };
const MARKED: Value = Value { absent: false, mark: true, set: EMPTY };

/// What a loop body does to one name.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    name: u32,
    /// What becomes of an undefined name.
    undefined: Value,
    /// What becomes of a defined one; the mark stands for its definitions.
    defined: Value,
}

/// What is known of one token after the walk.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// The token.
    pub(super) token: u32,
    /// How values reach it.
    pub(super) relation: Relation,
    /// Where its parents come from at first.
    pub(super) source: Source,
    /// And later, in the order of the walk; most tokens are met once.
    pub(super) more: Vec<Source>,
    /// Whether the published package would have merged several records, which drops repeated parents.
    pub(super) merged: bool,
}

impl Item {
    /// Where its parents come from, in the order of the walk.
    pub(super) fn sources(&self) -> impl Iterator<Item = Source> {
        std::iter::once(self.source).chain(self.more.iter().copied())
    }
}

/// Parents of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// No parents.
    Nothing,
    /// The name itself, defined before.
    Itself,
    /// The parents of a definition.
    Tokens(List),
}

/// The result: items by token, and which tokens are some token's parent.
#[derive(Debug)]
pub(super) struct Flow {
    /// At most one item for each token, by ascending token.
    pub(super) items: Vec<Item>,
    /// Whether a token is a parent of a recorded item.
    pub(super) is_parent: Vec<bool>,
}

/// How many state changes a source may need. Above it (sources of many thousands of nested loops) there is no data flow.
const WORK_LIMIT: usize = 50_000_000;

/// Runs the analysis; `None` when it would take too much work.
pub(super) fn analyse(program: &Program) -> Option<Flow> {
    counted(program).map(|(flow, _)| flow)
}

/// Runs the analysis and tells how much work it was.
fn counted(program: &Program) -> Option<(Flow, usize)> {
    let tokens = program.names.len();
    let mut walk = Walk {
        program,
        sets: Sets::new(),
        state: State::new(program.name_count as usize),
        transfers: Vec::with_capacity(program.loops.len()),
        items: vec![None; tokens],
        is_parent: vec![false; tokens],
        work: 0,
    };
    // Inner loops end first, so their transfers are there when an outer one needs them.
    let mut order: Vec<usize> = (0..program.loops.len()).collect();
    order.sort_unstable_by_key(|number| program.loops[*number].end);
    walk.transfers.resize_with(program.loops.len(), Default::default);
    for number in order {
        let Loop { begin, between, end } = program.loops[number];
        let turn = walk.reduce(begin + 1, between)?;
        let gap = walk.reduce(between + 1, end)?;
        walk.transfers[number] = (turn, gap);
    }
    walk.state.restart(UNDEFINED);
    walk.run(0, program.ops.len() as u32, true)?;
    walk.sets.flag_used(&mut walk.is_parent);
    let flow = Flow { items: walk.items.into_iter().flatten().collect(), is_parent: walk.is_parent };
    Some((flow, walk.work))
}

/// The values of all names, with a log of changes to take them back.
#[derive(Debug)]
struct State {
    values: Vec<Value>,
    /// The restart at which a value was last written; an older one has the default.
    written: Vec<u32>,
    restarts: u32,
    default: Value,
    /// (name, value before).
    log: Vec<(u32, Value)>,
    /// Scratch for [`State::take_back`]: the last sweep that met a name.
    swept: Vec<u32>,
    sweeps: u32,
}

impl State {
    fn new(names: usize) -> Self {
        Self {
            values: vec![UNDEFINED; names],
            written: vec![0; names],
            restarts: 0,
            default: UNDEFINED,
            log: Vec::new(),
            swept: vec![0; names],
            sweeps: 0,
        }
    }

    fn restart(&mut self, default: Value) {
        self.restarts += 1;
        self.default = default;
        self.log.clear();
    }

    fn get(&self, name: u32) -> Value {
        if self.written[name as usize] == self.restarts { self.values[name as usize] } else { self.default }
    }

    fn set(&mut self, name: u32, value: Value) {
        let before = self.get(name);
        if before != value {
            self.log.push((name, before));
            self.written[name as usize] = self.restarts;
            self.values[name as usize] = value;
        }
    }

    /// Takes back all changes since the log had this length and tells them: each changed name with its last value.
    fn take_back(&mut self, length: usize) -> Vec<(u32, Value)> {
        self.sweeps += 1;
        let mut changed = Vec::new();
        for at in (length..self.log.len()).rev() {
            let (name, before) = self.log[at];
            if self.swept[name as usize] != self.sweeps {
                self.swept[name as usize] = self.sweeps;
                changed.push((name, self.get(name)));
            }
            self.values[name as usize] = before;
        }
        self.log.truncate(length);
        changed
    }
}

/// An open bracket.
#[derive(Debug)]
enum Frame {
    Choice {
        log: usize,
        branches: Vec<Vec<(u32, Value)>>,
    },
    /// What the loop's names are between the turns and after them.
    Loop {
        between: Vec<(u32, Value)>,
        after: Vec<(u32, Value)>,
    },
}

struct Walk<'p> {
    program: &'p Program,
    sets: Sets,
    state: State,
    /// For each loop: what a turn does, and what is done between the turns.
    transfers: Vec<(Vec<Transfer>, Vec<Transfer>)>,
    items: Vec<Option<Item>>,
    is_parent: Vec<bool>,
    work: usize,
}

impl Walk<'_> {
    /// What the steps `begin..end` do to each name that they touch.
    fn reduce(&mut self, begin: u32, end: u32) -> Option<Vec<Transfer>> {
        if begin == end {
            return Some(Vec::new());
        }
        self.state.restart(MARKED);
        self.run(begin, end, false)?;
        let mut defined = self.state.take_back(0);
        self.state.restart(UNDEFINED);
        self.run(begin, end, false)?;
        let mut undefined = self.state.take_back(0);
        defined.sort_unstable_by_key(|(name, _)| *name);
        undefined.sort_unstable_by_key(|(name, _)| *name);
        let mut transfers = Vec::with_capacity(undefined.len());
        let (mut d, mut u) = (defined.iter().copied().peekable(), undefined.iter().copied().peekable());
        while let Some(name) = [d.peek(), u.peek()].into_iter().flatten().map(|(name, _)| *name).min() {
            transfers.push(Transfer {
                name,
                undefined: u.next_if(|(n, _)| *n == name).map_or(UNDEFINED, |(_, value)| value),
                defined: d.next_if(|(n, _)| *n == name).map_or(MARKED, |(_, value)| value),
            });
        }
        Some(transfers)
    }

    fn apply(&mut self, transfer: &Transfer, value: Value) -> Value {
        let mut out = Value { absent: false, mark: false, set: EMPTY };
        if value.absent {
            out.absent = transfer.undefined.absent;
            out.set = transfer.undefined.set;
        }
        if value.mark || value.set != EMPTY {
            if transfer.defined.mark {
                out.mark = value.mark;
                out.set = self.sets.union(out.set, value.set);
            }
            out.set = self.sets.union(out.set, transfer.defined.set);
        }
        out
    }

    fn apply_to(&mut self, transfers: &[Transfer], names: &mut [(u32, Value)]) {
        let mut rest = transfers.iter().peekable();
        for (name, value) in names {
            while rest.next_if(|t| t.name < *name).is_some() {}
            if let Some(transfer) = rest.next_if(|t| t.name == *name) {
                *value = self.apply(transfer, *value);
            }
        }
        self.work += transfers.len();
    }

    fn either(&mut self, a: Value, b: Value) -> Value {
        Value { absent: a.absent || b.absent, mark: a.mark || b.mark, set: self.sets.union(a.set, b.set) }
    }

    fn write(&mut self, values: &[(u32, Value)]) {
        for (name, value) in values {
            self.state.set(*name, *value);
        }
    }

    /// Walks the steps `begin..end`; a silent walk changes the state only.
    fn run(&mut self, begin: u32, end: u32, record: bool) -> Option<()> {
        let program = self.program;
        let mut frames: Vec<Frame> = Vec::new();
        // Inside a loop everything is recorded by two turns.
        let mut turns = 0usize;
        let mut at = begin;
        while at < end {
            self.work += 1;
            if self.work > WORK_LIMIT {
                return None;
            }
            match program.ops[at as usize] {
                Op::Use { token, identifier } => self.use_token(token, identifier, record, turns > 0),
                Op::Define { targets, parents, relation, form } => {
                    self.define(targets, parents, relation, form, record, turns > 0);
                }
                Op::ChoiceBegin => {
                    frames.push(Frame::Choice { log: self.state.log.len(), branches: Vec::new() })
                }
                Op::ChoiceNext => {
                    if let Some(Frame::Choice { log, branches }) = frames.last_mut() {
                        branches.push(self.state.take_back(*log));
                    }
                }
                Op::ChoiceEnd { skippable } => {
                    if let Some(Frame::Choice { log, mut branches }) = frames.pop() {
                        branches.push(self.state.take_back(log));
                        self.join(branches, skippable);
                    }
                }
                Op::LoopBegin { number } => {
                    let (turn, gap) = std::mem::take(&mut self.transfers[number as usize]);
                    let mut names: Vec<u32> = turn.iter().chain(&gap).map(|t| t.name).collect();
                    names.sort_unstable();
                    names.dedup();
                    let first: Vec<_> = names.iter().map(|name| (*name, self.state.get(*name))).collect();
                    let mut between = first.clone();
                    self.apply_to(&turn, &mut between);
                    let mut second = between.clone();
                    self.apply_to(&gap, &mut second);
                    let mut after = second.clone();
                    self.apply_to(&turn, &mut after);
                    self.transfers[number as usize] = (turn, gap);
                    if record {
                        let both: Vec<_> = first
                            .iter()
                            .zip(&second)
                            .map(|((name, a), (_, b))| (*name, self.either(*a, *b)))
                            .collect();
                        self.write(&both);
                        frames.push(Frame::Loop { between, after });
                        turns += 1;
                    } else {
                        self.write(&after);
                        at = program.loops[number as usize].end;
                    }
                }
                Op::LoopBetween { .. } => {
                    if let Some(Frame::Loop { between, .. }) = frames.last() {
                        let between = between.clone();
                        self.write(&between);
                        turns -= 1;
                    }
                }
                Op::LoopEnd { .. } => {
                    if let Some(Frame::Loop { after, .. }) = frames.pop() {
                        self.write(&after);
                    }
                }
            }
            at += 1;
        }
        Some(())
    }

    /// The state after a choice.
    fn join(&mut self, branches: Vec<Vec<(u32, Value)>>, skippable: bool) {
        let count = branches.len() + usize::from(skippable);
        let mut changed: Vec<(u32, Value)> = branches.into_iter().flatten().collect();
        self.work += changed.len();
        // Stable, so that a name's values stay in the order of the branches.
        changed.sort_by_key(|(name, _)| *name);
        for group in changed.chunk_by(|a, b| a.0 == b.0) {
            let name = group[0].0;
            let mut value = group[0].1;
            let untouched = (group.len() < count).then(|| self.state.get(name));
            for next in group[1..].iter().map(|(_, value)| *value).chain(untouched) {
                let absent = value.absent && next.absent;
                value = Value { absent, ..self.either(value, next) };
            }
            self.state.set(name, value);
        }
    }

    fn use_token(&mut self, token: u32, identifier: bool, record: bool, twice: bool) {
        let name = self.program.names[token as usize];
        let value = self.state.get(name);
        let defined = value.mark || value.set != EMPTY;
        if record {
            self.record(
                token,
                Relation::ComesFrom,
                if defined { Source::Itself } else { Source::Nothing },
                twice,
            );
            self.sets.used[value.set as usize] = true;
        }
        if value.absent && identifier {
            let own = self.sets.token(token);
            let set = self.sets.union(value.set, own);
            self.state.set(name, Value { absent: false, set, ..value });
        }
    }

    fn define(
        &mut self,
        targets: List,
        parents: List,
        relation: Relation,
        form: Form,
        record: bool,
        twice: bool,
    ) {
        let program = self.program;
        if record && form != Form::Bare {
            for parent in &program.lists[parents.range()] {
                // Without a target nothing is recorded.
                self.is_parent[*parent as usize] |= !targets.is_empty();
            }
            self.work += parents.range().len();
        }
        for target in &program.lists[targets.range()] {
            self.work += 1;
            if record {
                match form {
                    Form::Bare => self.record(*target, relation, Source::Nothing, twice),
                    Form::Pairwise if parents.is_empty() => {}
                    Form::Pairwise => self.record(*target, relation, Source::Tokens(parents), true),
                    Form::Together => self.record(*target, relation, Source::Tokens(parents), twice),
                }
            }
            let set = self.sets.token(*target);
            self.state.set(program.names[*target as usize], Value { absent: false, mark: false, set });
        }
    }

    fn record(&mut self, token: u32, relation: Relation, source: Source, merged: bool) {
        match &mut self.items[token as usize] {
            Some(item) => {
                item.merged = true;
                item.more.push(source);
            }
            slot => *slot = Some(Item { token, relation, source, more: Vec::new(), merged }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// A program as a tree, to be run literally.
    #[derive(Debug, Clone)]
    enum Step {
        Use { name: u32, identifier: bool },
        Define { name: u32, parents: Vec<u32>, form: Form },
        Choice { branches: Vec<Vec<Step>>, skippable: bool },
        Loop { body: Vec<Step>, between: Vec<Step> },
    }

    const NAMES: u32 = 4;

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let form = prop_oneof![Just(Form::Together), Just(Form::Pairwise), Just(Form::Bare)];
        let leaf = prop_oneof![
            (0..NAMES, any::<bool>()).prop_map(|(name, identifier)| Step::Use { name, identifier }),
            (0..NAMES, prop::collection::vec(0..NAMES, 0..3), form)
                .prop_map(|(name, parents, form)| Step::Define { name, parents, form }),
        ];
        let step = leaf.prop_recursive(5, 40, 4, |inner| {
            let block = prop::collection::vec(inner, 0..4);
            prop_oneof![
                (prop::collection::vec(block.clone(), 1..4), any::<bool>())
                    .prop_map(|(branches, skippable)| Step::Choice { branches, skippable }),
                (block.clone(), prop_oneof![Just(Vec::new()), block])
                    .prop_map(|(body, between)| Step::Loop { body, between }),
            ]
        });
        prop::collection::vec(step, 0..6)
    }

    fn token(program: &mut Program, name: u32) -> u32 {
        program.names.push(name);
        program.names.len() as u32 - 1
    }

    fn list(program: &mut Program, names: &[u32]) -> List {
        let start = program.lists.len() as u32;
        for name in names {
            let token = token(program, *name);
            program.lists.push(token);
        }
        List { start, end: program.lists.len() as u32 }
    }

    fn lower(program: &mut Program, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Use { name, identifier } => {
                    let token = token(program, *name);
                    program.ops.push(Op::Use { token, identifier: *identifier });
                }
                Step::Define { name, parents, form } => {
                    let (targets, parents) = (list(program, &[*name]), list(program, parents));
                    program.ops.push(Op::Define {
                        targets,
                        parents,
                        relation: Relation::ComputedFrom,
                        form: *form,
                    });
                }
                Step::Choice { branches, skippable } => {
                    for (number, branch) in branches.iter().enumerate() {
                        program.ops.push(if number == 0 { Op::ChoiceBegin } else { Op::ChoiceNext });
                        lower(program, branch);
                    }
                    program.ops.push(Op::ChoiceEnd { skippable: *skippable });
                }
                Step::Loop { body, between } => {
                    let number = program.loops.len() as u32;
                    program.loops.push(Loop::default());
                    let here = |program: &Program| program.ops.len() as u32;
                    program.loops[number as usize].begin = here(program);
                    program.ops.push(Op::LoopBegin { number });
                    lower(program, body);
                    program.loops[number as usize].between = here(program);
                    program.ops.push(Op::LoopBetween { number });
                    lower(program, between);
                    program.loops[number as usize].end = here(program);
                    program.ops.push(Op::LoopEnd { number });
                }
            }
        }
    }

    type Definitions = BTreeMap<u32, BTreeSet<u32>>;

    /// What the published package would have recorded: per token whether it came from itself, from which lists, and how many records.
    #[derive(Debug, Default, PartialEq)]
    struct Record {
        itself: bool,
        lists: BTreeSet<(u32, u32)>,
        merged: bool,
    }

    #[derive(Default)]
    struct Literal {
        records: BTreeMap<u32, Record>,
        counts: BTreeMap<u32, usize>,
        parents: BTreeSet<u32>,
    }

    impl Literal {
        /// Runs ops literally, loops twice, and returns the position after the block's end.
        fn run(&mut self, program: &Program, mut at: usize, state: &mut Definitions) -> usize {
            while at < program.ops.len() {
                match program.ops[at] {
                    Op::Use { token, identifier } => {
                        let name = program.names[token as usize];
                        *self.counts.entry(token).or_default() += 1;
                        let record = self.records.entry(token).or_default();
                        if let Some(definitions) = state.get(&name) {
                            record.itself = true;
                            self.parents.extend(definitions);
                        } else if identifier {
                            state.insert(name, BTreeSet::from([token]));
                        }
                    }
                    Op::Define { targets, parents, form, .. } => {
                        for target in &program.lists[targets.range()] {
                            if form != Form::Pairwise || !parents.is_empty() {
                                *self.counts.entry(*target).or_default() += 1;
                                let record = self.records.entry(*target).or_default();
                                if form != Form::Bare {
                                    record.lists.insert((parents.start, parents.end));
                                    self.parents.extend(&program.lists[parents.range()]);
                                }
                                record.merged |= form == Form::Pairwise;
                            }
                            state.insert(program.names[*target as usize], BTreeSet::from([*target]));
                        }
                    }
                    Op::ChoiceBegin => {
                        let base = state.clone();
                        let mut outcomes = Vec::new();
                        loop {
                            let mut branch = base.clone();
                            at = self.run(program, at + 1, &mut branch);
                            outcomes.push(branch);
                            if let Op::ChoiceEnd { skippable } = program.ops[at] {
                                outcomes.extend(skippable.then_some(base));
                                break;
                            }
                        }
                        state.clear();
                        for (name, definitions) in outcomes.into_iter().flatten() {
                            state.entry(name).or_default().extend(definitions);
                        }
                    }
                    Op::LoopBegin { number } => {
                        let Loop { begin, between, end } = program.loops[number as usize];
                        self.run(program, begin as usize + 1, state);
                        self.run(program, between as usize + 1, state);
                        self.run(program, begin as usize + 1, state);
                        at = end as usize;
                    }
                    Op::ChoiceNext | Op::ChoiceEnd { .. } | Op::LoopBetween { .. } | Op::LoopEnd { .. } => {
                        return at;
                    }
                }
                at += 1;
            }
            at
        }
    }

    proptest! {
        #[test]
        fn one_walk_records_what_running_every_loop_twice_records(steps in steps()) {
            let mut program = Program { name_count: NAMES, ..Program::default() };
            lower(&mut program, &steps);
            let mut literal = Literal::default();
            literal.run(&program, 0, &mut Definitions::new());
            for (token, record) in &mut literal.records {
                record.merged |= literal.counts[token] > 1;
            }
            let flow = analyse(&program).unwrap();
            let mut records = BTreeMap::new();
            for item in &flow.items {
                let mut record = Record { merged: item.merged, ..Record::default() };
                for source in item.sources() {
                    match source {
                        Source::Nothing => {}
                        Source::Itself => record.itself = true,
                        Source::Tokens(list) => {
                            record.lists.insert((list.start, list.end));
                        }
                    }
                }
                records.insert(item.token, record);
            }
            prop_assert_eq!(records, literal.records);
            let parents: BTreeSet<u32> = (0..).zip(&flow.is_parent).filter(|(_, is)| **is).map(|(t, _)| t).collect();
            prop_assert_eq!(parents, literal.parents);
        }
    }

    #[test]
    fn nested_loops_take_work_in_proportion_to_their_number() {
        let work = |depth: usize| {
            let mut steps = vec![Step::Define { name: 0, parents: vec![0, 1], form: Form::Together }];
            for _ in 0..depth {
                steps.push(Step::Use { name: 1, identifier: true });
                steps = vec![Step::Loop { body: steps, between: Vec::new() }];
            }
            let mut program = Program { name_count: NAMES, ..Program::default() };
            lower(&mut program, &steps);
            let (_, work) = counted(&program).unwrap();
            work
        };
        // Running each loop twice would take 2^40 steps.
        assert!(work(40) < 2_000 && work(80) < 3 * work(40), "{} {} {}", work(1), work(40), work(80));
    }
}
