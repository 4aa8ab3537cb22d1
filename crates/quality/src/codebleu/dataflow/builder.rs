//! Building a [`Program`]: a stack of what is still to be read in place of recursion.

use super::super::tree::Tree;
use super::program::{Form, List, Loop, Op, Program, Relation};
use super::tokens::Tokens;

/// There is no program: the rules need a part that the tree lacks, or the program would be too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoProgram;

/// What the visit of a token means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mention {
    /// A use.
    Use,
    /// A use that also defines a name that has no definition.
    FirstUse,
    /// A definition without a value: a parameter.
    Binding,
}

/// How many steps and list entries a program may have. The published rules repeat code in nested update clauses, and an assignment
/// inside an assignment lists its sources twice; no real source comes near.
const SIZE_LIMIT: usize = 4_000_000;

#[derive(Debug)]
enum Task {
    Visit(u32),
    Emit(Op),
    LoopBegin(u32),
    LoopBetween(u32),
    LoopEnd(u32),
}

/// A program being built.
#[derive(Debug)]
pub(super) struct Builder<'a, 't> {
    /// The source.
    pub(super) tree: &'a Tree<'t>,
    tokens: Tokens,
    program: Program,
    /// What is still to be done, the next last.
    stack: Vec<Task>,
    /// What the node being visited wants done, in order.
    plan: Vec<Task>,
    /// A part of a token was asked for its variables.
    is_lost: bool,
}

impl<'a, 't> Builder<'a, 't> {
    /// Builds the program of a tree. `visit` plans what is to be done for one node that is no token.
    pub(super) fn build(
        tree: &'a Tree<'t>,
        tokens: Tokens,
        mention: impl Fn(u32) -> Mention,
        mut visit: impl FnMut(&mut Self, u32) -> Result<(), NoProgram>,
    ) -> Result<Program, NoProgram> {
        let mut this = Self {
            tree,
            tokens,
            program: Program::default(),
            stack: Vec::new(),
            plan: Vec::new(),
            is_lost: false,
        };
        this.program.ops.reserve(tree.nodes.len() / 2);
        if !tree.nodes.is_empty() {
            this.stack.push(Task::Visit(0));
        }
        while let Some(task) = this.stack.pop() {
            match task {
                Task::Visit(node) => match this.tokens.of(node) {
                    Some((_, true)) => {}
                    Some((token, false)) => this.mention(token, mention(node)),
                    None if this.tokens.is_part(node) => return Err(NoProgram),
                    None => {
                        visit(&mut this, node)?;
                        if this.is_lost {
                            return Err(NoProgram);
                        }
                        // The plan is in order, and the stack gives the last first.
                        this.stack.extend(this.plan.drain(..).rev());
                    }
                },
                Task::Emit(op) => this.program.ops.push(op),
                Task::LoopBegin(number) => {
                    this.loop_at(number).begin = this.here();
                    this.program.ops.push(Op::LoopBegin { number });
                }
                Task::LoopBetween(number) => {
                    this.loop_at(number).between = this.here();
                    this.program.ops.push(Op::LoopBetween { number });
                }
                Task::LoopEnd(number) => {
                    this.loop_at(number).end = this.here();
                    this.program.ops.push(Op::LoopEnd { number });
                }
            }
            if this.program.ops.len() + this.program.lists.len() > SIZE_LIMIT {
                return Err(NoProgram);
            }
        }
        let mut program = this.program;
        program.name_count = this.tokens.name_hashes.len() as u32;
        program.name_hashes = this.tokens.name_hashes;
        program.names = this.tokens.names;
        Ok(program)
    }

    fn mention(&mut self, token: u32, mention: Mention) {
        self.program.ops.push(match mention {
            Mention::Use => Op::Use { token, identifier: false },
            Mention::FirstUse => Op::Use { token, identifier: true },
            Mention::Binding => {
                let start = self.program.lists.len() as u32;
                self.program.lists.push(token);
                let targets = List { start, end: start + 1 };
                Op::Define { targets, parents: targets, relation: Relation::ComesFrom, form: Form::Bare }
            }
        });
    }

    fn here(&self) -> u32 {
        self.program.ops.len() as u32
    }

    fn loop_at(&mut self, number: u32) -> &mut Loop {
        &mut self.program.loops[number as usize]
    }

    /// The tokens below a node that can be variables, as a list.
    pub(super) fn variables(&mut self, node: u32) -> List {
        self.variables_of(&[node])
    }

    /// The tokens below several nodes, as one list.
    pub(super) fn variables_of(&mut self, nodes: &[u32]) -> List {
        let start = self.program.lists.len() as u32;
        for node in nodes {
            self.is_lost |= self.tokens.is_part(*node);
            self.program.lists.extend(self.tokens.variables(self.tree, *node));
        }
        List { start, end: self.program.lists.len() as u32 }
    }

    /// A node's children.
    pub(super) fn children(&self, node: u32) -> Vec<u32> {
        self.tree.children(node).collect()
    }

    /// A child by its field, which must be there.
    pub(super) fn field(&self, node: u32, field: u16) -> Result<u32, NoProgram> {
        self.tree.child_by_field(node, field).ok_or(NoProgram)
    }

    /// Forgets what was planned for this node.
    pub(super) fn discard_plan(&mut self) {
        self.plan.clear();
    }

    /// Plans a visit.
    pub(super) fn visit(&mut self, node: u32) {
        // Keywords and punctuation say nothing, and neither does a leaf that is no token.
        let says_something = match self.tokens.of(node) {
            Some((_, plain)) => !plain,
            None => self.tree.has_children(node) || self.tokens.is_part(node),
        };
        if says_something {
            self.plan.push(Task::Visit(node));
        }
    }

    /// Plans visits.
    pub(super) fn visit_all(&mut self, nodes: &[u32]) {
        nodes.iter().for_each(|node| self.visit(*node));
    }

    /// Plans a definition.
    pub(super) fn define(&mut self, targets: List, parents: List, relation: Relation, form: Form) {
        self.plan.push(Task::Emit(Op::Define { targets, parents, relation, form }));
    }

    /// Plans a choice between what `together` lists, one after the other, and each of `own`.
    pub(super) fn choice(&mut self, together: &[u32], own: &[u32], skippable: bool) {
        self.plan.push(Task::Emit(Op::ChoiceBegin));
        self.visit_all(together);
        for branch in own {
            self.plan.push(Task::Emit(Op::ChoiceNext));
            self.visit(*branch);
        }
        self.plan.push(Task::Emit(Op::ChoiceEnd { skippable }));
    }

    /// Plans a loop: the body twice.
    pub(super) fn repeat(&mut self, body: impl FnOnce(&mut Self)) {
        self.repeat_with(body, None);
    }

    /// Plans a loop: the body, a node in between, and the body again.
    pub(super) fn repeat_with(&mut self, body: impl FnOnce(&mut Self), between: Option<u32>) {
        let number = self.program.loops.len() as u32;
        self.program.loops.push(Loop::default());
        self.plan.push(Task::LoopBegin(number));
        body(self);
        self.plan.push(Task::LoopBetween(number));
        self.plan.extend(between.map(Task::Visit));
        self.plan.push(Task::LoopEnd(number));
    }
}
