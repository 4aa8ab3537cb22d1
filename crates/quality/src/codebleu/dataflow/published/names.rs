//! The published rules by name, and their resolution to a grammar's numbers.

use super::super::super::language::Grammar;
use super::lower::{Choices, Role, Rules};

/// Names that become [`Rules`].
#[derive(Debug)]
pub(super) struct RuleNames<'n> {
    /// Kinds and what they mean.
    pub(super) roles: &'n [(&'n [&'n str], RoleNames)],
    /// See [`Rules::branch`].
    pub(super) branch: &'n [&'n str],
    /// See [`Rules::first`].
    pub(super) first: &'n [&'n str],
    /// See [`Rules::identifier`].
    pub(super) identifier: &'n [&'n str],
    /// See [`Rules::marker`].
    pub(super) marker: &'n [&'n str],
    /// See [`Rules::choices`].
    pub(super) choices: Choices,
}

/// A [`Role`] with the names of its fields.
#[derive(Debug, Clone, Copy)]
pub(super) enum RoleNames {
    Declare(&'static str, &'static str),
    DeclareTwoChildren,
    DeclareSecondChild,
    Assign(&'static str, &'static str),
    AssignItems,
    AssignEnds,
    ForClause,
    Increment,
    Choice,
    Repeat,
    RepeatAfterMarker,
    RepeatWithUpdate,
    ForItems(&'static str, &'static str),
    ForEach(&'static str, &'static str),
    ForEachVariables,
}

impl RoleNames {
    fn resolve(self, grammar: &Grammar) -> Role {
        let field = |name| grammar.field(name);
        match self {
            Self::Declare(name, value) => Role::Declare { name: field(name), value: field(value) },
            Self::DeclareTwoChildren => Role::DeclareTwoChildren,
            Self::DeclareSecondChild => Role::DeclareSecondChild,
            Self::Assign(left, right) => Role::Assign { left: field(left), right: field(right) },
            Self::AssignItems => Role::AssignItems { left: field("left"), right: field("right") },
            Self::AssignEnds => Role::AssignEnds,
            Self::ForClause => Role::ForClause { left: field("left") },
            Self::Increment => Role::Increment,
            Self::Choice => Role::Choice,
            Self::Repeat => Role::Repeat,
            Self::RepeatAfterMarker => Role::RepeatAfterMarker,
            Self::RepeatWithUpdate => Role::RepeatWithUpdate { update: field("update") },
            Self::ForItems(left, right) => Role::ForItems { left: field(left), right: field(right) },
            Self::ForEach(name, value) => {
                Role::ForEach { name: field(name), value: field(value), body: field("body") }
            }
            Self::ForEachVariables => Role::ForEachVariables { body: field("body") },
        }
    }
}

impl RuleNames<'_> {
    /// The rules for a grammar. A kind that the grammar lacks is a rule without use: the published lists have several.
    pub(super) fn resolve(&self, grammar: &Grammar) -> Rules {
        let table =
            |is: &dyn Fn(&str) -> bool| grammar.kinds().iter().map(|kind| is(kind)).collect::<Vec<bool>>();
        let named = |names: &[&str]| table(&|kind| names.contains(&kind));
        let role = |kind: &&'static str| {
            let role = self.roles.iter().find(|(kinds, _)| kinds.contains(kind));
            role.map_or(Role::Plain, |(_, role)| role.resolve(grammar))
        };
        Rules {
            roles: grammar.kinds().iter().map(role).collect(),
            branch: named(self.branch),
            exhaustive: table(&|kind| kind.contains("else")),
            first: named(self.first),
            identifier: named(self.identifier),
            marker: named(self.marker),
            comma: named(&[","]),
            variable: named(&["variable_name"]),
            block: named(&["block"]),
            choices: self.choices,
        }
    }
}
