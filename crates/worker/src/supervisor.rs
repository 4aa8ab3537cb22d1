//! The study's side of a worker: spawn, hold time and memory limits, collect messages, record how it ended.
//!
//! A worker's last message (`done` or `failed`) is its result, whatever happens afterwards. Its process is watched until it is gone:
//! one that lingers, or leaves a process behind that holds its output open, is ended after a grace period.

mod pipes;
mod stopwatch;
mod tree;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;

use self::pipes::{LastWords, Lifeline, Messages, Received};
use self::stopwatch::Stopwatch;
use super::memory::resident;
use super::protocol::{Job, Message};
use autotune_core::os::process::{ChildUsage, has_ended, limit_data, wait_child};
use autotune_engine::{Device, EngineKind, torch_worker};
use autotune_host::cage::Cage;
use autotune_host::gpu_use::{GpuMeter, GpuUse, GpuWatch, NvmlMeter};
use autotune_host::identity::{Changed, Guard};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How often the end of a worker is looked for that has closed its output.
const END_LOOK: Duration = Duration::from_millis(1);
/// How often a GPU is looked at, which takes the driver longer.
const GPU_LOOK: Duration = Duration::from_millis(50);
/// How long a worker may take to end after its last message.
const GRACE: Duration = Duration::from_secs(5);

/// What a worker may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Wall time.
    pub time: Duration,
    /// Memory, in bytes: the resident set, and what it holds of a device; none: unlimited.
    pub memory_bytes: Option<u64>,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// It did its job.
    Done,
    /// It reported a failure.
    Failed(String),
    /// It reported that the machine lacks something that the job needs: disk space, a permission.
    Refused(String),
    /// It ended without a word: a signal or an exit code.
    Crashed(String),
    /// It took longer than allowed and was stopped.
    TimedOut,
    /// It used more memory than allowed and was stopped.
    OverMemory,
    /// The study was asked to stop, and stopped it.
    Cancelled,
}

/// What a worker left behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// What a budget is compared with, in bytes: the largest resident set, and the largest device memory.
    pub peak_bytes: Option<u64>,
    /// Of the look that saw most memory: anonymous and file-backed bytes.
    pub split_bytes: Option<(u64, u64)>,
    /// Wall time.
    pub wall: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// What the GPUs did meanwhile; none for a job that uses none.
    pub gpu: Option<GpuUse>,
    /// Energy that a scripted engine pretends to have used, in joules.
    pub scripted_joules: Option<f64>,
    /// What the user should know although the result counts: the worker did not end by itself after its last message.
    pub warning: Option<String>,
}

/// Starts workers. The program is the running executable, unless a test says otherwise.
#[derive(Clone, Debug)]
pub struct Supervisor {
    program: PathBuf,
    device: Device,
    gpu: Arc<dyn GpuMeter>,
    grace: Duration,
    guard: Arc<Guard>,
}

/// A job without an outcome.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The worker could not even be started or spoken to.
    #[error("failed to start a worker ({program}): {source}")]
    Start {
        /// What was started.
        program: String,
        /// Why it could not be.
        source: std::io::Error,
    },
    /// A file that jobs work from changed before the job or while it ran: what it made is of no use.
    #[error("{0}")]
    Changed(Changed),
}

impl Supervisor {
    /// Workers are `program worker`.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        let (gpu, guard) = (Arc::new(NvmlMeter::default()), Arc::default());
        Self { program, device: Device::Cpu, gpu, grace: GRACE, guard }
    }

    /// The same with files that are looked at before and after every job. Where one changed, the job's output is removed and the job is
    /// an error.
    #[must_use]
    pub fn guarded_by(mut self, guard: Arc<Guard>) -> Self {
        self.guard = guard;
        self
    }

    /// The same with another way to look at GPUs.
    #[must_use]
    pub fn with_gpu(mut self, meter: Arc<dyn GpuMeter>) -> Self {
        self.gpu = meter;
        self
    }

    /// The same with another time that a worker may take to end after its last message (5 s).
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Workers are the running executable.
    ///
    /// # Errors
    /// The system does not tell the executable's path.
    pub fn of_this_program() -> Result<Self, SpawnError> {
        let program = std::env::current_exe()
            .map_err(|source| SpawnError::Start { program: "this program".to_owned(), source })?;
        Ok(Self::new(program))
    }

    /// The torch engine computes on this device.
    #[must_use]
    pub fn on(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// The program that does a job: the torch engine's own where it is needed.
    fn program_for(&self, job: &Job) -> PathBuf {
        match job.engine() {
            Some(EngineKind::Torch) => torch_worker(&self.program),
            _ => self.program.clone(),
        }
    }

    /// Runs a job to its end. Every message but the last goes to `each`; `cancelled` is asked often and ends the worker when true.
    ///
    /// # Errors
    /// The worker could not be started, or a guarded file changed. A worker that fails is no error but an [`Outcome`].
    pub fn run(
        &self,
        job: &Job,
        limits: &Limits,
        cancelled: &dyn Fn() -> bool,
        each: &mut dyn FnMut(Message),
    ) -> Result<Outcome, SpawnError> {
        self.guard.check().map_err(SpawnError::Changed)?;
        tracing::info!(
            job = job.kind(),
            engine = job.engine().map(EngineKind::name),
            limit_s = limits.time.as_secs(),
            limit_bytes = limits.memory_bytes,
            "worker started"
        );
        let outcome = self
            .run_unguarded(job, limits, cancelled, each)
            .inspect_err(|error| tracing::error!(job = job.kind(), "worker lost: {error}"))?;
        tracing::info!(
            job = job.kind(),
            end = ?outcome.end,
            peak_bytes = outcome.peak_bytes,
            wall_s = outcome.wall.as_secs_f64(),
            cpu_s = outcome.cpu.as_secs_f64(),
            warning = outcome.warning.as_deref(),
            "worker ended"
        );
        self.guard.check().map_err(|changed| {
            if let Some(output) = job.output() {
                // Its name tells of the file that it should have been made from.
                let _ = std::fs::remove_file(output);
            }
            SpawnError::Changed(changed)
        })?;
        Ok(outcome)
    }

    fn run_unguarded(
        &self,
        job: &Job,
        limits: &Limits,
        cancelled: &dyn Fn() -> bool,
        each: &mut dyn FnMut(Message),
    ) -> Result<Outcome, SpawnError> {
        let job = &job.clone().on(self.device);
        let program = self.program_for(job);
        let fail = |source| SpawnError::Start { program: program.display().to_string(), source };
        let text = serde_json::to_string(job).map_err(|e| fail(e.into()))?;
        let gpu = job.offloads().then(|| GpuWatch::begin(Arc::clone(&self.gpu))).flatten();
        let mut child = spawn(&program).map_err(fail)?;
        let mut worker = Worker::watch(child.id(), limits, self.grace, gpu);
        let last_words = LastWords::read(child.stderr.take());
        let mut messages = Messages::read(child.stdout.take());
        let mut lifeline = Lifeline::send(child.stdin.take(), text);
        loop {
            let idle = match messages.next(LOOK) {
                Received::Message(message) => {
                    worker.receive(*message, each);
                    false
                }
                Received::Nothing => true,
                Received::Closed => {
                    lifeline.close();
                    std::thread::sleep(END_LOOK);
                    true
                }
            };
            if worker.look(messages.is_open(), idle, cancelled).map_err(fail)? {
                break;
            }
        }
        drop(lifeline);
        let usage = wait_child(child.id()).map_err(fail)?;
        tracing::debug!(pid = child.id(), code = usage.code, signal = usage.signal, "worker process is gone");
        Ok(worker.outcome(&usage, || last_words.of_ended(), cancelled))
    }
}

/// A running worker, held to its limits until it is gone.
struct Worker<'a> {
    pid: u32,
    limits: &'a Limits,
    grace: Duration,
    /// The control group that it runs in, where the system grants one.
    cage: Option<Cage>,
    /// Whether its data segment is limited instead.
    data_limited: bool,
    clock: Stopwatch,
    gpu: Option<GpuWatch>,
    gpu_looked: Stopwatch,
    /// Device memory at the last look and at most, in bytes.
    device: (u64, u64),
    /// Resident set at the last look, in bytes.
    current: u64,
    /// Largest resident set so far, in bytes.
    peak: Option<u64>,
    /// Resident set of the look that saw most, in bytes, with its anonymous and file-backed parts.
    most: u64,
    split: Option<(u64, u64)>,
    scripted_peak: Option<u64>,
    scripted_joules: Option<f64>,
    /// Its own last message, as an end.
    said: Option<End>,
    /// The limit that ended it.
    stopped: Option<End>,
    /// Runs since nothing more is expected: its last message came, its output closed, or it ended.
    finished: Option<Stopwatch>,
    /// Runs since it was killed.
    killed: Option<Stopwatch>,
    warning: Option<String>,
}

impl<'a> Worker<'a> {
    /// The worker waits for its job, so that nothing of it runs outside its control group.
    fn watch(pid: u32, limits: &'a Limits, grace: Duration, gpu: Option<GpuWatch>) -> Self {
        let cage = limits
            .memory_bytes
            .and_then(|bytes| Cage::new(memory_ceiling(bytes)))
            .filter(|cage| cage.hold(pid));
        let data_limited = cage.is_none()
            && limits.memory_bytes.is_some_and(|bytes| limit_data(pid, data_limit(bytes)).is_ok());
        let clock = Stopwatch::start();
        Self {
            pid,
            limits,
            grace,
            cage,
            data_limited,
            clock,
            gpu,
            gpu_looked: clock,
            device: (0, 0),
            current: 0,
            peak: None,
            most: 0,
            split: None,
            scripted_peak: None,
            scripted_joules: None,
            said: None,
            stopped: None,
            finished: None,
            killed: None,
            warning: None,
        }
    }

    /// Takes a message.
    fn receive(&mut self, message: Message, each: &mut dyn FnMut(Message)) {
        self.said = match message {
            Message::Done {
                peak_rss_bytes,
                anonymous_bytes,
                file_bytes,
                scripted_peak_bytes,
                scripted_joules,
            } => {
                self.scripted_joules = scripted_joules;
                self.scripted_peak = scripted_peak_bytes;
                self.peak = peak_rss_bytes.max(self.peak);
                self.split = self.split.or(anonymous_bytes.zip(file_bytes));
                Some(End::Done)
            }
            Message::Failed { error, machine: true } => Some(End::Refused(error)),
            Message::Failed { error, machine: false } => Some(End::Failed(error)),
            message => return each(message),
        };
        self.finished.get_or_insert_with(Stopwatch::start);
    }

    /// Looks at the worker once and ends it where it must end; whether it is gone, and no message of it is left. `open`: somebody may
    /// still write to its output; `idle`: no message was waiting.
    fn look(&mut self, open: bool, idle: bool, cancelled: &dyn Fn() -> bool) -> std::io::Result<bool> {
        let ended = has_ended(self.pid)?;
        if ended && !open {
            return Ok(true);
        }
        if ended || !open {
            self.finished.get_or_insert_with(Stopwatch::start);
        }
        if !ended {
            self.look_at_memory();
        }
        if self.killed.is_none() {
            self.hold_limits(ended, idle, cancelled);
            return Ok(false);
        }
        // A process that was born meanwhile.
        self.kill();
        // What even that does not reach left the group and has no living parent of ours: its output is not waited for.
        let abandoned = ended && idle && self.killed.is_some_and(|since| since.elapsed() > self.grace);
        if abandoned {
            self.warning = Some("a process that the worker left running keeps its output open".to_owned());
        }
        Ok(abandoned)
    }

    fn look_at_memory(&mut self) {
        if let Some(now) = resident(self.pid) {
            self.current = now.current;
            self.peak = self.peak.max(Some(now.peak));
            if now.current > self.most {
                self.most = now.current;
                self.split = Some((now.anonymous, now.file));
            }
        }
        if let Some(gpu) = self.gpu.as_mut().filter(|_| self.gpu_looked.elapsed() >= GPU_LOOK) {
            let now = gpu.look(self.pid);
            self.device = (now, now.max(self.device.1));
            self.gpu_looked = Stopwatch::start();
        }
    }

    /// Ends the worker when it is over a limit, when the study is to stop, or when its grace period is over.
    fn hold_limits(&mut self, ended: bool, idle: bool, cancelled: &dyn Fn() -> bool) {
        // Limits are the worker's: what is left of one that has ended is held to the grace period alone.
        let stop = if !ended && self.limits.memory_bytes.is_some_and(|allowed| self.memory_in_use() > allowed)
        {
            Some(End::OverMemory)
        } else if !ended && self.clock.elapsed() > self.limits.time {
            Some(End::TimedOut)
        } else if cancelled() {
            Some(End::Cancelled)
        } else {
            None
        };
        let lingers = self.finished.is_some_and(|since| since.elapsed() > self.grace) && (!ended || idle);
        if stop.is_none() && !lingers {
            return;
        }
        if self.finished.is_some() && stop != Some(End::Cancelled) {
            self.warning = Some(self.lingering(ended, stop.is_some()));
        }
        if self.said.is_none() {
            self.stopped = stop;
        }
        self.kill();
    }

    /// What the budget is held against, in bytes: the peak, until the worker has reported. Then its result stands with the peak that it
    /// has, and only what it goes on holding counts; a scripted engine merely pretends to.
    fn memory_in_use(&self) -> u64 {
        match (&self.said, self.scripted_peak) {
            (None, _) => self.peak.map_or(0, |peak| peak.saturating_add(self.device.1)),
            (Some(_), None) => self.current.saturating_add(self.device.0),
            (Some(_), Some(_)) => 0,
        }
    }

    fn lingering(&self, ended: bool, at_limit: bool) -> String {
        let grace = self.grace.as_secs_f64();
        match (ended, &self.said) {
            (true, _) => "a process that the worker started held its output open and was ended".to_owned(),
            (false, Some(_)) if at_limit => {
                "the worker reached a limit after its last message and was ended".to_owned()
            }
            (false, Some(_)) => {
                format!("the worker did not end within {grace} s of its last message and was ended")
            }
            (false, None) => {
                format!("the worker closed its output, did not end within {grace} s, and was ended")
            }
        }
    }

    fn kill(&mut self) {
        let members = self.cage.as_ref().map(Cage::members).unwrap_or_default();
        tree::kill_all(self.pid, &members);
        self.killed.get_or_insert_with(Stopwatch::start);
    }

    /// What is left of a worker that has been reaped.
    fn outcome(
        self,
        usage: &ChildUsage,
        last_words: impl FnOnce() -> String,
        cancelled: &dyn Fn() -> bool,
    ) -> Outcome {
        let wall = self.clock.elapsed();
        // A worker that was stopped for its time, or because the study is to stop, may have been done: its message counts.
        let end = match (self.said, self.stopped) {
            (_, Some(End::OverMemory)) => Some(End::OverMemory),
            (said, stopped) => said.or(stopped),
        };
        // A worker that is being started when Ctrl-C comes is still in our process group and ends by it: no fault of the candidate.
        let end = end.unwrap_or_else(|| match cancelled() {
            true => End::Cancelled,
            false if self.cage.as_ref().is_some_and(Cage::has_killed) => End::OverMemory,
            false => End::Crashed(match &self.warning {
                Some(why) if usage.signal == Some(Signal::SIGKILL as i32) => why.clone(),
                _ => describe(usage, &last_words()),
            }),
        });
        let end = match end {
            End::Failed(text) | End::Crashed(text) if self.data_limited && lacks_memory(&text) => {
                End::OverMemory
            }
            end => end,
        };
        let gpu = self.gpu.map(GpuWatch::end);
        let peak = self.scripted_peak.or(self.peak);
        let peak_bytes = peak.map(|host| host + gpu.as_ref().map_or(0, |g| g.peak_bytes));
        Outcome {
            end,
            peak_bytes,
            split_bytes: self.split,
            wall,
            cpu: usage.cpu,
            gpu,
            scripted_joules: self.scripted_joules,
            warning: self.warning,
        }
    }
}

fn spawn(program: &Path) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command.arg("worker").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Threads of libtorch that spin between products steal the time of those that compute, on a machine that does anything else.
    command.env("OMP_WAIT_POLICY", "passive");
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        // A group of its own: Ctrl-C reaches the study alone, which decides what becomes of the trial.
        command.process_group(0);
    }
    command.spawn()
}

/// Where the kernel's own ceiling lies: above the budget, since what the watchdog stops is told with its peak, and since page cache
/// counts there.
fn memory_ceiling(budget_bytes: u64) -> u64 {
    budget_bytes.saturating_add(budget_bytes / 4).saturating_add(64 << 20)
}

/// Where no group can be made, the limit of the data segment: stacks of threads and unused parts of the heap count there.
fn data_limit(budget_bytes: u64) -> u64 {
    memory_ceiling(budget_bytes).saturating_add(1 << 30)
}

/// Whether the words of a worker that ended say that it was refused memory.
fn lacks_memory(text: &str) -> bool {
    ["allocat", "bad_alloc", "out of memory"].iter().any(|word| text.contains(word))
}

fn describe(usage: &ChildUsage, words: &str) -> String {
    let how = match (usage.signal, usage.code) {
        (Some(9), _) => "killed by signal 9 (the system may have run out of memory)".to_owned(),
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, Some(code)) => format!("exited with code {code} without a result"),
        (None, None) => "ended without a result".to_owned(),
    };
    if words.is_empty() { how } else { format!("{how}; last output: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_ceilings_lie_a_quarter_and_some_megabytes_above_the_budget() {
        assert_eq!(memory_ceiling(1_000_000_000), 1_317_108_864);
        assert_eq!(data_limit(1_000_000_000), 2_390_850_688);
        assert_eq!((memory_ceiling(u64::MAX), data_limit(u64::MAX)), (u64::MAX, u64::MAX));
    }

    #[test]
    fn a_worker_that_was_refused_memory_says_so_in_many_ways() {
        for text in ["std::bad_alloc", "memory allocation of 5 bytes failed", "failed to allocate buffer"] {
            assert!(lacks_memory(text), "{text}");
        }
        assert!(!lacks_memory("unknown tensor type"));
    }
}
