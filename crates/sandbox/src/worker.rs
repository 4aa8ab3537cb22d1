//! One worker: interpreters that are kept warm, and replaced when they fail.

use std::sync::{
    Arc, Mutex,
    mpsc::{Receiver, Sender},
};

use super::{
    Interpreter, Judgement, Layers, Limits, SandboxError, Settings, Verdict, node::NodeJudge,
    python::PythonServer,
};
use crate::{Program, TaskLanguage};

/// One program to judge, and where the answer goes.
pub(super) struct Job {
    pub index: usize,
    pub program: Program,
    pub interpreter: Arc<Interpreter>,
    /// Another program of its interpreter is in the list behind it.
    pub followed: bool,
    pub answer: Sender<(usize, Result<Judgement, SandboxError>)>,
}

/// What judges programs of one interpreter, one at a time. An error means that it is unusable.
trait Warm {
    fn judge(
        &mut self,
        program: &Program,
        limits: &Limits,
        followed: bool,
    ) -> Result<Judgement, SandboxError>;
}

impl Warm for PythonServer {
    fn judge(&mut self, program: &Program, limits: &Limits, _: bool) -> Result<Judgement, SandboxError> {
        Self::judge(self, program, limits)
    }
}

impl Warm for NodeJudge {
    fn judge(&mut self, program: &Program, _: &Limits, followed: bool) -> Result<Judgement, SandboxError> {
        Self::judge(self, program, followed)
    }
}

/// Takes programs until the queue is closed.
pub(super) fn work(queue: &Mutex<Receiver<Job>>, layers: &Layers, settings: &Settings) {
    let (mut python, mut node) = (None, None);
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        let limits = &settings.limits;
        let result = if job.program.language == TaskLanguage::Python {
            judge(&mut python, || PythonServer::start(&job.interpreter, layers, limits), &job, limits)
        } else {
            let start = || NodeJudge::start(Arc::clone(&job.interpreter), layers, limits);
            judge(&mut node, start, &job, limits)
        };
        // The asker may have given up; the next job is none the worse.
        let _ = job.answer.send((job.index, result));
    }
}

/// Judges with what is warm; what failed is replaced, and the program tried once more. A program that takes down its judge twice, when
/// a harmless one does not, has crashed: it cannot stop the grading of all others.
fn judge<T: Warm>(
    slot: &mut Option<T>,
    start: impl Fn() -> Result<T, SandboxError>,
    job: &Job,
    limits: &Limits,
) -> Result<Judgement, SandboxError> {
    let mut failure = None;
    for _ in 0..2 {
        let mut warm = match slot.take() {
            Some(warm) => warm,
            None => start()?,
        };
        match warm.judge(&job.program, limits, job.followed) {
            Ok(judgement) => {
                *slot = Some(warm);
                return Ok(judgement);
            }
            Err(error) => failure = Some(error),
        }
    }
    let mut warm = start()?;
    let check = warm.judge(&harmless(job.program.language), limits, false)?;
    let failure = failure.map_or_else(String::new, |error| error.to_string());
    if !check.verdict.is_pass() {
        return Err(SandboxError::broken("judge a harmless program", format!("{}; {failure}", check.detail)));
    }
    *slot = Some(warm);
    Ok(Judgement { verdict: Verdict::Crashed, detail: failure, cpu_ms: 0.0, wall_ms: 0.0 })
}

/// A program that passes wherever anything passes.
fn harmless(language: TaskLanguage) -> Program {
    let python = language == TaskLanguage::Python;
    Program {
        task_id: "harmless".to_owned(),
        language,
        solution: if python { "def f():\n    return 1\n" } else { "function f() { return 1; }" }.to_owned(),
        prelude: String::new(),
        setup: String::new(),
        tests: if python { "assert f() == 1" } else { "console.assert(f() === 1)" }.to_owned(),
        entry_point: "f".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, path::PathBuf, sync::mpsc};

    use super::*;

    /// Fails on every program but the harmless one, or on all.
    struct Fragile {
        on_all: bool,
    }

    impl Warm for Fragile {
        fn judge(&mut self, program: &Program, _: &Limits, _: bool) -> Result<Judgement, SandboxError> {
            if self.on_all || program.task_id != "harmless" {
                return Err(SandboxError::broken("judge", "torn down"));
            }
            Ok(Judgement { verdict: Verdict::Passed, detail: String::new(), cpu_ms: 1.0, wall_ms: 1.0 })
        }
    }

    fn run(on_all: bool) -> (Result<Judgement, SandboxError>, u32) {
        let interpreter = Interpreter {
            path: PathBuf::new(),
            version: String::new(),
            library: Vec::new(),
            packages: Vec::new(),
        };
        let program = Program { task_id: "hostile".into(), ..harmless(TaskLanguage::Python) };
        let job = Job {
            index: 0,
            program,
            interpreter: Arc::new(interpreter),
            followed: false,
            answer: mpsc::channel().0,
        };
        let started = Cell::new(0);
        let start = || {
            started.set(started.get() + 1);
            Ok(Fragile { on_all })
        };
        (judge(&mut None, start, &job, &Limits::default()), started.get())
    }

    #[test]
    fn a_program_that_tears_its_judge_down_has_crashed() {
        let (result, started) = run(false);
        let judgement = result.unwrap();
        assert_eq!((judgement.verdict, started), (Verdict::Crashed, 3));
        assert!(judgement.detail.contains("torn down"));
    }

    #[test]
    fn a_judge_that_fails_on_everything_is_an_error() {
        assert!(matches!(run(true).0, Err(SandboxError::Broken { .. })));
    }
}
