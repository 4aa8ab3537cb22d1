//! The program in an answer made of its chosen block: without examples of use, with what other blocks define for it.

use std::collections::BTreeSet;

use super::syntax::{Kind, Program, Statement};
use crate::tasks::TaskLanguage;

/// The program of `chosen`: its own examples, assertions and main part are left out, and what it uses without defining it is taken from
/// `others`. `known` are names that the task's prompt defines.
pub(super) fn assembled(
    language: TaskLanguage,
    name: &str,
    known: &BTreeSet<String>,
    chosen: &Program,
    others: &[&Program],
) -> String {
    let own = without_examples(language, name, chosen);
    let mut defined: BTreeSet<String> = known.clone();
    defined.extend(own.defines().into_iter().map(str::to_owned));
    let mut wanted: Vec<String> =
        own.statements.iter().flat_map(|statement| statement.free.clone()).collect();
    let mut taken: BTreeSet<(usize, usize)> = BTreeSet::new();
    while let Some(wish) = wanted.pop() {
        if !defined.insert(wish.clone()) {
            continue;
        }
        let mut found = others.iter().enumerate().flat_map(|(block, program)| {
            program.statements.iter().enumerate().map(move |(at, statement)| ((block, at), statement))
        });
        if let Some((place, statement)) = found.rfind(|(_, s)| helps(s, &wish, name)) {
            taken.insert(place);
            wanted.extend(statement.free.iter().cloned());
        }
    }
    let mut helpers = String::new();
    let is_import = |&(block, at): &(usize, usize)| others[block].statements[at].kind == Kind::Import;
    for place in
        taken.iter().filter(|place| is_import(place)).chain(taken.iter().filter(|place| !is_import(place)))
    {
        let program = others[place.0];
        let statement = &program.statements[place.1];
        helpers.push_str(&program.text[statement.start..statement.end]);
        helpers.push('\n');
    }
    format!("{helpers}{}", own.text)
}

/// Whether a statement of another block can give the program the name `wish`.
fn helps(statement: &Statement, wish: &str, name: &str) -> bool {
    let kind = matches!(statement.kind, Kind::Import | Kind::Definition | Kind::Assignment);
    kind && statement.defines.contains(wish)
        && !statement.is_broken
        && !statement.is_stub
        && !statement.defines.contains(name)
        // What calls the function under test is an example of its use.
        && (statement.kind == Kind::Definition || !statement.free.contains(name))
}

/// The program without statements that only show or try its function `name`.
fn without_examples(language: TaskLanguage, name: &str, program: &Program) -> Program {
    let is_definition = |statement: &&Statement| matches!(statement.kind, Kind::Definition | Kind::Import);
    let mut used: BTreeSet<&str> = BTreeSet::new();
    for statement in program.statements.iter().filter(is_definition) {
        used.extend(statement.free.iter().map(String::as_str));
    }
    let source = |statement: &Statement| &program.text[statement.start..statement.end];
    let is_example = |statement: &&Statement| {
        if statement.is_broken || statement.defines.contains(name) {
            return false;
        }
        let needed = statement.defines.iter().any(|defined| used.contains(defined.as_str()));
        let uses = statement.free.contains(name);
        match statement.kind {
            Kind::Assertion => true,
            Kind::Call => {
                uses || ["print", "console.", "assert"].iter().any(|word| source(statement).starts_with(word))
            }
            Kind::Assignment | Kind::Compound => {
                let main = ["__name__", "require.main"].iter().any(|word| source(statement).contains(word));
                !needed && (uses || (statement.kind == Kind::Compound && main))
            }
            Kind::Import | Kind::Definition | Kind::Export | Kind::Idle => false,
        }
    };
    let examples: Vec<&Statement> = program.statements.iter().filter(is_example).collect();
    if examples.is_empty() {
        return program.clone();
    }
    let mut text = String::new();
    let mut at = 0;
    for example in examples {
        text.push_str(&program.text[at..example.start]);
        at = example.end;
    }
    text.push_str(&program.text[at..]);
    let shorter = Program::new(language, &text);
    if shorter.is_valid && shorter.definition(name).is_some() { shorter } else { program.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(text: &str, others: &[&str]) -> String {
        let program = |text: &&str| Program::new(TaskLanguage::Python, text);
        let others: Vec<Program> = others.iter().map(program).collect();
        let known = BTreeSet::from(["List".to_owned()]);
        assembled(TaskLanguage::Python, "f", &known, &program(&text), &others.iter().collect::<Vec<_>>())
    }

    #[test]
    fn examples_are_left_out_and_what_the_function_needs_is_kept() {
        let kept = "import sys\nsys.setrecursionlimit(9)\nTABLE = {}\nfor i in range(3):\n    TABLE[i] = i\ndef f(x):\n    return TABLE[x] + bias\nf = cache(f)\nbias = len('a')\n";
        let examples = "print('x')\nassert f(1) == 2\nr = f(1)\nfor t in [1]:\n    print(f(t))\nif __name__ == '__main__':\n    main()\nf(1)\n";
        assert_eq!(python(&format!("{kept}{examples}"), &[]).trim_end(), kept.trim_end());
    }

    #[test]
    fn helpers_come_from_other_blocks() {
        let helper = "import math\ndef add(a, b):\n    return math.floor(a + b)\n";
        let usage = "import os\nresult = f(2)\nprint(result)\n";
        assert_eq!(
            python("def f(x):\n    result = add(x, x)\n    return result\n", &[helper, usage]),
            format!("{helper}def f(x):\n    result = add(x, x)\n    return result\n")
        );
        assert_eq!(
            python("def f(x: List):\n    return x\n", &["List = 3\n"]),
            "def f(x: List):\n    return x\n"
        );
    }
}
