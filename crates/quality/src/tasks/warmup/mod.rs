//! The tasks shipped with the binary: 66 in Python and 34 in JavaScript, written for this project, from one-liners upward, so that
//! even a model of 135 million parameters solves some and loses some when it is compressed.
//!
//! Each has a signature with an example, tests, a solution that passes, and a plausible wrong body that the tests must reject.

use super::{Kind, Task, TaskError, TaskLanguage, stops};

const PYTHON: &str = include_str!("python.txt");
const JAVASCRIPT: &str = include_str!("javascript.txt");

/// One task as it stands in the text files.
struct Entry<'a> {
    name: &'a str,
    prompt: String,
    solution: String,
    wrong: String,
    tests: String,
}

/// All shipped tasks. Any prefix is a fair sample of languages and difficulty: the files are graded, and the order here jumps through
/// them by bit reversal (van der Corput), two Python tasks for each JavaScript one.
///
/// # Errors
/// Never for the files that passed the tests.
pub fn tasks() -> Result<Vec<Task>, TaskError> {
    let mut python = spread(read(PYTHON, TaskLanguage::Python)?).into_iter();
    let mut javascript = spread(read(JAVASCRIPT, TaskLanguage::JavaScript)?).into_iter();
    let mut tasks = Vec::new();
    loop {
        let before = tasks.len();
        tasks.extend(python.by_ref().take(2));
        tasks.extend(javascript.by_ref().take(1));
        if tasks.len() == before {
            return Ok(tasks);
        }
    }
}

/// The plausible wrong completion of each task, by id: what the tests must reject.
///
/// # Errors
/// As [`tasks`].
pub fn wrong_completions() -> Result<Vec<(String, String)>, TaskError> {
    let mut all = Vec::new();
    for (text, language) in [(PYTHON, TaskLanguage::Python), (JAVASCRIPT, TaskLanguage::JavaScript)] {
        all.extend(entries(text)?.into_iter().map(|e| (id(language, e.name), e.wrong)));
    }
    Ok(all)
}

fn id(language: TaskLanguage, name: &str) -> String {
    let folder = if language == TaskLanguage::Python { "python" } else { "javascript" };
    format!("warmup/{folder}/{name}")
}

fn read(text: &str, language: TaskLanguage) -> Result<Vec<Task>, TaskError> {
    Ok(entries(text)?
        .into_iter()
        .map(|entry| Task {
            id: id(language, entry.name),
            language,
            language_name: if language == TaskLanguage::Python { "python" } else { "javascript" }.to_owned(),
            prompt: entry.prompt,
            suffix: String::new(),
            kind: Kind::Continuation,
            setup: String::new(),
            tests: entry.tests,
            entry_point: entry.name.to_owned(),
            canonical: Some(entry.solution),
            stop: stops::exclusive(language, false),
            closing: stops::inclusive(language),
            refusal: None,
        })
        .collect())
}

/// `==== name`, the prompt, then `---- solution`, `---- wrong` and `---- tests`.
fn entries(text: &str) -> Result<Vec<Entry<'_>>, TaskError> {
    text.split("==== ")
        .skip(1)
        .map(|part| {
            let broken =
                |what: &str| TaskError::Warmup(format!("{what} in `{}`", part.lines().next().unwrap_or("")));
            let (name, rest) = part.split_once('\n').ok_or_else(|| broken("no body"))?;
            let (prompt, rest) = rest.split_once("---- solution\n").ok_or_else(|| broken("no solution"))?;
            let (solution, rest) = rest.split_once("---- wrong\n").ok_or_else(|| broken("no wrong body"))?;
            let (wrong, tests) = rest.split_once("---- tests\n").ok_or_else(|| broken("no tests"))?;
            Ok(Entry {
                name: name.trim(),
                prompt: prompt.to_owned(),
                solution: solution.to_owned(),
                wrong: wrong.to_owned(),
                tests: tests.to_owned(),
            })
        })
        .collect()
}

/// Orders graded items so that each prefix is spread over the grades: by the bit-reversed index.
fn spread<T>(items: Vec<T>) -> Vec<T> {
    let bits = usize::BITS - items.len().leading_zeros();
    let mut keyed: Vec<(usize, T)> = items
        .into_iter()
        .enumerate()
        .map(|(i, item)| (i.reverse_bits() >> (usize::BITS - bits.max(1)), item))
        .collect();
    keyed.sort_by_key(|(key, _)| *key);
    keyed.into_iter().map(|(_, item)| item).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_enough_tasks_and_they_are_short() {
        let tasks = tasks().unwrap();
        let count = |language| tasks.iter().filter(|t| t.language == language).count();
        assert!(count(TaskLanguage::Python) >= 60 && count(TaskLanguage::JavaScript) >= 30);
        assert_eq!(tasks.iter().map(|t| &t.id).collect::<HashSet<_>>().len(), tasks.len());
        for task in &tasks {
            assert!(task.prompt.len() <= 260, "{} has a long prompt", task.id);
            assert!(
                task.prompt.contains(&task.entry_point) && task.tests.contains(&task.entry_point),
                "{}",
                task.id
            );
            let canonical = task.canonical.as_deref().unwrap();
            assert!(canonical.lines().count() <= 10 && canonical.ends_with('\n'), "{}", task.id);
        }
    }

    #[test]
    fn wrong_bodies_differ_from_the_solutions() {
        let tasks = tasks().unwrap();
        for (id, wrong) in wrong_completions().unwrap() {
            let task = tasks.iter().find(|t| t.id == id).unwrap();
            assert_ne!(task.canonical.as_deref(), Some(wrong.as_str()), "{id}");
        }
    }

    #[test]
    fn every_prefix_mixes_languages_and_grades() {
        let tasks = tasks().unwrap();
        let python = tasks[..12].iter().filter(|t| t.language == TaskLanguage::Python).count();
        assert_eq!(python, 8);
        let ids: Vec<&str> = tasks[..12].iter().map(|t| t.entry_point.as_str()).collect();
        assert!(ids.contains(&"add"), "{ids:?}");
        assert_eq!(spread(vec![0, 1, 2, 3, 4]), [0, 4, 2, 1, 3]);
    }
}
