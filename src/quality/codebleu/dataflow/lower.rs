//! From a tree to a [`Program`]: what each kind of node means is looked up in the language's [`Rules`].

use super::super::tree::Tree;
use super::program::{Form, List, Loop, Op, Program, Relation};
use super::tokens::Tokens;

/// What a kind of node means for the data flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Role {
    /// Its children, in order.
    #[default]
    Plain,
    /// Like [`Role::Plain`], but these tokens are no variables and nothing below is walked.
    Nothing,
    /// A declaration: names (field) and perhaps a value (field).
    Declare { name: u16, value: u16 },
    /// C#'s declarator as the published package reads it: name and value are the children, if there are just two.
    DeclareTwoChildren,
    /// A Rust function as the published package reads it: the second child is named, the third is its value.
    DeclareSecondChild,
    /// An assignment of whole sides. With `update` the old value of the left side is a parent, too.
    Assign { left: u16, right: u16, update: bool },
    /// An assignment whose sides are matched up item by item if they have equally many.
    AssignItems { left: u16, right: u16 },
    /// Ruby's `x += y` as the published package reads it: first child and last child.
    AssignEnds,
    /// A comprehension's `for`: targets (field) from the last child.
    ForClause { left: u16 },
    /// `x++`.
    Increment,
    /// A choice among branches.
    Choice,
    /// A loop whose children run twice.
    Repeat,
    /// A loop whose children after the first of a given kind run a second time.
    RepeatAfterMarker,
    /// Go's loop: after its clause the rest runs again, the clause's update (field) in between.
    RepeatWithUpdate { update: u16 },
    /// A loop over items: targets and value matched up, then the last child if it is a block.
    ForItems { left: u16, right: u16 },
    /// A loop over a value: value, targets, body.
    ForEach { name: u16, value: u16, body: u16 },
    /// A loop over a value with optional parts: the current grammars' forms.
    ForEachIf { name: u16, value: u16 },
    /// PHP's loop as the published package reads it: the second variable from the first.
    ForEachVariables { body: u16 },
}

/// How the branches of a choice are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choices {
    /// After the first branch child all later children are branches of their own.
    pub(super) sticky: bool,
    /// The choice can always be skipped, whether it has an `else` or not.
    pub(super) always_skippable: bool,
}

/// The rules of one language, by number of the node kind.
#[derive(Debug)]
pub(super) struct Rules {
    /// What a node means.
    pub(super) roles: Vec<Role>,
    /// Children of a choice that are branches of their own.
    pub(super) branch: Vec<bool>,
    /// Kinds that make a choice exhaustive (their name has "else" in it).
    pub(super) exhaustive: Vec<bool>,
    /// Children that are walked before their siblings.
    pub(super) first: Vec<bool>,
    /// Kinds that a use of makes a definition when there is none.
    pub(super) identifier: Vec<bool>,
    /// The child after which a [`Role::RepeatAfterMarker`] loop starts again.
    pub(super) marker: Vec<bool>,
    /// `,`
    pub(super) comma: Vec<bool>,
    /// A variable in PHP.
    pub(super) variable: Vec<bool>,
    /// A block.
    pub(super) block: Vec<bool>,
    /// How choices are read.
    pub(super) choices: Choices,
}

/// Looks a kind up; the parser's error node is in no table.
fn flag(table: &[bool], kind: u16) -> bool {
    table.get(usize::from(kind)).copied().unwrap_or(false)
}

/// The rules do not fit the tree: a part that they need is not there. The published package raises there and has no data flow at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misfit;

/// How many steps and list entries a program may have. The published rules repeat code in nested update clauses; no real source comes
/// near.
const SIZE_LIMIT: usize = 4_000_000;

enum Task {
    Visit(u32),
    Emit(Op),
    LoopBegin(u32),
    LoopBetween(u32),
    LoopEnd(u32),
}

/// Lowers a tree.
pub(super) fn lower(tree: &Tree<'_>, tokens: Tokens, rules: &Rules) -> Result<Program, Misfit> {
    let mut lowering =
        Lowering { tree, tokens, rules, program: Program::default(), stack: Vec::new(), plan: Vec::new() };
    if !tree.nodes.is_empty() {
        lowering.stack.push(Task::Visit(0));
    }
    while let Some(task) = lowering.stack.pop() {
        let at = lowering.program.ops.len() as u32;
        match task {
            Task::Visit(node) => {
                lowering.visit(node)?;
                // The plan was made in order, and the stack gives the last first.
                let plan = &mut lowering.plan;
                lowering.stack.extend(plan.drain(..).rev());
            }
            Task::Emit(op) => lowering.program.ops.push(op),
            Task::LoopBegin(number) => {
                lowering.program.loops[number as usize].begin = at;
                lowering.program.ops.push(Op::LoopBegin { number });
            }
            Task::LoopBetween(number) => {
                lowering.program.loops[number as usize].between = at;
                lowering.program.ops.push(Op::LoopBetween { number });
            }
            Task::LoopEnd(number) => {
                lowering.program.loops[number as usize].end = at;
                lowering.program.ops.push(Op::LoopEnd { number });
            }
        }
        if lowering.program.ops.len() + lowering.program.lists.len() > SIZE_LIMIT {
            return Err(Misfit);
        }
    }
    let mut program = lowering.program;
    program.name_count = lowering.tokens.name_count;
    program.names = lowering.tokens.names;
    Ok(program)
}

struct Lowering<'a, 't> {
    tree: &'a Tree<'t>,
    tokens: Tokens,
    rules: &'a Rules,
    program: Program,
    stack: Vec<Task>,
    /// The tasks of the node being visited, in order.
    plan: Vec<Task>,
}

impl Lowering<'_, '_> {
    fn field(&self, node: u32, field: u16) -> Result<u32, Misfit> {
        self.tree.child_by_field(node, field).ok_or(Misfit)
    }

    fn variables(&mut self, node: u32) -> List {
        let start = self.program.lists.len() as u32;
        self.program.lists.extend(self.tokens.variables(self.tree, node));
        List { start, end: self.program.lists.len() as u32 }
    }

    fn both(a: List, b: List) -> List {
        List { start: a.start, end: b.end }
    }

    fn visit_child(&mut self, node: u32) {
        self.plan.push(Task::Visit(node));
    }

    fn visit_all(&mut self, nodes: &[u32]) {
        self.plan.extend(nodes.iter().copied().map(Task::Visit));
    }

    fn children(&self, node: u32) -> Vec<u32> {
        self.tree.children(node).collect()
    }

    fn kind_in(&self, table: &[bool], node: u32) -> bool {
        flag(table, self.tree.node(node).kind)
    }

    fn define(&mut self, targets: List, parents: List, relation: Relation, form: Form) {
        self.plan.push(Task::Emit(Op::Define { targets, parents, relation, form }));
    }

    fn new_loop(&mut self) -> u32 {
        self.program.loops.push(Loop::default());
        (self.program.loops.len() - 1) as u32
    }

    fn visit(&mut self, node: u32) -> Result<(), Misfit> {
        if let Some((token, plain)) = self.tokens.of(node) {
            if !plain {
                let identifier = self.kind_in(&self.rules.identifier, node);
                self.program.ops.push(Op::Use { token, identifier });
            }
            return Ok(());
        }
        let role = self.rules.roles.get(usize::from(self.tree.node(node).kind)).copied().unwrap_or_default();
        match role {
            Role::Nothing => {}
            Role::Plain => self.plain(node),
            Role::Declare { name, value } => {
                self.declare(self.tree.child_by_field(node, name), self.tree.child_by_field(node, value))?;
            }
            Role::DeclareTwoChildren => {
                let children = self.children(node);
                let value = if children.len() == 2 { children.get(1).copied() } else { None };
                self.declare(children.first().copied(), value)?;
            }
            Role::DeclareSecondChild => {
                let children = self.children(node);
                self.declare(children.get(1).copied(), children.get(2).copied())?;
            }
            Role::Assign { left, right, update } => {
                self.assign(self.field(node, left)?, self.field(node, right)?, update)
            }
            Role::AssignItems { left, right } => {
                // An annotation without a value is no assignment.
                if let Some(right) = self.tree.child_by_field(node, right) {
                    let pairs = self.pairs(self.field(node, left)?, right);
                    self.assign_pairs(&pairs);
                }
            }
            Role::AssignEnds => {
                let children = self.children(node);
                let (first, last) = (children.first().ok_or(Misfit)?, children.last().ok_or(Misfit)?);
                self.assign_pairs(&[(*first, *last)]);
            }
            Role::ForClause { left } => {
                let last = self.tree.children(node).last().ok_or(Misfit)?;
                self.assign_pairs(&[(self.field(node, left)?, last)]);
            }
            Role::Increment => {
                let all = self.variables(node);
                self.define(all, all, Relation::ComputedFrom, Form::Pairwise);
            }
            Role::Choice => self.choice(node),
            Role::Repeat => {
                let children = self.children(node);
                self.repeat(|this| this.visit_all(&children));
            }
            Role::RepeatAfterMarker => {
                let children = self.children(node);
                let marker = children.iter().position(|child| self.kind_in(&self.rules.marker, *child));
                let (once, twice) = children.split_at(marker.map_or(children.len(), |at| at + 1));
                self.visit_all(once);
                self.repeat(|this| this.visit_all(twice));
            }
            Role::RepeatWithUpdate { update } => self.repeat_with_update(node, update),
            Role::ForItems { left, right } => {
                let pairs = self.pairs(self.field(node, left)?, self.field(node, right)?);
                let body =
                    self.tree.children(node).last().filter(|last| self.kind_in(&self.rules.block, *last));
                self.repeat(|this| {
                    this.assign_pairs(&pairs);
                    this.plan.extend(body.map(Task::Visit));
                });
            }
            Role::ForEach { name, value, body } => {
                let parts = (self.field(node, value)?, self.field(node, name)?, self.field(node, body)?);
                self.for_each(parts);
            }
            Role::ForEachVariables { body } => {
                let mut variables =
                    self.tree.children(node).filter(|child| self.kind_in(&self.rules.variable, *child));
                let parts = (
                    variables.next().ok_or(Misfit)?,
                    variables.next().ok_or(Misfit)?,
                    self.field(node, body)?,
                );
                self.for_each(parts);
            }
            Role::ForEachIf { name, value } => {
                let (name, value) =
                    (self.tree.child_by_field(node, name), self.tree.child_by_field(node, value));
                let rest: Vec<u32> = self
                    .tree
                    .children(node)
                    .filter(|child| Some(*child) != name && Some(*child) != value)
                    .collect();
                self.repeat(|this| {
                    this.plan.extend(value.map(Task::Visit));
                    if let (Some(name), Some(value)) = (name, value) {
                        let (targets, parents) = (this.variables(name), this.variables(value));
                        this.define(targets, parents, Relation::ComputedFrom, Form::Pairwise);
                    }
                    this.visit_all(&rest);
                });
            }
        }
        Ok(())
    }

    fn plain(&mut self, node: u32) {
        let children = self.children(node);
        let is_first = |child: &&u32| flag(&self.rules.first, self.tree.node(**child).kind);
        let (first, rest): (Vec<&u32>, Vec<&u32>) = children.iter().partition(is_first);
        self.plan.extend(first.into_iter().chain(rest).copied().map(Task::Visit));
    }

    fn declare(&mut self, name: Option<u32>, value: Option<u32>) -> Result<(), Misfit> {
        let name = name.ok_or(Misfit)?;
        let targets = self.variables(name);
        match value {
            None => self.define(targets, targets, Relation::ComesFrom, Form::Bare),
            Some(value) => {
                let parents = self.variables(value);
                self.visit_child(value);
                self.define(targets, parents, Relation::ComesFrom, Form::Pairwise);
            }
        }
        Ok(())
    }

    fn assign(&mut self, left: u32, right: u32, update: bool) {
        let targets = self.variables(left);
        let own = if update { self.variables(left) } else { List { start: targets.end, end: targets.end } };
        let parents = Self::both(own, self.variables(right));
        self.visit_child(right);
        self.define(targets, parents, Relation::ComputedFrom, Form::Pairwise);
    }

    /// The items of two sides matched up, or the sides as wholes.
    fn pairs(&self, left: u32, right: u32) -> Vec<(u32, u32)> {
        let items = |side: u32| -> Vec<u32> {
            self.tree.children(side).filter(|child| !self.kind_in(&self.rules.comma, *child)).collect()
        };
        let (lefts, rights) = (items(left), items(right));
        if lefts.len() == rights.len() && !lefts.is_empty() {
            lefts.into_iter().zip(rights).collect()
        } else {
            vec![(left, right)]
        }
    }

    fn assign_pairs(&mut self, pairs: &[(u32, u32)]) {
        for (_, right) in pairs {
            self.visit_child(*right);
        }
        for (left, right) in pairs {
            let (targets, parents) = (self.variables(*left), self.variables(*right));
            self.define(targets, parents, Relation::ComputedFrom, Form::Together);
        }
    }

    fn for_each(&mut self, (value, name, body): (u32, u32, u32)) {
        self.repeat(|this| {
            this.visit_child(value);
            let (targets, parents) = (this.variables(name), this.variables(value));
            this.define(targets, parents, Relation::ComputedFrom, Form::Pairwise);
            this.visit_child(body);
        });
    }

    fn choice(&mut self, node: u32) {
        let children = self.children(node);
        let exhaustive =
            std::iter::once(&node).chain(&children).any(|n| self.kind_in(&self.rules.exhaustive, *n));
        let choices = self.rules.choices;
        let mut separate = false;
        let is_own = |child: &u32| {
            let is_branch = self.kind_in(&self.rules.branch, *child) || separate;
            separate |= is_branch && choices.sticky;
            is_branch
        };
        let (own, together): (Vec<u32>, Vec<u32>) = children.into_iter().partition(is_own);
        self.plan.push(Task::Emit(Op::ChoiceBegin));
        self.visit_all(&together);
        for branch in own {
            self.plan.push(Task::Emit(Op::ChoiceNext));
            self.visit_child(branch);
        }
        self.plan.push(Task::Emit(Op::ChoiceEnd { skippable: choices.always_skippable || !exhaustive }));
    }

    fn repeat(&mut self, body: impl FnOnce(&mut Self)) {
        let number = self.new_loop();
        self.plan.push(Task::LoopBegin(number));
        body(self);
        self.plan.push(Task::LoopBetween(number));
        self.plan.push(Task::LoopEnd(number));
    }

    fn repeat_with_update(&mut self, node: u32, update: u16) {
        let children = self.children(node);
        let marker = children.iter().position(|child| self.kind_in(&self.rules.marker, *child));
        let (once, twice) = children.split_at(marker.map_or(children.len(), |at| at + 1));
        self.visit_all(once);
        let number = self.new_loop();
        self.plan.push(Task::LoopBegin(number));
        self.visit_all(twice);
        self.plan.push(Task::LoopBetween(number));
        let update = once.last().and_then(|clause| self.tree.child_by_field(*clause, update));
        // Without the clause nothing runs again, and an update would be another statement's.
        self.plan.extend(update.filter(|_| marker.is_some()).map(Task::Visit));
        self.plan.push(Task::LoopEnd(number));
    }
}
