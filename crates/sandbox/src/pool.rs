//! The sandbox: worker threads, each with interpreters of its own, that share a list of programs.
//!
//! The threads live as long as the sandbox: a child that dies with its parent dies with the *thread* that started it.

use std::{
    num::NonZero,
    sync::{
        Arc, Mutex,
        mpsc::{self, Sender},
    },
    thread::{self, JoinHandle},
};

use super::{
    Interpreter, Judge, Judgement, Layers, SandboxError, Settings, interpreter,
    probe::probe,
    typescript,
    worker::{Job, work},
};
use crate::{Program, TaskLanguage};

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
