//! The sandbox: worker threads, each with interpreters of its own, that share a list of programs.
//!
//! The threads live as long as the sandbox: a child that dies with its parent dies with the *thread* that started it.

use std::{
    num::NonZero,
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

use super::{
    Interpreter, Judge, Judgement, Layers, SandboxError, Settings, interpreter, node::NodeJudge,
    probe::probe, python::PythonServer, typescript,
};
use crate::quality::tasks::{Program, TaskLanguage};

/// Judges programs in confined processes, several at once.
#[derive(Debug)]
pub struct Sandbox {
    layers: Layers,
    settings: Settings,
    interpreters: Interpreters,
    workers: Vec<JoinHandle<()>>,
    jobs: Option<Sender<Job>>,
}

/// What was found of each interpreter, looked for once.
#[derive(Debug, Default)]
struct Interpreters {
    python: Option<Arc<Interpreter>>,
    node: Option<Arc<Interpreter>>,
}

/// One program to judge, and where the answer goes.
struct Job {
    index: usize,
    program: Program,
    interpreter: Arc<Interpreter>,
    /// Another program of its interpreter is in the list behind it.
    followed: bool,
    answer: Sender<(usize, Result<Judgement, SandboxError>)>,
}

impl Sandbox {
    /// Probes the machine and starts the workers; interpreters start with the first program that needs them.
    ///
    /// # Errors
    /// The machine lacks the protection that the mode demands.
    pub fn new(settings: Settings) -> Result<Self, SandboxError> {
        Self::with_layers(settings, probe())
    }

    /// As [`Sandbox::new`], with no more than these layers: what a poorer machine would have.
    ///
    /// # Errors
    /// As [`Sandbox::new`].
    pub fn with_layers(settings: Settings, layers: Layers) -> Result<Self, SandboxError> {
        layers.accept(settings.mode)?;
        let count = if settings.jobs > 0 {
            settings.jobs
        } else {
            thread::available_parallelism().map_or(1, NonZero::get)
        };
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let workers = (0..count)
            .map(|number| {
                let queue = Arc::clone(&queue);
                thread::Builder::new()
                    .name(format!("sandbox-{number}"))
                    .spawn(move || work(&queue, &layers, &settings))
                    .map_err(|e| SandboxError::broken("start a thread", e))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { layers, settings, interpreters: Interpreters::default(), workers, jobs: Some(jobs) })
    }

    /// The protections in use.
    #[must_use]
    pub fn layers(&self) -> Layers {
        self.layers
    }

    /// The settings in use.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// The interpreter for a language: so that tasks can be left out, with a word to the user, where there is none.
    ///
    /// # Errors
    /// None on this machine, or a language that is not executed.
    pub fn interpreter(&mut self, language: TaskLanguage) -> Result<Arc<Interpreter>, SandboxError> {
        let slot = match language {
            TaskLanguage::Python => &mut self.interpreters.python,
            TaskLanguage::JavaScript | TaskLanguage::TypeScript => &mut self.interpreters.node,
            TaskLanguage::Other => return Err(SandboxError::NotExecuted { language }),
        };
        if let Some(found) = slot {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(interpreter::find(language)?);
        *slot = Some(Arc::clone(&found));
        Ok(found)
    }
}

impl Judge for Sandbox {
    fn judge(&mut self, programs: &[Program]) -> Result<Vec<Judgement>, SandboxError> {
        let (answer, answers) = mpsc::channel();
        let mut judgements: Vec<Option<Judgement>> = vec![None; programs.len()];
        // Who comes last in node needs no successor warmed up.
        let last = programs.iter().rposition(|program| program.language != TaskLanguage::Python);
        let jobs = programs
            .iter()
            .enumerate()
            .map(|(index, program)| {
                let interpreter = self.interpreter(program.language)?;
                let program = executable(program);
                Ok(Job { index, program, interpreter, followed: last != Some(index), answer: answer.clone() })
            })
            .collect::<Result<Vec<_>, _>>()?;
        drop(answer);
        let stopped = || SandboxError::broken("reach its workers", "they have ended");
        let queue = self.jobs.as_ref().ok_or_else(stopped)?;
        for job in jobs {
            queue.send(job).map_err(|_| stopped())?;
        }
        for (index, judgement) in answers {
            judgements[index] = Some(judgement?);
        }
        judgements.into_iter().collect::<Option<Vec<_>>>().ok_or_else(stopped)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The workers end with the queue, and their children with them.
        self.jobs = None;
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

/// The program as its interpreter takes it.
fn executable(program: &Program) -> Program {
    let mut program = program.clone();
    if program.language == TaskLanguage::TypeScript {
        for source in [&mut program.solution, &mut program.prelude, &mut program.setup, &mut program.tests] {
            *source = typescript::erase(source);
        }
    }
    program
}

/// A worker: takes programs until the queue is closed.
fn work(queue: &Mutex<Receiver<Job>>, layers: &Layers, settings: &Settings) {
    let (mut python, mut node) = (None, None);
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        let limits = &settings.limits;
        let result = match job.program.language {
            TaskLanguage::Python => with_retry(
                &mut python,
                || PythonServer::start(&job.interpreter, layers, limits),
                |server| server.judge(&job.program, limits),
            ),
            _ => with_retry(
                &mut node,
                || NodeJudge::start(Arc::clone(&job.interpreter), layers, limits),
                |judge| judge.judge(&job.program, job.followed),
            ),
        };
        // The asker may have given up; the next job is none the worse.
        let _ = job.answer.send((job.index, result));
    }
}

/// Judges with what is warm; what failed is replaced, and the program tried once more.
fn with_retry<T>(
    slot: &mut Option<T>,
    start: impl Fn() -> Result<T, SandboxError>,
    judge: impl Fn(&mut T) -> Result<Judgement, SandboxError>,
) -> Result<Judgement, SandboxError> {
    let mut failure = SandboxError::broken("judge", "no attempt was made");
    for _ in 0..2 {
        let mut judging = match slot.take() {
            Some(judging) => judging,
            None => start()?,
        };
        match judge(&mut judging) {
            Ok(judgement) => {
                *slot = Some(judging);
                return Ok(judgement);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}
