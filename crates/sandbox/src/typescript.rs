//! TypeScript made into JavaScript by blanking its types: what stays keeps its place, so that line numbers in errors are right.
//!
//! Not erasable are enums, parameter properties, namespaces and decorators, which mean code; they are left, and node refuses them.

use tree_sitter::{Node, Parser};

/// Nodes that are types and nothing else.
const TYPES: &[&str] = &[
    "type_annotation",
    "type_arguments",
    "type_parameters",
    "type_predicate_annotation",
    "asserts_annotation",
    "opting_type_annotation",
    "omitting_type_annotation",
    "adding_type_annotation",
    "interface_declaration",
    "type_alias_declaration",
    "ambient_declaration",
    "implements_clause",
    "function_signature",
    "method_signature",
    "abstract_method_signature",
    "index_signature",
    "override_modifier",
];

/// The source without its types. A source that does not parse is erased as far as it does.
pub(super) fn erase(source: &str) -> String {
    let mut parser = Parser::new();
    let language = tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into();
    let Some(tree) = parser.set_language(&language).ok().and_then(|()| parser.parse(source, None)) else {
        return source.to_owned();
    };
    let mut blanks = Vec::new();
    collect(tree.root_node(), &mut blanks);
    blank(source, &blanks)
}

/// The byte ranges to blank. An explicit stack: code nests as deep as it likes.
fn collect(root: Node<'_>, blanks: &mut Vec<(usize, usize)>) {
    let mut stack = vec![root];
    while let Some(node) = stack.pop() {
        if TYPES.contains(&node.kind()) {
            blanks.push((node.start_byte(), node.end_byte()));
            continue;
        }
        let mut cursor = node.walk();
        let children: Vec<Node<'_>> = node.children(&mut cursor).collect();
        match node.kind() {
            // `x as T`, `x satisfies T`: from the word to the end.
            "as_expression" | "satisfies_expression" => {
                if let Some(word) = children.iter().find(|child| ["as", "satisfies"].contains(&child.kind()))
                {
                    blanks.push((word.start_byte(), node.end_byte()));
                    stack.extend(
                        children.into_iter().take_while(|child| child.start_byte() < node.end_byte()).take(1),
                    );
                    continue;
                }
            }
            // `import type ...`, `export type ...`
            "import_statement" | "export_statement"
                if children.get(1).is_some_and(|child| child.kind() == "type") =>
            {
                blanks.push((node.start_byte(), node.end_byte()));
                continue;
            }
            _ => {}
        }
        let marks = children.iter().filter(|child| is_mark(node.kind(), child.kind()));
        blanks.extend(marks.map(|mark| (mark.start_byte(), mark.end_byte())));
        stack.extend(children);
    }
}

/// Whether a token says something about types only, in a node of this kind.
fn is_mark(parent: &str, token: &str) -> bool {
    match token {
        // Of a parameter they would declare a property.
        "accessibility_modifier" | "readonly" => {
            ["public_field_definition", "method_definition"].contains(&parent)
        }
        "abstract" => parent == "abstract_class_declaration",
        "?" => ["optional_parameter", "public_field_definition", "method_definition"].contains(&parent),
        "!" => ["non_null_expression", "variable_declarator", "public_field_definition"].contains(&parent),
        _ => false,
    }
}

fn blank(source: &str, ranges: &[(usize, usize)]) -> String {
    let mut hidden = vec![false; source.len()];
    for &(start, end) in ranges {
        hidden[start..end].fill(true);
    }
    let kept = |(at, c): (usize, char)| if hidden[at] && c != '\n' { ' ' } else { c };
    source.char_indices().map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squeezed(source: &str) -> String {
        erase(source).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn signatures_lose_their_types() {
        assert_eq!(
            squeezed(
                "function f<T extends object>(a: number[], b?: string, ...c: T[]): Map<string, [number, T]> { return new Map<string, any>(); }"
            ),
            "function f (a , b , ...c ) { return new Map (); }"
        );
        assert_eq!(
            squeezed("const g = async (x: number | null = 1): Promise<void> => { };"),
            "const g = async (x = 1) => { };"
        );
        assert_eq!(squeezed("let x!: number; let y: string = 'a: b';"), "let x ; let y = 'a: b';");
    }

    #[test]
    fn assertions_and_declarations_go() {
        assert_eq!(squeezed("const a = (b as unknown as string[])!.length;"), "const a = (b ) .length;");
        assert_eq!(
            squeezed(
                "declare var require: any;\ninterface P { x: number }\ntype Q = P | null;\nlet z = {x: 1} satisfies P;"
            ),
            "let z = {x: 1} ;"
        );
        assert_eq!(squeezed("import type { X } from 'x';\nf<number>(1);"), "f (1);");
    }

    #[test]
    fn classes_keep_their_code() {
        assert_eq!(
            squeezed(
                "abstract class A<T> extends B<T> implements C { private readonly n: number = 1; constructor(x: T) { super(x); } public get(k?: string): T { return this.m[k!]; } }"
            ),
            "class A extends B { n = 1; constructor(x ) { super(x); } get(k ) { return this.m[k ]; } }"
        );
    }

    #[test]
    fn javascript_and_broken_code_keep_their_lines() {
        let source =
            "const a = b ? c : d;\nconst s = `${x as number} é`;\nfunction f(x: {\n  y: number\n}) {";
        let erased = erase(source);
        assert_eq!(erased.lines().count(), source.lines().count());
        assert!(
            erased.starts_with("const a = b ? c : d;\nconst s = `${x          } é`;\nfunction f(x"),
            "{erased}"
        );
        assert!(!erased.contains("number"));
    }
}
