//! What of a file of Python tests has to be called, and the calls.
//!
//! Data sets leave it to their harness to call what their tests define: HumanEval a function `check`, BigCodeBench classes of `unittest`,
//! others functions named as pytest finds them. Tests that nobody calls pass with any program, so the calls are derived from the syntax
//! tree of the tests here, and whether they test anything is found by running them ([`crate::proof`]).

use std::collections::{BTreeMap, BTreeSet};

use tree_sitter::{Node, Parser, Tree};

/// The name under which tests get the function under test where they define another function of the same name.
const CANDIDATE: &str = "_autotune_candidate";

/// Runs classes of `unittest.TestCase`: the first failure is raised as it was, and a class without a test that ran is a failure.
const RUN_UNITTEST: &str = r#"

def _autotune_run_unittest(classes):
    import unittest

    class Result(unittest.TestResult):
        first = None

        def addError(self, test, error):
            if self.first is None:
                self.first = error[1]
            self.shouldStop = True

        addFailure = addError

        def addSubTest(self, test, subtest, error):
            if error is not None:
                self.addError(test, error)

    for cls in classes:
        result = Result()
        unittest.defaultTestLoader.loadTestsFromTestCase(cls).run(result)
        if result.first is not None:
            raise result.first
        assert not result.unexpectedSuccesses, "a test that must fail passed"
        assert result.testsRun > len(result.skipped), "no test of %s was run" % cls.__name__

"#;

/// Runs the test methods of a class as pytest does, each on an object of its own.
const RUN_METHODS: &str = r#"

def _autotune_run_methods(classes):
    for cls in classes:
        for name in [name for name in dir(cls) if name.startswith("test")]:
            tests = cls()
            method = getattr(tests, name)
            setup = getattr(tests, "setup_method", None)
            if setup is not None:
                setup(*[method] * (setup.__code__.co_argcount - 1))
            method()

"#;

/// Tests with the calls that they need.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Complete {
    /// Runs before the tests: keeps the function under test at hand where the tests define another one of its name.
    pub setup: Option<String>,
    /// The tests and the calls.
    pub tests: String,
    /// A test that only another tool can call: its name and parameters.
    pub uncallable: Option<String>,
}

/// Something that the tests define outside of all functions and classes.
struct Definition<'t> {
    node: Node<'t>,
    kind: DefinitionKind,
}

enum DefinitionKind {
    Function { parameters: Vec<String>, is_async: bool },
    Class { is_unittest: bool, is_test: bool },
}

/// What the tests do when they are run as they are.
#[derive(Default)]
struct Outline<'t> {
    definitions: BTreeMap<String, Definition<'t>>,
    order: Vec<String>,
    /// Statements that are run, definitions apart.
    statements: Vec<Node<'t>>,
    /// The bodies of `if __name__ == "__main__"`.
    guarded: Vec<Node<'t>>,
}

/// Adds to Python tests the calls of what they define and do not call themselves.
///
/// In this order: `check` (HumanEval) gets the function under test; classes of `unittest` and classes named `Test...` are run; functions
/// named `test...` are called. Where there is none of these and nothing that is run asserts anything, what stands under
/// `if __name__ == "__main__"` is run, else every function that asserts something and takes nothing, or the candidate alone.
pub(super) fn complete(tests: &str, entry_point: &str) -> Complete {
    let as_is = || Complete { tests: tests.to_owned(), ..Complete::default() };
    let Some(tree) = parse(tests) else { return as_is() };
    // What does not parse fails by itself, and is named for it.
    if tree.root_node().has_error() {
        return as_is();
    }
    let mut outline = Outline::default();
    outline.visit(tree.root_node(), tests);
    let reached = outline.reached(tests);
    let candidate = if outline.definitions.contains_key(entry_point) { CANDIDATE } else { entry_point };
    let mut calls = Calls { candidate, text: String::new(), uncallable: None, uses_candidate: false };
    let unreached = || outline.order.iter().filter(|name| !reached.contains(name.as_str()));

    if unreached().any(|name| name == "check")
        && let Some(Definition { kind: DefinitionKind::Function { parameters, is_async }, .. }) =
            outline.definitions.get("check")
    {
        calls.function("check", parameters, *is_async, true);
    }
    let classes = |wanted: fn(&DefinitionKind) -> bool| -> Vec<&str> {
        let found = outline.order.iter().filter(|name| wanted(&outline.definitions[*name].kind));
        found.map(String::as_str).collect()
    };
    let unittest = classes(|kind| matches!(kind, DefinitionKind::Class { is_unittest: true, .. }));
    if !unittest.is_empty() {
        calls.text += &format!("{RUN_UNITTEST}_autotune_run_unittest([{}])\n", unittest.join(", "));
    }
    let plain = classes(|kind| matches!(kind, DefinitionKind::Class { is_unittest: false, is_test: true }));
    let plain: Vec<&str> = plain.into_iter().filter(|name| !reached.contains(*name)).collect();
    if !plain.is_empty() {
        calls.text += &format!("{RUN_METHODS}_autotune_run_methods([{}])\n", plain.join(", "));
    }
    for name in unreached().filter(|name| name.starts_with("test")) {
        if let DefinitionKind::Function { parameters, is_async } = &outline.definitions[name].kind {
            calls.function(name, parameters, *is_async, false);
        }
    }
    if calls.text.is_empty() && !outline.asserts(&reached, tests) {
        match outline.guarded_source(tests) {
            Some(body) => calls.text = format!("\n\n{body}"),
            None => {
                for name in unreached().filter(|name| !name.starts_with("test")) {
                    let definition = &outline.definitions[name];
                    if let DefinitionKind::Function { parameters, is_async } = &definition.kind
                        && asserts(definition.node, tests)
                        && parameters.len() < 2
                    {
                        calls.function(name, parameters, *is_async, true);
                    }
                }
            }
        }
    }
    let mut complete = calls.finish(&without_mains(tests, &outline), entry_point);
    // HumanEval's name of a parameter, used without a function that would have it.
    let free = outline.statements.iter().any(|s| names(text(*s, tests)).contains("candidate"));
    if free && !entry_point.is_empty() && complete.setup.is_none() && !binds(&outline, tests, "candidate") {
        complete.setup = Some(format!("candidate = {entry_point}"));
    }
    complete
}

/// Whether tests give a name a value by themselves.
fn binds(outline: &Outline<'_>, source: &str, name: &str) -> bool {
    let assigned = |statement: &Node<'_>| {
        let squeezed: String = text(*statement, source).chars().filter(|c| !c.is_whitespace()).collect();
        squeezed.starts_with(&format!("{name}="))
            || squeezed.starts_with("from")
            || squeezed.starts_with("import")
    };
    outline.definitions.contains_key(name)
        || outline.statements.iter().any(|s| names(text(*s, source)).contains(name) && assigned(s))
}

/// The calls so far.
struct Calls<'a> {
    candidate: &'a str,
    text: String,
    uncallable: Option<String>,
    uses_candidate: bool,
}

impl Calls<'_> {
    /// Calls a function: with nothing, or with the candidate where it takes one thing that is `any` thing, or named for it.
    fn function(&mut self, name: &str, parameters: &[String], is_async: bool, any: bool) {
        const NAMES: [&str; 8] =
            ["candidate", "func", "function", "fn", "f", "solution", "method", "entry_point"];
        let arguments = match parameters {
            [] => "",
            [one] if (any || NAMES.contains(&one.as_str())) && !self.candidate.is_empty() => {
                self.uses_candidate = true;
                self.candidate
            }
            _ => {
                self.uncallable.get_or_insert_with(|| format!("{name}({})", parameters.join(", ")));
                return;
            }
        };
        let call = format!("{name}({arguments})");
        self.text += &if is_async {
            format!("\n\n__import__('asyncio').run({call})\n")
        } else {
            format!("\n\n{call}\n")
        };
    }

    fn finish(self, tests: &str, entry_point: &str) -> Complete {
        let aliased = self.uses_candidate && self.candidate == CANDIDATE;
        Complete {
            setup: aliased.then(|| format!("{CANDIDATE} = {entry_point}")),
            tests: format!("{tests}{}", self.text),
            // What can be called is enough to judge by.
            uncallable: self.uncallable.filter(|_| self.text.is_empty()),
        }
    }
}

fn parse(source: &str) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_python::LANGUAGE.into()).ok()?;
    parser.parse(source, None)
}

fn text<'t>(node: Node<'_>, source: &'t str) -> &'t str {
    &source[node.byte_range()]
}

fn children(node: Node<'_>) -> Vec<Node<'_>> {
    node.children(&mut node.walk()).collect()
}

impl<'t> Outline<'t> {
    /// Takes up what is run at the level of the module, in blocks too.
    fn visit(&mut self, node: Node<'t>, source: &str) {
        match node.kind() {
            "function_definition" | "class_definition" => self.define(node, source),
            "decorated_definition" => {
                if let Some(inner) = node.child_by_field_name("definition") {
                    self.define(inner, source);
                }
                self.statements.extend(children(node).into_iter().filter(|c| c.kind() == "decorator"));
            }
            "if_statement" if is_main_guard(node, source) => {
                self.guarded.extend(node.child_by_field_name("consequence"));
            }
            "module" | "block" | "if_statement" | "elif_clause" | "else_clause" | "try_statement"
            | "except_clause" | "finally_clause" | "with_statement" | "for_statement" | "while_statement" => {
                for child in children(node) {
                    self.visit(child, source);
                }
            }
            _ => self.statements.push(node),
        }
    }

    fn define(&mut self, node: Node<'t>, source: &str) {
        let Some(name) = node.child_by_field_name("name").map(|n| text(n, source).to_owned()) else {
            return;
        };
        let kind = if node.kind() == "function_definition" {
            DefinitionKind::Function {
                parameters: required(node, source),
                is_async: text(node, source).starts_with("async"),
            }
        } else {
            let bases = node.child_by_field_name("superclasses").map_or("", |bases| text(bases, source));
            let derived = self.definitions.iter().any(|(name, base)| {
                matches!(base.kind, DefinitionKind::Class { is_unittest: true, .. })
                    && names(bases).contains(name.as_str())
            });
            let is_alias = |name: &&str| source.contains(&format!("TestCase as {name}"));
            let body = node.child_by_field_name("body").map_or("", |body| text(body, source));
            DefinitionKind::Class {
                is_unittest: derived || bases.contains("TestCase") || names(bases).iter().any(is_alias),
                is_test: name.starts_with("Test") && body.contains("def test"),
            }
        };
        if self.definitions.insert(name.clone(), Definition { node, kind }).is_none() {
            self.order.push(name);
        }
    }

    /// The definitions that what is run names, and those that they name in turn.
    fn reached(&self, source: &str) -> BTreeSet<&str> {
        let mut reached: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<Node<'t>> = self.statements.clone();
        while let Some(node) = open.pop() {
            for name in names(text(node, source)) {
                if let Some((name, definition)) = self.definitions.get_key_value(name)
                    && reached.insert(name)
                {
                    open.push(definition.node);
                }
            }
        }
        reached
    }

    /// Whether anything that is run asserts something.
    fn asserts(&self, reached: &BTreeSet<&str>, source: &str) -> bool {
        let called = reached.iter().map(|name| self.definitions[*name].node);
        self.statements.iter().copied().chain(called).any(|node| asserts(node, source))
    }

    /// What stands under `if __name__ == "__main__"`, at the margin; none where it only starts a test runner.
    fn guarded_source(&self, source: &str) -> Option<String> {
        let mut all = String::new();
        for block in &self.guarded {
            for statement in children(*block).into_iter().filter(|s| !is_runner(text(*s, source))) {
                let column = statement.start_position().column;
                for (number, line) in text(statement, source).lines().enumerate() {
                    let own = line.len() - line.trim_start_matches([' ', '\t']).len();
                    all += if number == 0 { line } else { &line[column.min(own)..] };
                    all.push('\n');
                }
            }
        }
        (!all.is_empty()).then_some(all)
    }
}

/// The words of a source that may be names.
fn names(source: &str) -> BTreeSet<&str> {
    source.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect()
}

fn is_main_guard(node: Node<'_>, source: &str) -> bool {
    let condition = node.child_by_field_name("condition").map_or("", |c| text(c, source));
    condition.contains("__name__") && condition.contains("__main__")
}

/// Whether a statement starts a test runner, which would look for tests in another module and end the process.
fn is_runner(statement: &str) -> bool {
    let squeezed: String = statement.chars().filter(|c| !c.is_whitespace()).collect();
    let call = squeezed.strip_prefix("sys.exit(").unwrap_or(&squeezed);
    call.starts_with("unittest.main(") || call.starts_with("pytest.main(")
}

/// The tests without calls of test runners; all lines keep their numbers.
fn without_mains(tests: &str, outline: &Outline<'_>) -> String {
    let mut kept = tests.to_owned();
    for statement in outline.statements.iter().rev().filter(|s| is_runner(text(**s, tests))) {
        let lines = text(*statement, tests).matches('\n').count();
        kept.replace_range(statement.byte_range(), &format!("pass{}", "\n".repeat(lines)));
    }
    kept
}

/// Whether a piece of code asserts or raises anything, or calls what is named for it (`self.assertEqual`, `assert_close`).
fn asserts(node: Node<'_>, source: &str) -> bool {
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        match node.kind() {
            "assert_statement" | "raise_statement" => return true,
            "call" => {
                let function = node.child_by_field_name("function").map_or("", |f| text(f, source));
                if function.to_ascii_lowercase().contains("assert") {
                    return true;
                }
            }
            _ => {}
        }
        open.extend(children(node));
    }
    false
}

/// The parameters that a call must give.
fn required(function: Node<'_>, source: &str) -> Vec<String> {
    let parameters = function.child_by_field_name("parameters").map(children).unwrap_or_default();
    let needed = parameters.iter().filter(|p| ["identifier", "typed_parameter"].contains(&p.kind()));
    let name = |p: &Node<'_>| {
        let whole = text(*p, source);
        whole.split(':').next().unwrap_or(whole).trim().to_owned()
    };
    needed.map(name).filter(|name| !name.starts_with('*')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is added to the tests.
    fn added(tests: &str, entry_point: &str) -> String {
        let complete = complete(tests, entry_point);
        let added = complete.tests.strip_prefix(tests).unwrap_or_else(|| panic!("{}", complete.tests));
        added.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn check_is_called_however_it_is_spelled() {
        assert_eq!(added("def check(candidate):\n    assert candidate(2) == 4\n", "twice"), "check(twice)");
        assert_eq!(added("def check (c):\n    assert c(2) == 4\n", "twice"), "check(twice)");
        assert_eq!(
            added("def  check(\n    c: int,\n) -> None:\n    assert c(2) == 4\n", "twice"),
            "check(twice)"
        );
        assert_eq!(added("if True:\n    def check(c):\n        assert c(2) == 4\n", "twice"), "check(twice)");
        assert_eq!(
            added("async def check(c):\n    assert await c(2) == 4\n", "twice"),
            "__import__('asyncio').run(check(twice))"
        );
    }

    #[test]
    fn what_calls_itself_is_left_as_it_is() {
        for tests in [
            "assert twice(2) == 4\n",
            "def check(c):\n    assert c(2) == 4\n\ncheck(twice)\n",
            "def check(c):\n    assert c(2) == 4\n\ndef test_check():\n    check(twice)\n\ntest_check()\n",
            "def helper(x):\n    assert x\n\nfor x in [1]:\n    helper(twice(x))\n",
            "def test_a():\n    assert twice(2) == 4\n\nfor t in [test_a]:\n    t()\n",
            "",
            "# assert twice(2) == 4\n",
        ] {
            assert_eq!(added(tests, "twice"), "", "{tests}");
        }
    }

    #[test]
    fn test_functions_and_classes_are_run() {
        assert_eq!(added("def test_twice():\n    assert twice(2) == 4\n", "twice"), "test_twice()");
        assert_eq!(added("def test(candidate):\n    assert candidate(2) == 4\n", "twice"), "test(twice)");
        let unittest = "import unittest\n\nclass TestCases(unittest.TestCase):\n    def test_one(self):\n        self.assertEqual(twice(2), 4)\n";
        assert!(added(unittest, "twice").ends_with("_autotune_run_unittest([TestCases])"));
        let derived = format!("{unittest}\nclass More(TestCases):\n    pass\n");
        assert!(added(&derived, "twice").ends_with("_autotune_run_unittest([TestCases, More])"));
        let plain = "class TestTwice:\n    def test_one(self):\n        assert twice(2) == 4\n";
        assert!(added(plain, "twice").ends_with("_autotune_run_methods([TestTwice])"));
    }

    #[test]
    fn a_test_runner_is_replaced_and_other_guarded_code_is_run() {
        let unittest = "import unittest\nclass T(unittest.TestCase):\n    def test_one(self):\n        self.assertEqual(f(), 4)\n";
        let guarded = format!("{unittest}if __name__ == '__main__':\n    unittest.main()\n");
        assert!(added(&guarded, "f").ends_with("_autotune_run_unittest([T])"));
        let complete =
            complete(&format!("{unittest}unittest.main(argv=[''],\n    exit=False)\nx = 1\n"), "f");
        assert!(
            complete.tests.contains("pass\n\nx = 1\n") && !complete.tests.contains("unittest.main"),
            "{}",
            complete.tests
        );
        let main = "def main():\n    assert f() == 4\n\nif __name__ == \"__main__\":\n    for _ in range(2):\n        main()\n";
        assert_eq!(added(main, "f"), "for _ in range(2): main()");
    }

    #[test]
    fn functions_of_other_names_are_run_where_nothing_else_asserts() {
        assert_eq!(added("def verify():\n    assert f() == 4\n", "f"), "verify()");
        assert_eq!(added("def verify(g):\n    assert g() == 4\n", "f"), "verify(f)");
        assert_eq!(added("def verify(a, b):\n    assert a == b\n", "f"), "");
        assert_eq!(added("def near(a):\n    return a > 1\n", "f"), "");
    }

    #[test]
    fn what_only_pytest_can_call_is_named() {
        let of = |tests: &str| complete(tests, "f").uncallable;
        assert_eq!(
            of("def test_f(tmp_path, x):\n    assert f() == 4\n").as_deref(),
            Some("test_f(tmp_path, x)")
        );
        assert_eq!(of("def test_f(tmp_path):\n    assert f() == 4\n").as_deref(), Some("test_f(tmp_path)"));
        assert_eq!(of("def test_f(x=1, *y, z=2, **k):\n    assert f() == 4\n"), None);
    }

    #[test]
    fn a_function_under_test_named_as_the_harness_names_its_own_is_kept_at_hand() {
        let complete = complete("def check(candidate):\n    assert candidate(4) is True\n", "check");
        assert!(complete.tests.ends_with("\n\ncheck(_autotune_candidate)\n"));
        assert_eq!(complete.setup.as_deref(), Some("_autotune_candidate = check"));
    }

    #[test]
    fn what_does_not_parse_is_left_as_it_is() {
        assert_eq!(added("def check(candidate:\n    assert\n", "f"), "");
    }
}
