//! The study's side of a worker: spawn, watch time and memory, collect messages, tell how it ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::memory::resident;
use super::protocol::{Job, Message};
use crate::engine::sys::{ChildUsage, limit_data, wait_child};
use crate::engine::{Device, EngineKind, torch_worker};
use crate::host::cage::Cage;
use crate::host::gpu_use::{GpuMeter, GpuUse, GpuWatch, NvmlMeter};

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// How often a GPU is looked at, which takes the driver longer.
const GPU_LOOK: Duration = Duration::from_millis(50);
/// A line longer than this is no message of ours.
const LONGEST_LINE: u64 = 64 << 20;

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
}

/// Starts workers. The program is the running executable, unless a test says otherwise.
#[derive(Clone, Debug)]
pub struct Supervisor {
    program: PathBuf,
    device: Device,
    gpu: Arc<dyn GpuMeter>,
}

/// A worker that could not even be started or spoken to.
#[derive(Debug, thiserror::Error)]
#[error("failed to start a worker ({program}): {source}")]
pub struct SpawnError {
    program: String,
    source: std::io::Error,
}

impl Supervisor {
    /// Workers are `program worker`.
    #[must_use]
    pub fn new(program: PathBuf) -> Self {
        Self { program, device: Device::Cpu, gpu: Arc::new(NvmlMeter::default()) }
    }

    /// The same with another way to look at GPUs.
    #[must_use]
    pub fn with_gpu(mut self, meter: Arc<dyn GpuMeter>) -> Self {
        self.gpu = meter;
        self
    }

    /// Workers are the running executable.
    ///
    /// # Errors
    /// The system does not tell the executable's path.
    pub fn of_this_program() -> Result<Self, SpawnError> {
        let program = std::env::current_exe()
            .map_err(|source| SpawnError { program: "this program".to_owned(), source })?;
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
    /// The worker could not be started. A worker that fails is no error but an [`Outcome`].
    pub fn run(
        &self,
        job: &Job,
        limits: &Limits,
        cancelled: &dyn Fn() -> bool,
        each: &mut dyn FnMut(Message),
    ) -> Result<Outcome, SpawnError> {
        let job = &job.clone().on(self.device);
        let program = self.program_for(job);
        let fail = |source| SpawnError { program: program.display().to_string(), source };
        let mut watch = job.offloads().then(|| GpuWatch::begin(Arc::clone(&self.gpu))).flatten();
        let mut child = spawn(&program).map_err(fail)?;
        // The worker waits for its job, so that nothing of it runs outside.
        let cage = limits
            .memory_bytes
            .and_then(|bytes| Cage::new(beyond(bytes)))
            .filter(|cage| cage.hold(child.id()));
        let limited = cage.is_none()
            && limits.memory_bytes.is_some_and(|bytes| limit_data(child.id(), data_limit(bytes)).is_ok());
        let started = Instant::now();
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let (send, messages) = mpsc::channel();
        let reader = std::thread::spawn(move || read_messages(stdout, &send));
        let last_words = std::thread::spawn(move || tail_of(stderr));
        let mut stdin = child.stdin.take();
        if let Some(pipe) = stdin.as_mut() {
            let text = serde_json::to_string(job).map_err(|e| fail(e.into()))?;
            // A worker that died before it read its job is seen below.
            let _ = pipe
                .write_all(text.as_bytes())
                .and_then(|()| pipe.write_all(b"\n"))
                .and_then(|()| pipe.flush());
        }

        let mut end = None;
        let mut peak = None;
        let mut split = None;
        let mut most = 0;
        let (mut device, mut looked) = (0, started);
        let mut scripted_joules = None;
        loop {
            match messages.recv_timeout(LOOK) {
                Ok(Message::Done {
                    peak_rss_bytes,
                    anonymous_bytes,
                    file_bytes,
                    scripted_peak_bytes,
                    scripted_joules: joules,
                }) => {
                    scripted_joules = joules;
                    peak = scripted_peak_bytes.or(peak_rss_bytes.max(peak));
                    split = split.or(anonymous_bytes.zip(file_bytes));
                    end = end.or(Some(End::Done));
                }
                Ok(Message::Failed { error, machine }) => {
                    end = end.or(Some(if machine { End::Refused(error) } else { End::Failed(error) }));
                }
                Ok(message) => each(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if end.is_some() {
                continue;
            }
            if let Some(now) = resident(child.id()) {
                peak = peak.max(Some(now.peak));
                if now.current > most {
                    most = now.current;
                    split = Some((now.anonymous, now.file));
                }
            }
            if let Some(watch) = watch.as_mut().filter(|_| looked.elapsed() >= GPU_LOOK) {
                device = watch.look(child.id()).max(device);
                looked = Instant::now();
            }
            let over = limits.memory_bytes.is_some_and(|allowed| peak.is_some_and(|p| p + device > allowed));
            let stop = if over {
                Some(End::OverMemory)
            } else if started.elapsed() > limits.time {
                Some(End::TimedOut)
            } else if cancelled() {
                Some(End::Cancelled)
            } else {
                None
            };
            if stop.is_some() {
                end = stop;
                // It may have ended by itself meanwhile.
                let _ = child.kill();
            }
        }
        // Closing the lifeline ends a worker that lingers after its last message.
        drop(stdin);
        let usage = wait_child(child.id()).map_err(fail)?;
        let wall = started.elapsed();
        let _ = reader.join();
        let words = last_words.join().unwrap_or_default();
        // A worker that is being started when Ctrl-C comes is still in our process group and ends by it: no fault of the candidate.
        let end = end.unwrap_or_else(|| match cancelled() {
            true => End::Cancelled,
            false if cage.as_ref().is_some_and(Cage::has_killed) => End::OverMemory,
            false => End::Crashed(describe(&usage, &words)),
        });
        let end = match end {
            End::Failed(text) | End::Crashed(text) if limited && lacks_memory(&text) => End::OverMemory,
            end => end,
        };
        let gpu = watch.map(GpuWatch::end);
        let peak_bytes = peak.map(|host| host + gpu.as_ref().map_or(0, |g| g.peak_bytes));
        Ok(Outcome { end, peak_bytes, split_bytes: split, wall, cpu: usage.cpu, gpu, scripted_joules })
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
fn beyond(budget_bytes: u64) -> u64 {
    budget_bytes.saturating_add(budget_bytes / 4).saturating_add(64 << 20)
}

/// Where no group can be made, the limit of the data segment: stacks of threads and unused parts of the heap count there.
fn data_limit(budget_bytes: u64) -> u64 {
    beyond(budget_bytes).saturating_add(1 << 30)
}

/// Whether the words of a worker that ended say that it was refused memory.
fn lacks_memory(text: &str) -> bool {
    ["allocat", "bad_alloc", "out of memory"].iter().any(|word| text.contains(word))
}

/// Reads lines until the pipe closes; what is no message is dropped (the worker's end tells what was wrong).
fn read_messages(stdout: Option<impl Read>, send: &mpsc::Sender<Message>) {
    let Some(stdout) = stdout else { return };
    let mut reader = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if let Ok(message) = serde_json::from_slice(&line)
                    && send.send(message).is_err()
                {
                    return;
                }
            }
        }
    }
}

/// The last words on a pipe.
fn tail_of(stderr: Option<impl Read>) -> String {
    const KEPT: usize = 600;
    let Some(mut stderr) = stderr else { return String::new() };
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n) = stderr.read(&mut buffer) {
        if n == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..n]);
        if kept.len() > 2 * KEPT {
            kept.drain(..kept.len() - KEPT);
        }
    }
    String::from_utf8_lossy(&kept[kept.len().saturating_sub(KEPT)..]).trim().to_owned()
}

fn describe(usage: &ChildUsage, words: &str) -> String {
    let how = match (usage.signal, usage.code) {
        (Some(9), _) => "killed by signal 9 (the system may have run out of memory)".to_owned(),
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, Some(code)) => format!("exited with code {code} without a result"),
        (None, None) => "ended without a result".to_owned(),
    };
    if words.is_empty() { how } else { format!("{how}; last words: {words}") }
}
