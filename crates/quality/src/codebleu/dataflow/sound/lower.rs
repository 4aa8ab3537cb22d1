//! The sound rules applied to a tree.

use super::super::super::tree::Tree;
use super::super::builder::{Builder, Mention, NoProgram};
use super::super::program::{Form, List, Program, Relation};
use super::super::tokens::Tokens;
use super::rules::{Role, Rules, flag};

/// Lowers a tree. A statement that lacks a part is read for what it has.
pub(super) fn lower(tree: &Tree<'_>, tokens: Tokens, rules: &Rules) -> Result<Program, NoProgram> {
    let binds = rules.bindings(tree);
    Builder::build(
        tree,
        tokens,
        |node| if binds[node as usize] { Mention::Binding } else { Mention::Use },
        |builder, node| {
            if visit(builder, rules, node).is_err() {
                builder.discard_plan();
                plain(builder, rules, node);
            }
            Ok(())
        },
    )
}

fn visit(b: &mut Builder<'_, '_>, rules: &Rules, node: u32) -> Result<(), NoProgram> {
    let tree = b.tree;
    let kind_in = |table: &[bool], node: u32| flag(table, tree.node(node).kind);
    let role = rules.roles.get(usize::from(tree.node(node).kind)).copied().unwrap_or_default();
    match role {
        Role::Plain => plain(b, rules, node),
        Role::Declare { name, value } => {
            let names: Vec<u32> =
                tree.children(node).filter(|child| tree.node(*child).field == name).collect();
            let value = tree.child_by_field(node, value);
            declare(b, &names, value);
        }
        Role::DeclareLast { name } => {
            let name = b.field(node, name)?;
            let value = tree.children(node).last().filter(|last| *last != name && tree.node(*last).named);
            declare(b, &[name], value);
        }
        Role::Assign { left, right } => {
            let left = b.field(node, left)?;
            // An annotation alone assigns nothing.
            let Some(right) = tree.child_by_field(node, right) else { return Ok(()) };
            let operator = tree.child_by_field(node, rules.operator);
            let updates = operator.is_some_and(|operator| !kind_in(&rules.replaces, operator));
            assign(b, rules, left, right, updates);
        }
        Role::Update { left, right } => {
            let (left, right) = (b.field(node, left)?, b.field(node, right)?);
            assign(b, rules, left, right, true);
        }
        Role::Increment => {
            plain(b, rules, node);
            if tree.children(node).any(|child| kind_in(&rules.step, child)) {
                let all = b.variables(node);
                b.define(all, all, Relation::ComputedFrom, Form::Pairwise);
            }
        }
        Role::Choice => {
            let is_own = |child: &u32| rules.alternative != 0 && tree.node(*child).field == rules.alternative;
            let (own, together): (Vec<u32>, Vec<u32>) = tree.children(node).partition(is_own);
            let exhaustive = own.iter().any(|branch| !kind_in(&rules.conditional, *branch));
            b.choice(&together, &own, !exhaustive);
        }
        Role::Cases => {
            let (cases, rest): (Vec<u32>, Vec<u32>) =
                tree.children(node).partition(|child| kind_in(&rules.case, *child));
            if cases.is_empty() {
                plain(b, rules, node);
            } else {
                let exhaustive = cases.iter().any(|case| kind_in(&rules.default_case, *case));
                b.visit_all(&rest);
                b.choice(&[], &cases, !exhaustive);
            }
        }
        Role::Repeat => {
            let children = b.children(node);
            b.repeat(|b| b.visit_all(&children));
        }
        Role::RepeatAfter { field } => {
            let children = b.children(node);
            let first = children.iter().position(|child| field != 0 && tree.node(*child).field == field);
            let (once, twice) = children.split_at(first.map_or(0, |at| at + 1));
            b.visit_all(once);
            b.repeat(|b| b.visit_all(twice));
        }
        Role::RepeatWithUpdate => {
            let children = b.children(node);
            let clause = children.iter().position(|child| kind_in(&rules.for_clause, *child));
            let (once, twice) = children.split_at(clause.map_or(0, |at| at + 1));
            b.visit_all(once);
            let update = clause.and_then(|at| tree.child_by_field(children[at], rules.update));
            b.repeat_with(|b| b.visit_all(twice), update);
        }
        Role::ForEach { name, value } => {
            let (name, value) = (b.field(node, name)?, b.field(node, value)?);
            for_each(b, rules, node, name, value);
        }
        Role::ForEachChildren => {
            let mut named = tree.children(node).filter(|child| tree.node(*child).named);
            let (value, name) = (named.next().ok_or(NoProgram)?, named.next().ok_or(NoProgram)?);
            for_each(b, rules, node, name, value);
        }
        Role::CallWithBlock => {
            let block = b.field(node, rules.call_block)?;
            let (receiver, parameters) = (b.field(node, rules.receiver)?, b.field(block, rules.parameters)?);
            let rest: Vec<u32> = tree.children(node).filter(|child| *child != block).collect();
            b.visit_all(&rest);
            let (targets, parents) = (b.variables(parameters), b.variables(receiver));
            b.define(targets, parents, Relation::ComputedFrom, Form::Together);
            let body: Vec<u32> = tree.children(block).filter(|child| *child != parameters).collect();
            b.visit_all(&body);
        }
    }
    Ok(())
}

fn plain(b: &mut Builder<'_, '_>, rules: &Rules, node: u32) {
    // The clauses of a comprehension come after the expression that uses what they bind.
    let tree = b.tree;
    let binds = |child: &u32| flag(&rules.comprehension_clause, tree.node(*child).kind);
    tree.children(node).filter(binds).for_each(|child| b.visit(child));
    tree.children(node).filter(|child| !binds(child)).for_each(|child| b.visit(child));
}

fn declare(b: &mut Builder<'_, '_>, names: &[u32], value: Option<u32>) {
    let targets = b.variables_of(names);
    match value {
        None => b.define(targets, targets, Relation::ComesFrom, Form::Bare),
        Some(value) => {
            let parents = b.variables(value);
            b.visit(value);
            b.define(targets, parents, Relation::ComputedFrom, Form::Together);
        }
    }
}

/// The left and the right side's items matched up, or the sides as wholes.
fn pairs(tree: &Tree<'_>, rules: &Rules, left: u32, right: u32) -> Vec<(u32, u32)> {
    let items = |side: u32| -> Vec<u32> {
        if !flag(&rules.list, tree.node(side).kind) {
            return Vec::new();
        }
        tree.children(side).filter(|child| tree.node(*child).named && !tree.node(*child).extra).collect()
    };
    let (lefts, rights) = (items(left), items(right));
    if lefts.len() == rights.len() && !lefts.is_empty() {
        lefts.into_iter().zip(rights).collect()
    } else {
        vec![(left, right)]
    }
}

fn assign(b: &mut Builder<'_, '_>, rules: &Rules, left: u32, right: u32, updates: bool) {
    let pairs = pairs(b.tree, rules, left, right);
    for (_, right) in &pairs {
        b.visit(*right);
    }
    let sides: Vec<(Target, u32)> =
        pairs.iter().map(|(left, right)| (Target::new(b.tree, rules, *left), *right)).collect();
    for (target, _) in &sides {
        b.visit_all(&target.read);
    }
    for (target, right) in sides {
        let targets = b.variables_of(&target.written);
        // What is updated, and what an index or a member of was changed, also comes from what it was.
        let own =
            if updates || target.partly { b.variables_of(&target.written) } else { empty_after(targets) };
        let parents = List { start: own.start, end: b.variables(right).end };
        b.define(targets, parents, Relation::ComputedFrom, Form::Together);
    }
}

fn empty_after(list: List) -> List {
    List { start: list.end, end: list.end }
}

/// The left side of an assignment.
#[derive(Debug, Default)]
struct Target {
    /// Nodes whose variables are written.
    written: Vec<u32>,
    /// Nodes that are only read: indices.
    read: Vec<u32>,
    /// Only a part of some variable changes.
    partly: bool,
}

impl Target {
    fn new(tree: &Tree<'_>, rules: &Rules, left: u32) -> Self {
        let mut target = Self::default();
        let mut stack = vec![left];
        while let Some(node) = stack.pop() {
            let kind = tree.node(node).kind;
            if flag(&rules.access, kind) {
                target.partly = true;
                let mut named = tree.children(node).filter(|child| tree.node(*child).named);
                stack.extend(named.next());
                target.read.extend(named);
            } else if tree.has_children(node) && !rules.is_whole_variable(kind) {
                stack.extend(tree.children(node));
            } else {
                target.written.push(node);
            }
        }
        target.written.sort_unstable();
        target.read.sort_unstable();
        target
    }
}

fn for_each(b: &mut Builder<'_, '_>, rules: &Rules, node: u32, name: u32, value: u32) {
    let rest: Vec<u32> = b.tree.children(node).filter(|child| *child != name && *child != value).collect();
    let target = Target::new(b.tree, rules, name);
    b.repeat(|b| {
        b.visit(value);
        let (targets, parents) = (b.variables_of(&target.written), b.variables(value));
        b.define(targets, parents, Relation::ComputedFrom, Form::Together);
        b.visit_all(&rest);
    });
}
