//! Whether tasks can tell right from wrong, found out before anything is graded by them.
//!
//! A task proves itself when its own solution passes its tests, and programs that are wrong whatever the task is (`stubs`) fail them. Tests
//! that nobody calls, that compare nothing or swallow every exception pass the wrong programs; tests that need a missing package, or more time
//! than they get, fail the right one. Either way a score would say nothing about the model, so such tasks are left out, each with its
//! [`Reason`]. What was found is kept ([`Cache`]), so that it costs once.

mod cache;
mod reason;
mod stubs;
mod summary;

use super::tasks::{Task, TaskLanguage, program};
use autotune_sandbox::{Judge, Judgement, SandboxError, Verdict};

pub use cache::{Cache, Context};
pub use reason::Reason;
pub use summary::{LeftOut, Summary};

/// Tasks whose programs are judged together, between two reports of progress.
const CHUNK: usize = 64;

/// What is known of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Its own solution passes, and the stubs fail.
    Proven,
    /// It brings no solution; the stubs fail.
    StubsFail,
    /// Its language is not executed: its tests judge nothing.
    NotExecuted,
    /// It does not tell right from wrong.
    LeftOut(Reason),
}

impl Proof {
    /// Whether a program may be judged by the task's tests.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        matches!(self, Self::Proven | Self::StubsFail)
    }
}

/// Proves tasks, in their order. `progress` hears how many of those that must be judged are done, and how many they are.
///
/// # Errors
/// Nothing can be judged; what is wrong with a task is its proof.
pub fn prove(
    tasks: &[Task],
    judge: &mut dyn Judge,
    cache: &mut Cache,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Proof>, SandboxError> {
    let mut proofs: Vec<Option<Proof>> =
        tasks.iter().map(|task| settled(task).or_else(|| cache.get(task))).collect();
    let open: Vec<usize> = (0..tasks.len()).filter(|&place| proofs[place].is_none()).collect();
    let mut done = 0;
    for chunk in open.chunks(CHUNK) {
        let asked: Vec<&Task> = chunk.iter().map(|&place| &tasks[place]).collect();
        for (&place, proof) in chunk.iter().zip(prove_together(&asked, judge)?) {
            cache.put(&tasks[place], &proof);
            proofs[place] = Some(proof);
        }
        done += chunk.len();
        progress(done, open.len());
    }
    // Every place is settled, cached or was in a chunk.
    Ok(proofs.into_iter().map(|proof| proof.unwrap_or(Proof::NotExecuted)).collect())
}

/// What needs no program to be judged.
fn settled(task: &Task) -> Option<Proof> {
    if task.language == TaskLanguage::Other {
        return Some(Proof::NotExecuted);
    }
    task.refusal.clone().map(|refusal| Proof::LeftOut(refusal.into()))
}

fn prove_together(tasks: &[&Task], judge: &mut dyn Judge) -> Result<Vec<Proof>, SandboxError> {
    let failures = solutions(tasks, judge)?;
    let left: Vec<&Task> =
        tasks.iter().zip(&failures).filter(|(_, f)| f.is_none()).map(|(task, _)| *task).collect();
    let programs: Vec<_> = left.iter().flat_map(|task| stubs::programs(task)).collect();
    let count = |task: &Task| stubs::programs(task).len();
    let judged = judge.judge(&programs.iter().map(|stub| stub.program.clone()).collect::<Vec<_>>())?;
    let mut stubs = programs.iter().zip(&judged);
    let proof = |(task, failure): (&&Task, Option<Reason>)| {
        if let Some(reason) = failure {
            return Proof::LeftOut(reason);
        }
        let own: Vec<_> = stubs.by_ref().take(count(task)).collect();
        if let Some((stub, _)) = own.iter().find(|(_, judgement)| judgement.verdict.is_pass()) {
            return Proof::LeftOut(Reason::NothingAsserted { stub: stub.name.to_owned() });
        }
        if task.canonical.is_some() {
            return Proof::Proven;
        }
        // Without a solution that passes, a stub that fails may say that the tests cannot run.
        match own.iter().find_map(|(_, judgement)| Reason::of_broken_tests(judgement)) {
            Some(reason) => Proof::LeftOut(reason),
            None => Proof::StubsFail,
        }
    };
    Ok(tasks.iter().zip(failures).map(proof).collect())
}

/// Why the tasks' own solutions do not pass; nothing where they do, or where there is none.
fn solutions(tasks: &[&Task], judge: &mut dyn Judge) -> Result<Vec<Option<Reason>>, SandboxError> {
    let own = |task: &Task| task.canonical.as_deref().map(|solution| program(task, solution));
    let programs: Vec<_> = tasks.iter().filter_map(|task| own(task)).collect();
    let mut judged = judge.judge(&programs)?.into_iter();
    let mut failures = Vec::with_capacity(tasks.len());
    for task in tasks {
        let Some(program) = own(task) else {
            failures.push(None);
            continue;
        };
        let mut judgement: Option<Judgement> = judged.next();
        if judgement.as_ref().is_some_and(|j| j.verdict == Verdict::Timeout) {
            // By itself, before a busy machine is taken for a slow task.
            judgement = judge.judge(&[program])?.pop();
        }
        failures.push(judgement.as_ref().and_then(Reason::of_solution));
    }
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{Program, parse_line};

    /// Judges by what stands in the program.
    struct Scripted(Vec<String>);

    impl Judge for Scripted {
        fn judge(&mut self, programs: &[Program]) -> Result<Vec<Judgement>, SandboxError> {
            Ok(programs
                .iter()
                .map(|p| {
                    self.0.push(p.solution.clone());
                    let (verdict, detail) = match () {
                        () if p.tests.contains("numpy") => {
                            (Verdict::Failed, "ModuleNotFoundError: No module named 'numpy' at test line 1")
                        }
                        () if p.tests.contains("slow") => (Verdict::Timeout, "ran out of time"),
                        () if p.tests.contains("nothing") => (Verdict::Passed, ""),
                        () if p.tests.contains("wrong") => (Verdict::Failed, "AssertionError at test line 2"),
                        () if p.solution.ends_with("return 1\n") => (Verdict::Passed, ""),
                        () => (Verdict::Failed, "AssertionError at test line 2"),
                    };
                    Judgement { verdict, detail: detail.to_owned(), cpu_ms: 1.0, wall_ms: 1.0 }
                })
                .collect())
        }
    }

    fn task(id: &str, test: &str, canonical: bool) -> Task {
        let mut row = serde_json::json!({
            "task_id": id, "prompt": "def f():\n", "canonical_solution": "    return 1\n", "entry_point": "f",
            "test": format!("def check(c):\n    assert c() == 1  # {test}\n"),
        });
        if !canonical {
            row.as_object_mut().unwrap().remove("canonical_solution");
        }
        parse_line(&row.to_string()).unwrap()
    }

    fn proofs(tasks: &[Task]) -> Vec<Proof> {
        prove(tasks, &mut Scripted(Vec::new()), &mut Cache::none(), &mut |_, _| {}).unwrap()
    }

    #[test]
    fn each_reason_is_found() {
        let tasks = [
            task("good", "", true),
            task("empty", "nothing", true),
            task("package", "numpy", true),
            task("wrong", "wrong", true),
            task("slow", "slow", true),
            task("bare", "", false),
            task("bare package", "numpy", false),
            task("bare empty", "nothing", false),
        ];
        let missing = || Proof::LeftOut(Reason::MissingModule { module: "numpy".to_owned() });
        let nothing = || Proof::LeftOut(Reason::NothingAsserted { stub: "returns None".to_owned() });
        assert_eq!(
            proofs(&tasks),
            [
                Proof::Proven,
                nothing(),
                missing(),
                Proof::LeftOut(Reason::SolutionFails {
                    verdict: Verdict::Failed,
                    detail: "AssertionError at test line 2".to_owned()
                }),
                Proof::LeftOut(Reason::TooSlow),
                Proof::StubsFail,
                missing(),
                nothing(),
            ]
        );
    }

    #[test]
    fn tasks_of_a_chunk_keep_their_own_stubs() {
        let tasks: Vec<Task> = (0..CHUNK + 3)
            .map(|i| task(&i.to_string(), if i % 5 == 3 { "nothing" } else { "" }, i % 7 != 2))
            .collect();
        for (i, proof) in proofs(&tasks).iter().enumerate() {
            assert_eq!(proof.is_sound(), i % 5 != 3, "{i}: {proof:?}");
            assert_eq!(*proof == Proof::StubsFail, i % 5 != 3 && i % 7 == 2, "{i}: {proof:?}");
        }
    }

    #[test]
    fn what_is_known_is_not_judged_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deeper/proofs.jsonl");
        let context =
            || Context { limits: "3 s".to_owned(), judge: "1".to_owned(), interpreters: Vec::new() };
        let tasks = [task("good", "", true), task("empty", "nothing", true), task("slow", "slow", true)];
        let mut judged = Vec::new();
        for _ in 0..2 {
            let mut judge = Scripted(Vec::new());
            let mut cache = Cache::open(Some(&file), context());
            prove(&tasks, &mut judge, &mut cache, &mut |_, _| {}).unwrap();
            judged.push(judge.0.len());
        }
        // What failed is looked at again each time, since a package may be installed: the slow one, twice.
        assert!(judged[0] > 8, "{judged:?}");
        assert_eq!(judged[1], 2);
        let other = Cache::open(Some(&file), Context { limits: "9 s".to_owned(), ..context() });
        assert_eq!(other.get(&tasks[0]), None);
    }
}
