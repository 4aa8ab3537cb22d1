//! What is found out about a model before a study exists: whether the engine can load it, and whether its numbers are numbers.
//!
//! Both are done by a worker, since native code may end the process. Nothing is written to the results: a model that cannot be run
//! leaves no study behind, and a `resume` that could never work is not offered.

mod header;

use std::path::Path;
use std::time::Duration;

use super::{MachineFault, Stopped};
use autotune_engine::{EngineKind, Inspection, RunConfig, finite};
use autotune_model::gguf::Gguf;
use autotune_worker::protocol::{Job, Message, ValueReport};
use autotune_worker::supervisor::{End, Limits, Supervisor};

/// Reading a header takes a second; a file on a slow network disk may take longer.
const LOAD_LIMIT: Duration = Duration::from_secs(600);
/// Every weight is read once.
const VALUES_LIMIT: Duration = Duration::from_secs(4 * 3600);

/// A model that can never be run as it is: the input is wrong, and no retry helps.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Unusable {
    /// The file, what is wrong with it, and the remedy.
    pub text: String,
}

/// Checks one model file.
pub struct Preflight<'a> {
    /// Runs the jobs.
    pub supervisor: &'a Supervisor,
    /// The engine that is to run the model.
    pub engine: EngineKind,
    /// The model file.
    pub model: &'a Path,
    /// Asked often; true ends the work.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Preflight<'_> {
    /// Loads vocabulary and shapes, without the weights where the engine can. `caches`: also finds out which cache types it refuses.
    ///
    /// # Errors
    /// [`Unusable`] with the reason; the user stopped it, or the worker could not be started.
    pub fn load(&self, caches: bool) -> anyhow::Result<Inspection> {
        self.header()?;
        let (end, found) = self.inspect(caches)?;
        // Trying cache types may end the worker where the model alone does not.
        let (end, found) =
            if caches && matches!(end, End::Crashed(_)) { self.inspect(false)? } else { (end, found) };
        match end {
            End::Done => Ok(found.unwrap_or_default()),
            End::Failed(why) => Err(self.unusable(&self.refused(&why)).into()),
            End::Crashed(how) => {
                let text = format!("{} ends without an answer when it loads the file: {how}", self.library());
                Err(self.unusable(&text).into())
            }
            other => Err(self.unfinished(other, "load the model's header")),
        }
    }

    /// Faults that the header alone shows, in autotune's own words.
    fn header(&self) -> anyhow::Result<()> {
        if self.engine == EngineKind::Mock {
            return Ok(());
        }
        let gguf = Gguf::open(self.model).map_err(|e| Unusable { text: e.to_string() })?;
        header::check(&gguf).map_err(|why| self.unusable(&why).into())
    }

    fn inspect(&self, caches: bool) -> anyhow::Result<(End, Option<Inspection>)> {
        let job = Job::Inspect { engine: self.engine, artifact: self.model.to_owned(), caches };
        let mut found = None;
        let outcome = self.run(&job, LOAD_LIMIT, &mut |message| {
            if let Message::Inspected(inspection) = message {
                found = Some(inspection);
            }
        })?;
        Ok((outcome, found))
    }

    /// Reads every weight once, and lets the model read a short text where it fits `memory_bytes`.
    ///
    /// # Errors
    /// [`Unusable`] where a weight or a logit is NaN or infinite, by name; else as [`Preflight::load`].
    pub fn values(
        &self,
        text: &str,
        threads: u32,
        memory_bytes: u64,
        progress: &mut dyn FnMut(u64, u64),
    ) -> anyhow::Result<ValueReport> {
        let fits = std::fs::metadata(self.model).is_ok_and(|file| file.len() < memory_bytes);
        let job = Job::CheckValues {
            engine: self.engine,
            artifact: self.model.to_owned(),
            run: RunConfig { threads, context: 512, ..RunConfig::least() },
            text: fits.then(|| text.to_owned()),
        };
        let mut report = None;
        let end = self.run(&job, VALUES_LIMIT, &mut |message| match message {
            Message::ValuesChecked(found) => report = Some(found),
            Message::Progress { done, total, .. } => progress(done, total),
            _ => {}
        })?;
        match end {
            End::Done => Ok(report.unwrap_or_default()),
            End::Failed(why) if finite::tells_of(&why) => {
                let why = why.replacen(finite::NOT_A_NUMBER, "", 1);
                let text =
                    format!("{why}; a study of it could not measure anything: download the model again");
                Err(self.unusable(&text).into())
            }
            End::Failed(why) => Err(self.unusable(&self.refused(&why)).into()),
            End::Crashed(how) => {
                Err(self.unusable(&format!("{} ends when it runs the model: {how}", self.library())).into())
            }
            other => Err(self.unfinished(other, "check the model's weights")),
        }
    }

    fn run(&self, job: &Job, time: Duration, each: &mut dyn FnMut(Message)) -> anyhow::Result<End> {
        let limits = Limits { time, memory_bytes: None };
        Ok(self.supervisor.run(job, &limits, self.cancelled, each)?.end)
    }

    fn library(&self) -> &'static str {
        self.engine.name()
    }

    fn refused(&self, why: &str) -> String {
        let path = self.model.display().to_string();
        let why = why.trim_start_matches(&format!("failed to load {path}: ")).trim();
        format!("{} cannot load it: {why}{}", self.library(), remedy(why))
    }

    fn unusable(&self, why: &str) -> Unusable {
        Unusable { text: format!("model file {}: {why}", self.model.display()) }
    }

    fn unfinished(&self, end: End, step: &str) -> anyhow::Error {
        match super::done_or_why(end, step) {
            Ok(Ok(())) => Stopped.into(),
            Ok(Err(reason)) => MachineFault { step: step.to_owned(), reason }.into(),
            Err(error) => error,
        }
    }
}

/// The remedy, where the library's message is known.
fn remedy(why: &str) -> &'static str {
    if why.contains("merges") || why.contains("pre-tokenizer") || why.contains("tokenizer.ggml") {
        "; reconvert the model from its original folder, with its tokenizer"
    } else if why.contains("wrong shape")
        || why.contains("number of tensors")
        || why.contains("missing tensor")
    {
        "; the file does not hold the tensors that its metadata lists: download it again, or convert it with a converter that knows the model"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_follow_the_librarys_words() {
        assert!(remedy("cannot find tokenizer merges in model file").contains("tokenizer"));
        assert!(remedy("wrong number of tensors; expected 20, got 21").contains("converter"));
        assert_eq!(remedy("something else"), "");
    }
}
