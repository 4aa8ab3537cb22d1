//! The sound rules by name: what the kinds of the pinned grammars mean for the data flow. One table serves all languages, because a kind
//! that two grammars share means the same in both; a few that do not are told apart by language.

use super::super::super::language::{Dialect, Grammar, Language};
use super::super::super::tree::Tree;

/// What a kind of node means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Role {
    /// Its children, in order.
    #[default]
    Plain,
    /// A declaration: names (all children of a field) and perhaps a value (field).
    Declare { name: u16, value: u16 },
    /// A declaration whose value, if it has one, is the last child.
    DeclareLast { name: u16 },
    /// An assignment. Its operator tells whether it replaces or updates the left side.
    Assign { left: u16, right: u16 },
    /// An operator with assignment, `x += y`.
    Update { left: u16, right: u16 },
    /// `x++`, if there is such an operator among the children.
    Increment,
    /// A choice: the children of the field `alternative` are branches of their own.
    Choice,
    /// A switch or match, if it has cases among its children: each is a branch.
    Cases,
    /// A loop whose children run twice.
    Repeat,
    /// A loop whose children up to a field run once and the rest twice.
    RepeatAfter { field: u16 },
    /// Go's loop: after its clause the rest runs again, the clause's update in between.
    RepeatWithUpdate,
    /// A loop over a value: value and targets, then all other children, twice.
    ForEach { name: u16, value: u16 },
    /// The same where the first named child is the value and the second the target.
    ForEachChildren,
    /// Ruby's call, perhaps with a block, whose parameters come from the receiver.
    CallWithBlock,
}

/// A [`Role`] with the names of its fields.
#[derive(Debug, Clone, Copy)]
enum Name {
    Declare(&'static str, &'static str),
    DeclareLast(&'static str),
    Assign(&'static str, &'static str),
    Update,
    Increment,
    Choice,
    Cases,
    Repeat,
    RepeatAfter(&'static str),
    RepeatWithUpdate,
    ForEach(&'static str, &'static str),
    ForEachChildren,
    CallWithBlock,
}

/// Kinds that mean the same in every grammar that has them.
const ROLES: &[(&str, Name)] = &[
    // declarations
    ("default_parameter", Name::Declare("name", "value")),
    ("typed_default_parameter", Name::Declare("name", "value")),
    ("named_expression", Name::Declare("name", "value")),
    ("required_parameter", Name::Declare("pattern", "value")),
    ("optional_parameter_declaration", Name::Declare("declarator", "default_value")),
    ("init_declarator", Name::Declare("declarator", "value")),
    ("var_spec", Name::Declare("name", "value")),
    ("const_spec", Name::Declare("name", "value")),
    ("let_declaration", Name::Declare("pattern", "value")),
    ("let_condition", Name::Declare("pattern", "value")),
    ("const_item", Name::Declare("name", "value")),
    ("static_item", Name::Declare("name", "value")),
    ("simple_parameter", Name::Declare("name", "default_value")),
    ("keyword_parameter", Name::Declare("name", "value")),
    // assignments
    ("assignment", Name::Assign("left", "right")),
    ("assignment_expression", Name::Assign("left", "right")),
    ("assignment_pattern", Name::Assign("left", "right")),
    ("assignment_statement", Name::Assign("left", "right")),
    ("short_var_declaration", Name::Assign("left", "right")),
    ("receive_statement", Name::Assign("left", "right")),
    ("for_in_clause", Name::Assign("left", "right")),
    ("augmented_assignment", Name::Update),
    ("augmented_assignment_expression", Name::Update),
    ("compound_assignment_expr", Name::Update),
    ("operator_assignment", Name::Update),
    ("update_expression", Name::Increment),
    ("inc_statement", Name::Increment),
    ("dec_statement", Name::Increment),
    ("postfix_unary_expression", Name::Increment),
    ("prefix_unary_expression", Name::Increment),
    // choices
    ("if_statement", Name::Choice),
    ("if_expression", Name::Choice),
    ("if", Name::Choice),
    ("unless", Name::Choice),
    ("elsif", Name::Choice),
    ("block", Name::Cases),
    ("compound_statement", Name::Cases),
    ("switch_body", Name::Cases),
    ("switch_block", Name::Cases),
    ("match_block", Name::Cases),
    ("expression_switch_statement", Name::Cases),
    ("type_switch_statement", Name::Cases),
    ("select_statement", Name::Cases),
    ("case", Name::Cases),
    ("case_match", Name::Cases),
    // loops
    ("while_statement", Name::Repeat),
    ("do_statement", Name::Repeat),
    ("while_expression", Name::Repeat),
    ("loop_expression", Name::Repeat),
    ("while", Name::Repeat),
    ("until", Name::Repeat),
    ("while_modifier", Name::Repeat),
    ("until_modifier", Name::Repeat),
    ("for_in_statement", Name::ForEach("left", "right")),
    ("enhanced_for_statement", Name::ForEach("name", "value")),
    ("for_expression", Name::ForEach("pattern", "value")),
    ("for_range_loop", Name::ForEach("declarator", "right")),
    ("for", Name::ForEach("pattern", "value")),
];

/// Kinds that mean something of their own in a language.
fn own_roles(language: Language) -> &'static [(&'static str, Name)] {
    match language {
        Language::Python => &[("for_statement", Name::ForEach("left", "right"))],
        Language::JavaScript | Language::TypeScript | Language::Tsx => &[
            ("variable_declarator", Name::Declare("name", "value")),
            ("optional_parameter", Name::Declare("pattern", "value")),
            ("for_statement", Name::RepeatAfter("initializer")),
        ],
        Language::Java => &[
            ("variable_declarator", Name::Declare("name", "value")),
            ("for_statement", Name::RepeatAfter("init")),
        ],
        Language::Go => &[("for_statement", Name::RepeatWithUpdate)],
        Language::C | Language::Cpp => &[("for_statement", Name::RepeatAfter("initializer"))],
        Language::CSharp => &[
            ("variable_declarator", Name::DeclareLast("name")),
            ("for_statement", Name::RepeatAfter("initializer")),
            ("foreach_statement", Name::ForEach("left", "right")),
        ],
        Language::Php => &[
            ("for_statement", Name::RepeatAfter("initialize")),
            ("foreach_statement", Name::ForEachChildren),
        ],
        Language::Ruby => {
            &[("optional_parameter", Name::Declare("name", "value")), ("call", Name::CallWithBlock)]
        }
        Language::Rust => &[],
    }
}

/// Kinds that are variables.
const VARIABLES: &[&str] = &[
    "identifier",
    "shorthand_property_identifier",
    "shorthand_property_identifier_pattern",
    "shorthand_field_identifier",
    "variable_name",
    "instance_variable",
    "class_variable",
    "global_variable",
];

/// Fields whose identifiers name no variable: types, members, methods.
const NOT_VARIABLE_FIELDS: &[&str] =
    &["type", "returns", "return_type", "attribute", "method", "macro", "constructor", "field", "path"];

/// Kinds whose `name` is no variable.
const NAMED_OTHERWISE: &[&str] = &[
    "function_definition",
    "function_declaration",
    "generator_function_declaration",
    "function_expression",
    "function_item",
    "method_declaration",
    "constructor_declaration",
    "local_function_statement",
    "method_definition",
    "method",
    "singleton_method",
    "method_invocation",
    "class_definition",
    "class_declaration",
    "class_specifier",
    "interface_declaration",
    "enum_declaration",
    "record_declaration",
    "struct_declaration",
    "keyword_argument",
    "member_access_expression",
    "scoped_identifier",
    "qualified_name",
    "type_parameter",
    "namespace_declaration",
];

/// Kinds whose identifiers name no variable wherever they stand.
const NO_VARIABLES_INSIDE: &[&str] =
    &["type", "generic_name", "function_declarator", "dotted_name_import", "package_clause"];

/// Fields whose identifiers are bound, not read: parameters.
const BINDING_FIELDS: &[&str] = &["parameter", "parameters"];

/// The same in Go.
const GO_BINDING_FIELDS: &[&str] = &["parameters", "receiver"];

/// Kinds whose identifiers are bound, not read.
const BINDING_KINDS: &[&str] = &[
    "as_pattern_target",
    "case_pattern",
    "match_pattern",
    "exception_variable",
    "catch_formal_parameter",
    "catch_declaration",
];

/// Fields inside a binding that are read: default values, sizes.
const READ_FIELDS: &[&str] = &["value", "default_value", "right", "size", "body", "condition"];

/// `a[i]`, `a.b`, `*a`: assigning to one updates the object.
const ACCESS: &[&str] = &[
    "attribute",
    "subscript",
    "member_expression",
    "subscript_expression",
    "field_access",
    "array_access",
    "selector_expression",
    "index_expression",
    "field_expression",
    "member_access_expression",
    "element_access_expression",
    "element_reference",
    "pointer_expression",
    "unary_expression",
];

/// Sides of an assignment whose items are matched up.
const LISTS: &[&str] = &[
    "pattern_list",
    "tuple_pattern",
    "list_pattern",
    "expression_list",
    "tuple",
    "list",
    "array_pattern",
    "array",
    "left_assignment_list",
    "right_assignment_list",
    "tuple_expression",
];

/// Cases of a switch or match.
const CASES: &[&str] = &[
    "case_clause",
    "switch_case",
    "switch_default",
    "case_statement",
    "default_statement",
    "match_arm",
    "switch_section",
    "switch_block_statement_group",
    "switch_rule",
    "expression_case",
    "default_case",
    "type_case",
    "communication_case",
    "when",
    "in_clause",
];

/// The rules of one grammar, by number of the kind or field.
#[derive(Debug)]
pub(super) struct Rules {
    /// What a node means.
    pub(super) roles: Vec<Role>,
    /// Kinds that are variables.
    variable: Vec<bool>,
    not_variable_field: Vec<bool>,
    named_otherwise: Vec<bool>,
    no_variables_inside: Vec<bool>,
    name_field: u16,
    binding_field: Vec<bool>,
    binding_kind: Vec<bool>,
    read_field: Vec<bool>,
    /// C's declarations, whose declarators bind when nothing is assigned.
    declaration: Vec<bool>,
    assigned_declarator: Vec<bool>,
    declarator: u16,
    /// `a[i]`, `a.b`, `*a`.
    pub(super) access: Vec<bool>,
    /// Lists whose items are matched up.
    pub(super) list: Vec<bool>,
    /// Cases.
    pub(super) case: Vec<bool>,
    /// Alternatives that leave a choice open: `elif`.
    pub(super) conditional: Vec<bool>,
    /// Cases for all the rest.
    pub(super) default_case: Vec<bool>,
    /// The clause of Go's loop.
    pub(super) for_clause: Vec<bool>,
    /// The clauses of a comprehension, which bind what the expression before them uses.
    pub(super) comprehension_clause: Vec<bool>,
    /// `++` and `--`.
    pub(super) step: Vec<bool>,
    /// Operators that replace what was there.
    pub(super) replaces: Vec<bool>,
    /// The field of a choice's other branches.
    pub(super) alternative: u16,
    /// The field of an assignment's operator.
    pub(super) operator: u16,
    /// The field of a loop's update.
    pub(super) update: u16,
    /// The field of a call's receiver.
    pub(super) receiver: u16,
    /// The field of a call's block.
    pub(super) call_block: u16,
    /// The field of a block's parameters.
    pub(super) parameters: u16,
}

/// Looks a kind up; the parser's error node is in no table.
pub(super) fn flag(table: &[bool], kind: u16) -> bool {
    table.get(usize::from(kind)).copied().unwrap_or(false)
}

impl Rules {
    /// The rules of a language in one of its grammars.
    pub(super) fn new(language: Language, dialect: Dialect) -> Self {
        let grammar = dialect.grammar();
        let named =
            |names: &[&str]| grammar.kinds().iter().map(|kind| names.contains(kind)).collect::<Vec<bool>>();
        let fields =
            |names: &[&str]| grammar.fields().iter().map(|f| names.contains(f)).collect::<Vec<bool>>();
        let own = own_roles(language);
        let role = |kind: &&'static str| {
            let entry = own.iter().chain(ROLES).find(|(name, _)| name == kind);
            entry.map_or(Role::Plain, |(_, name)| resolve(*name, grammar))
        };
        Self {
            roles: grammar.kinds().iter().map(role).collect(),
            variable: named(VARIABLES),
            not_variable_field: fields(NOT_VARIABLE_FIELDS),
            // A method's receiver in Go is declared; a call's in Ruby is read.
            binding_field: fields(if language == Language::Go { GO_BINDING_FIELDS } else { BINDING_FIELDS }),
            binding_kind: named(BINDING_KINDS),
            read_field: fields(READ_FIELDS),
            declaration: named(&["declaration"]),
            assigned_declarator: named(&["init_declarator", "function_declarator"]),
            declarator: grammar.field("declarator"),
            named_otherwise: named(NAMED_OTHERWISE),
            no_variables_inside: named(NO_VARIABLES_INSIDE),
            name_field: grammar.field("name"),
            access: named(ACCESS),
            list: named(LISTS),
            case: named(CASES),
            conditional: named(&["elif_clause", "else_if_clause", "elsif"]),
            default_case: named(&["default_case", "switch_default", "default_statement"]),
            for_clause: named(&["for_clause"]),
            comprehension_clause: named(&["for_in_clause"]),
            step: named(&["++", "--"]),
            replaces: named(&["=", ":="]),
            alternative: grammar.field("alternative"),
            operator: grammar.field("operator"),
            update: grammar.field("update"),
            receiver: grammar.field("receiver"),
            call_block: grammar.field("block"),
            parameters: grammar.field("parameters"),
        }
    }

    /// Whether a node is a variable, given its kind and field and its parent's kind.
    pub(super) fn is_variable(&self, kind: u16, field: u16, parent: Option<u16>) -> bool {
        flag(&self.variable, kind)
            && !flag(&self.not_variable_field, field)
            && !parent.is_some_and(|parent| {
                flag(&self.no_variables_inside, parent)
                    || (field == self.name_field && field != 0 && flag(&self.named_otherwise, parent))
            })
    }

    /// For each node whether a variable there is bound rather than read.
    pub(super) fn bindings(&self, tree: &Tree<'_>) -> Vec<bool> {
        let mut binds = vec![false; tree.nodes.len()];
        for (at, node) in tree.nodes.iter().enumerate().skip(1) {
            let parent = tree.node(node.parent);
            let declares = flag(&self.declaration, parent.kind)
                && node.field == self.declarator
                && !flag(&self.assigned_declarator, node.kind);
            binds[at] = !flag(&self.read_field, node.field)
                && (binds[node.parent as usize]
                    || declares
                    || flag(&self.binding_field, node.field)
                    || flag(&self.binding_kind, node.kind));
        }
        binds
    }

    /// Whether a kind with children is one variable: PHP's `$x`.
    pub(super) fn is_whole_variable(&self, kind: u16) -> bool {
        flag(&self.variable, kind)
    }
}

fn resolve(name: Name, grammar: &Grammar) -> Role {
    let field = |name| grammar.field(name);
    match name {
        Name::Declare(name, value) => Role::Declare { name: field(name), value: field(value) },
        Name::DeclareLast(name) => Role::DeclareLast { name: field(name) },
        Name::Assign(left, right) => Role::Assign { left: field(left), right: field(right) },
        Name::Update => Role::Update { left: field("left"), right: field("right") },
        Name::Increment => Role::Increment,
        Name::Choice => Role::Choice,
        Name::Cases => Role::Cases,
        Name::Repeat => Role::Repeat,
        Name::RepeatAfter(name) => Role::RepeatAfter { field: field(name) },
        Name::RepeatWithUpdate => Role::RepeatWithUpdate,
        Name::ForEach(name, value) => Role::ForEach { name: field(name), value: field(value) },
        Name::ForEachChildren => Role::ForEachChildren,
        Name::CallWithBlock => Role::CallWithBlock,
    }
}
