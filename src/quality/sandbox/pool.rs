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
    Interpreter, Judge, Judgement, Layers, SandboxError, Settings, interpreter, probe::probe, python::PythonServer,
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
    python: Option<Result<Arc<Interpreter>, String>>,
}

/// One program to judge, and where the answer goes.
struct Job {
    index: usize,
    program: Program,
    interpreter: Arc<Interpreter>,
    answer: Sender<(usize, Result<Judgement, SandboxError>)>,
}

impl Sandbox {
    /// Probes the machine and starts the workers; interpreters start with the first program that needs them.
    ///
    /// # Errors
    /// The machine lacks the protection that the mode demands.
    pub fn new(settings: Settings) -> Result<Self, SandboxError> {
        let layers = probe();
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
            _ => return Err(SandboxError::NotExecuted { task_id: format!("{language:?}") }),
        };
        if let Some(Ok(found)) = slot {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(interpreter::find(language)?);
        *slot = Some(Ok(Arc::clone(&found)));
        Ok(found)
    }
}

impl Judge for Sandbox {
    fn judge(&mut self, programs: &[Program]) -> Result<Vec<Judgement>, SandboxError> {
        let (answer, answers) = mpsc::channel();
        let mut judgements: Vec<Option<Judgement>> = vec![None; programs.len()];
        let jobs = programs
            .iter()
            .enumerate()
            .map(|(index, program)| {
                if !program.language.is_executed() {
                    return Err(SandboxError::NotExecuted { task_id: program.task_id.clone() });
                }
                let interpreter = self.interpreter(program.language)?;
                Ok(Job { index, program: program.clone(), interpreter, answer: answer.clone() })
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

/// A worker: takes programs until the queue is closed.
fn work(queue: &Mutex<Receiver<Job>>, layers: &Layers, settings: &Settings) {
    let mut python: Option<PythonServer> = None;
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(job) = job else { return };
        let result = judge_python(&mut python, &job, layers, settings);
        // The asker may have given up; the next job is none the worse.
        let _ = job.answer.send((job.index, result));
    }
}

/// Judges with a warm server; one that failed is replaced, and the program tried once more.
fn judge_python(
    slot: &mut Option<PythonServer>,
    job: &Job,
    layers: &Layers,
    settings: &Settings,
) -> Result<Judgement, SandboxError> {
    let mut failure = None;
    for _ in 0..2 {
        let mut server = match slot.take() {
            Some(server) => server,
            None => PythonServer::start(&job.interpreter, layers)?,
        };
        match server.judge(&job.program, &settings.limits) {
            Ok(judgement) => {
                *slot = Some(server);
                return Ok(judgement);
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| SandboxError::broken("judge", "no attempt was made")))
}
