//! The data-flow rules of PyPI `codebleu` 0.7.0, language by language, dead rules included.

use super::super::super::language::{Dialect, Language};
use super::lower::{Choices, Rules};
use super::names::{RoleNames as R, RuleNames};

/// Rules of the languages that came after Python: one branch child makes all later children branches.
const STICKY: Choices = Choices { sticky: true, always_skippable: false };
const STICKY_SKIPPABLE: Choices = Choices { sticky: true, always_skippable: true };
const LOOSE: Choices = Choices { sticky: false, always_skippable: false };

const NO_RULES: RuleNames<'static> = RuleNames {
    roles: &[],
    branch: &[],
    first: &[],
    identifier: &["identifier"],
    marker: &[],
    choices: STICKY,
};

/// The rules for a language that the published package knows.
pub(super) fn rules(language: Language) -> Rules {
    let names = match language {
        Language::Python => RuleNames {
            roles: &[
                (&["default_parameter"], R::Declare("name", "value")),
                (&["assignment", "augmented_assignment"], R::AssignItems),
                (&["for_in_clause"], R::ForClause),
                (&["if_statement"], R::Choice),
                (&["for_statement"], R::ForItems("left", "right")),
                (&["while_statement"], R::Repeat),
            ],
            branch: &["elif_clause", "else_clause"],
            first: &["for_in_clause"],
            choices: LOOSE,
            ..NO_RULES
        },
        Language::Ruby => RuleNames {
            roles: &[
                (&["keyword_parameter"], R::Declare("name", "value")),
                (&["assignment"], R::AssignItems),
                (&["operator_assignment"], R::AssignEnds),
                (&["if", "elsif", "else", "unless", "when"], R::Choice),
                (&["for"], R::ForEach("pattern", "value")),
                (&["while_modifier", "until"], R::Repeat),
            ],
            branch: &["if", "elsif", "else", "unless", "when"],
            choices: LOOSE,
            ..NO_RULES
        },
        Language::Java => RuleNames {
            roles: &[
                (&["variable_declarator"], R::Declare("name", "value")),
                (&["assignment_expression"], R::Assign("left", "right")),
                (&["update_expression"], R::Increment),
                (&["if_statement", "else"], R::Choice),
                (&["for_statement"], R::RepeatAfterMarker),
                (&["enhanced_for_statement"], R::ForEach("name", "value")),
                (&["while_statement"], R::Repeat),
            ],
            branch: &["if_statement", "else"],
            marker: &["local_variable_declaration"],
            ..NO_RULES
        },
        // The package uses C#'s rules for C and C++.
        Language::CSharp | Language::C | Language::Cpp => RuleNames {
            roles: &[
                (&["variable_declarator"], R::DeclareTwoChildren),
                (&["assignment_expression"], R::Assign("left", "right")),
                (&["postfix_unary_expression"], R::Increment),
                (&["if_statement", "else"], R::Choice),
                (&["for_statement"], R::RepeatAfterMarker),
                (&["for_each_statement"], R::ForEach("left", "right")),
                (&["while_statement"], R::Repeat),
            ],
            branch: &["if_statement", "else"],
            marker: &["local_variable_declaration"],
            ..NO_RULES
        },
        Language::Go => RuleNames {
            roles: &[
                (&["var_spec"], R::Declare("name", "value")),
                (&["assignment_statement"], R::Assign("left", "right")),
                (&["inc_statement"], R::Increment),
                (&["if_statement", "else"], R::Choice),
                (&["for_statement"], R::RepeatWithUpdate),
            ],
            branch: &["if_statement", "else"],
            marker: &["for_clause"],
            choices: STICKY_SKIPPABLE,
            ..NO_RULES
        },
        Language::Php => RuleNames {
            roles: &[
                (&["simple_parameter"], R::Declare("name", "default_value")),
                (&["assignment_expression", "augmented_assignment_expression"], R::Assign("left", "right")),
                (&["update_expression"], R::Increment),
                (&["if_statement", "else_clause"], R::Choice),
                (&["for_statement"], R::RepeatAfterMarker),
                (&["foreach_statement"], R::ForEachVariables),
                (&["while_statement"], R::Repeat),
            ],
            branch: &["if_statement", "else_clause"],
            marker: &["assignment_expression"],
            choices: STICKY_SKIPPABLE,
            ..NO_RULES
        },
        Language::JavaScript | Language::TypeScript | Language::Tsx => RuleNames {
            roles: &[
                (&["variable_declarator"], R::Declare("name", "value")),
                (&["assignment_pattern", "augmented_assignment_expression"], R::Assign("left", "right")),
                (&["update_expression"], R::Increment),
                (&["if_statement", "else"], R::Choice),
                (&["for_statement"], R::RepeatAfterMarker),
                (&["while_statement"], R::Repeat),
            ],
            branch: &["if_statement", "else"],
            marker: &["variable_declaration"],
            choices: STICKY_SKIPPABLE,
            ..NO_RULES
        },
        Language::Rust => RuleNames {
            roles: &[
                (&["function_item"], R::DeclareSecondChild),
                (
                    &["assignment_expression", "compound_assignment_expr", "let_expression"],
                    R::Assign("left", "right"),
                ),
                (&["if_expression", "if_let_expression", "match_expression", "else"], R::Choice),
                (&["for_expression"], R::RepeatAfterMarker),
                (&["for_each_statement"], R::ForEach("left", "right")),
                (&["while_expression", "while_let_expression", "loop_expression"], R::Repeat),
            ],
            branch: &["if_expression", "if_let_expression", "match_expression", "else"],
            marker: &["local_variable_declaration"],
            ..NO_RULES
        },
    };
    names.resolve(Dialect::Main(language).grammar())
}
