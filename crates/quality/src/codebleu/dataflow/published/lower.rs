//! The published rules applied to a tree: what each kind of node means is looked up in the language's [`Rules`].

use super::super::super::tree::Tree;
use super::super::builder::{Builder, Mention, NoProgram};
use super::super::program::{Form, Program, Relation};
use super::super::tokens::Tokens;

/// What a kind of node means for the data flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Role {
    /// Its children, in order.
    #[default]
    Plain,
    /// A declaration: names (field) and perhaps a value (field).
    Declare { name: u16, value: u16 },
    /// C#'s declarator as the published package reads it: name and value are the children, if there are just two.
    DeclareTwoChildren,
    /// A Rust function as the published package reads it: the second child is named, the third is its value.
    DeclareSecondChild,
    /// An assignment of whole sides.
    Assign { left: u16, right: u16 },
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

/// Lowers a tree; no program where the published package raises.
pub(super) fn lower(tree: &Tree<'_>, tokens: Tokens, rules: &Rules) -> Result<Program, NoProgram> {
    Builder::build(
        tree,
        tokens,
        |node| if flag(&rules.identifier, tree.node(node).kind) { Mention::FirstUse } else { Mention::Use },
        |builder, node| visit(builder, rules, node),
    )
}

fn visit(b: &mut Builder<'_, '_>, rules: &Rules, node: u32) -> Result<(), NoProgram> {
    let tree = b.tree;
    let role = rules.roles.get(usize::from(tree.node(node).kind)).copied().unwrap_or_default();
    match role {
        Role::Plain => plain(b, rules, node),
        Role::Declare { name, value } => {
            declare(b, tree.child_by_field(node, name), tree.child_by_field(node, value))?;
        }
        Role::DeclareTwoChildren => {
            let children = b.children(node);
            let value = if children.len() == 2 { children.get(1).copied() } else { None };
            declare(b, children.first().copied(), value)?;
        }
        Role::DeclareSecondChild => {
            let children = b.children(node);
            declare(b, children.get(1).copied(), children.get(2).copied())?;
        }
        Role::Assign { left, right } => {
            let (left, right) = (b.field(node, left)?, b.field(node, right)?);
            b.visit(right);
            let (targets, parents) = (b.variables(left), b.variables(right));
            b.define(targets, parents, Relation::ComputedFrom, Form::Pairwise);
        }
        Role::AssignItems { left, right } => {
            // An annotation without a value is no assignment.
            if let Some(right) = tree.child_by_field(node, right) {
                let pairs = pairs(tree, rules, b.field(node, left)?, right);
                assign_pairs(b, &pairs);
            }
        }
        Role::AssignEnds => {
            let children = b.children(node);
            let (first, last) = (children.first().ok_or(NoProgram)?, children.last().ok_or(NoProgram)?);
            assign_pairs(b, &[(*first, *last)]);
        }
        Role::ForClause { left } => {
            let last = tree.children(node).last().ok_or(NoProgram)?;
            let left = b.field(node, left)?;
            assign_pairs(b, &[(left, last)]);
        }
        Role::Increment => {
            let all = b.variables(node);
            b.define(all, all, Relation::ComputedFrom, Form::Pairwise);
        }
        Role::Choice => choice(b, rules, node),
        Role::Repeat => {
            let children = b.children(node);
            b.repeat(|b| b.visit_all(&children));
        }
        Role::RepeatAfterMarker => {
            let children = b.children(node);
            let marker = children.iter().position(|child| flag(&rules.marker, tree.node(*child).kind));
            let (once, twice) = children.split_at(marker.map_or(children.len(), |at| at + 1));
            b.visit_all(once);
            b.repeat(|b| b.visit_all(twice));
        }
        Role::RepeatWithUpdate { update } => {
            let children = b.children(node);
            let marker = children.iter().position(|child| flag(&rules.marker, tree.node(*child).kind));
            let (once, twice) = children.split_at(marker.map_or(children.len(), |at| at + 1));
            b.visit_all(once);
            // Without the clause nothing runs again.
            let update = marker.and_then(|at| tree.child_by_field(children[at], update));
            b.repeat_with(|b| b.visit_all(twice), update);
        }
        Role::ForItems { left, right } => {
            let pairs = pairs(tree, rules, b.field(node, left)?, b.field(node, right)?);
            let body = tree.children(node).last().filter(|last| flag(&rules.block, tree.node(*last).kind));
            b.repeat(|b| {
                assign_pairs(b, &pairs);
                b.visit_all(body.as_slice());
            });
        }
        Role::ForEach { name, value, body } => {
            let (value, name, body) = (b.field(node, value)?, b.field(node, name)?, b.field(node, body)?);
            for_each(b, value, name, body);
        }
        Role::ForEachVariables { body } => {
            let mut variables =
                tree.children(node).filter(|child| flag(&rules.variable, tree.node(*child).kind));
            let (value, name) = (variables.next().ok_or(NoProgram)?, variables.next().ok_or(NoProgram)?);
            let body = b.field(node, body)?;
            for_each(b, value, name, body);
        }
    }
    Ok(())
}

fn plain(b: &mut Builder<'_, '_>, rules: &Rules, node: u32) {
    let tree = b.tree;
    let is_first = |child: &u32| flag(&rules.first, tree.node(*child).kind);
    tree.children(node).filter(is_first).for_each(|child| b.visit(child));
    tree.children(node).filter(|child| !is_first(child)).for_each(|child| b.visit(child));
}

fn declare(b: &mut Builder<'_, '_>, name: Option<u32>, value: Option<u32>) -> Result<(), NoProgram> {
    let targets = b.variables(name.ok_or(NoProgram)?);
    match value {
        None => b.define(targets, targets, Relation::ComesFrom, Form::Bare),
        Some(value) => {
            let parents = b.variables(value);
            b.visit(value);
            b.define(targets, parents, Relation::ComesFrom, Form::Pairwise);
        }
    }
    Ok(())
}

/// The items of two sides matched up, or the sides as wholes.
fn pairs(tree: &Tree<'_>, rules: &Rules, left: u32, right: u32) -> Vec<(u32, u32)> {
    let items = |side: u32| -> Vec<u32> {
        tree.children(side).filter(|child| !flag(&rules.comma, tree.node(*child).kind)).collect()
    };
    let (lefts, rights) = (items(left), items(right));
    if lefts.len() == rights.len() && !lefts.is_empty() {
        lefts.into_iter().zip(rights).collect()
    } else {
        vec![(left, right)]
    }
}

fn assign_pairs(b: &mut Builder<'_, '_>, pairs: &[(u32, u32)]) {
    for (_, right) in pairs {
        b.visit(*right);
    }
    for (left, right) in pairs {
        let (targets, parents) = (b.variables(*left), b.variables(*right));
        b.define(targets, parents, Relation::ComputedFrom, Form::Together);
    }
}

fn for_each(b: &mut Builder<'_, '_>, value: u32, name: u32, body: u32) {
    b.repeat(|b| {
        b.visit(value);
        let (targets, parents) = (b.variables(name), b.variables(value));
        b.define(targets, parents, Relation::ComputedFrom, Form::Pairwise);
        b.visit(body);
    });
}

fn choice(b: &mut Builder<'_, '_>, rules: &Rules, node: u32) {
    let tree = b.tree;
    let kind_in = |table: &[bool], node: u32| flag(table, tree.node(node).kind);
    let exhaustive = std::iter::once(node).chain(tree.children(node)).any(|n| kind_in(&rules.exhaustive, n));
    let mut separate = false;
    let is_own = |child: &u32| {
        let is_branch = kind_in(&rules.branch, *child) || separate;
        separate |= is_branch && rules.choices.sticky;
        is_branch
    };
    let (own, together): (Vec<u32>, Vec<u32>) = tree.children(node).partition(is_own);
    b.choice(&together, &own, rules.choices.always_skippable || !exhaustive);
}
