//! The JavaScript judge. Node cannot be forked, so a candidate is started ahead while the one before it is judged; the examiner stays.
//!
//! This thread carries each frame between the two by hand: one reply for one request, so that nothing a candidate sends unasked ever
//! reaches the examiner, in this program or the next.

mod frames;
mod process;

use std::{
    fs,
    os::fd::BorrowedFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use self::process::{Candidate, Examiner, Launcher, OWN_BYTES};
use super::{
    Interpreter, Judgement, Layers, Limits, SandboxError,
    cgroup::Group,
    launch::THREADS,
    scratch::Scratch,
    token::token,
    verdict::{self, Evidence, Limit, Report},
};
use crate::Program;

/// Programs after which the examiner is replaced, so that what tests leave behind cannot add up.
const EXAMINER_LIFE: u32 = 500;
/// CPU time after which the examiner is replaced: the kernel ends it a little later, and must never do so within a program's tests.
const EXAMINER_CPU: Duration = Duration::from_secs(60);
/// How long a process may take to start on a busy machine.
const START: Duration = Duration::from_secs(30);
/// How long the examiner may take to notice that the candidate is gone.
const UNWIND: Duration = Duration::from_secs(1);
/// How often the clocks are looked at.
const TICK: Duration = Duration::from_millis(20);

/// Judges JavaScript, one program at a time.
#[derive(Debug)]
pub(super) struct NodeJudge {
    // Processes are killed before their group and their folder are removed.
    examiner: Option<Examiner>,
    spare: Option<Candidate>,
    group: Option<Group>,
    scratch: Scratch,
    interpreter: Arc<Interpreter>,
    layers: Layers,
    limits: Limits,
}

/// Whose turn it is to send a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Candidate,
    Examiner,
}

/// How an exchange ended.
struct Outcome {
    report: Option<Report>,
    limit: Option<Limit>,
}

/// What a candidate printed: how much, and the last of it.
#[derive(Debug, Default)]
struct Printed {
    bytes: u64,
    tail: Vec<u8>,
}

impl Printed {
    /// Bytes kept: the reason of a crash stands at the end.
    const KEPT: usize = 4000;

    fn drain(&mut self, candidate: &mut Candidate) {
        if !candidate.output.ended {
            candidate.output.fill();
            let said = candidate.output.take();
            self.bytes += said.len() as u64;
            self.tail.extend_from_slice(&said);
            let surplus = self.tail.len().saturating_sub(Self::KEPT);
            self.tail.drain(..surplus);
        }
    }
}

impl NodeJudge {
    pub(super) fn start(
        interpreter: Arc<Interpreter>,
        layers: &Layers,
        limits: &Limits,
    ) -> Result<Self, SandboxError> {
        let scratch = Scratch::new(layers, &interpreter)?;
        // An examiner, a candidate and its successor.
        let memory = 3 * (limits.memory_bytes + OWN_BYTES);
        let group = layers.cgroups.then(|| Group::new(THREADS, memory)).flatten();
        Ok(Self {
            examiner: None,
            spare: None,
            group,
            scratch,
            interpreter,
            layers: *layers,
            limits: *limits,
        })
    }

    fn launcher(&self) -> Launcher<'_> {
        Launcher {
            interpreter: &self.interpreter,
            layers: &self.layers,
            limits: &self.limits,
            group: self.group.as_ref(),
        }
    }

    /// Judges one program; `more` says that another one follows, for which a process is started ahead.
    pub(super) fn judge(&mut self, program: &Program, more: bool) -> Result<Judgement, SandboxError> {
        let fresh = |e: &Examiner| e.used < EXAMINER_LIFE && e.child.cpu() < EXAMINER_CPU;
        let mut examiner = match self.examiner.take().filter(fresh) {
            Some(examiner) => examiner,
            None => {
                let mut examiner = self.launcher().examiner()?;
                first_frame(&mut examiner.verdicts, "warm the examiner up")?;
                examiner
            }
        };
        let mut candidate = match self.spare.take() {
            Some(candidate) => candidate,
            None => self.launcher().candidate(&self.scratch)?,
        };
        first_frame(&mut candidate.replies, "warm node up")?;
        if more {
            self.spare = Some(self.launcher().candidate(&self.scratch)?);
        }
        let token = token()?;
        let began = Instant::now();
        let (candidate_before, examiner_before) = (candidate.child.cpu(), examiner.child.cpu());
        candidate.requests.send(program.solution.as_bytes());
        let task = json!({
            "token": token,
            "solution": program.solution,
            "prelude": program.prelude,
            "setup": program.setup,
            "tests": program.tests,
            "entry_point": program.entry_point,
        });
        examiner.control.send(task.to_string().as_bytes());
        examiner.used += 1;
        let mut printed = Printed::default();
        let cpu_before = candidate_before + examiner_before;
        let outcome = self.exchange(&mut candidate, &mut examiner, began, cpu_before, &mut printed);
        let wall = began.elapsed();
        let examiner_cpu = examiner.child.cpu().saturating_sub(examiner_before);
        candidate.child.kill();
        let ended = candidate.child.wait();
        while !candidate.output.ended && printed.bytes <= self.limits.output_bytes {
            printed.drain(&mut candidate);
        }
        self.clean();
        // Without a report the examiner is somewhere in its tests: it cannot be used again.
        if outcome.report.is_some() {
            self.examiner = Some(examiner);
        }
        Ok(verdict::judge(Evidence {
            token: &token,
            report: outcome.report,
            limit: outcome.limit,
            status: ended.status,
            output: String::from_utf8_lossy(&printed.tail).into_owned(),
            cpu_ms: (ended.cpu.saturating_sub(candidate_before) + examiner_cpu).as_secs_f64() * 1e3,
            wall_ms: wall.as_secs_f64() * 1e3,
        }))
    }

    /// Carries frames until the examiner reports or a limit is passed.
    fn exchange(
        &self,
        candidate: &mut Candidate,
        examiner: &mut Examiner,
        began: Instant,
        cpu_before: Duration,
        printed: &mut Printed,
    ) -> Outcome {
        let mut turn = Turn::Candidate;
        let mut limit = None;
        let mut unwinding: Option<Instant> = None;
        loop {
            wait(candidate, examiner, turn);
            candidate.requests.flush();
            examiner.replies.flush();
            examiner.control.flush();
            examiner.verdicts.fill();
            printed.drain(candidate);
            let report = examiner.verdicts.frame();
            if report.is_some() || examiner.verdicts.ended {
                let report = report.and_then(|frame| serde_json::from_slice(&frame).ok());
                return Outcome { report, limit };
            }
            turn = carry(candidate, examiner, turn);
            if limit.is_none() {
                limit = self.exceeded(candidate, examiner, began, cpu_before, printed.bytes);
                if limit.is_some() {
                    candidate.child.kill();
                    unwinding = Some(Instant::now());
                }
            }
            if unwinding.is_some_and(|since| since.elapsed() > UNWIND) {
                examiner.child.kill();
            }
        }
    }

    fn exceeded(
        &self,
        candidate: &Candidate,
        examiner: &Examiner,
        began: Instant,
        cpu_before: Duration,
        printed: u64,
    ) -> Option<Limit> {
        if printed > self.limits.output_bytes {
            return Some(Limit::Output);
        }
        // Reading the clocks costs system calls; nothing can be over its time before so much time has passed.
        let wall = began.elapsed();
        if wall > self.limits.wall {
            return Some(Limit::Time);
        }
        let cpu = (candidate.child.cpu() + examiner.child.cpu()).saturating_sub(cpu_before);
        if cpu > self.limits.cpu {
            return Some(Limit::Time);
        }
        let files = match &self.scratch {
            Scratch::Folder(folder, _) => fs::read_dir(folder).map_or(0, |entries| entries.count() as u64),
            Scratch::Memory(_) => 0,
        };
        (files > self.limits.files).then_some(Limit::Files)
    }

    /// Empties a real scratch folder; one in memory went with its process.
    fn clean(&self) {
        if let Scratch::Folder(folder, _) = &self.scratch {
            remove_files(folder);
        }
    }
}

/// Landlock allows flat files only.
fn remove_files(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
}

/// Waits until something can be read or written, or a tick passes.
fn wait(candidate: &Candidate, examiner: &Examiner, turn: Turn) {
    let mut fds: Vec<(BorrowedFd<'_>, PollFlags)> = vec![(examiner.verdicts.fd(), PollFlags::POLLIN)];
    if !candidate.output.ended {
        fds.push((candidate.output.fd(), PollFlags::POLLIN));
    }
    match turn {
        Turn::Candidate if !candidate.replies.ended => fds.push((candidate.replies.fd(), PollFlags::POLLIN)),
        Turn::Examiner => fds.push((examiner.requests.fd(), PollFlags::POLLIN)),
        Turn::Candidate => {}
    }
    for outgoing in [&candidate.requests, &examiner.replies, &examiner.control] {
        if outgoing.is_waiting() {
            fds.push((outgoing.fd(), PollFlags::POLLOUT));
        }
    }
    let mut fds: Vec<PollFd<'_>> = fds.into_iter().map(|(fd, flags)| PollFd::new(fd, flags)).collect();
    // An interrupted or failed wait is only a shorter one.
    let _ = poll(&mut fds, PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO));
}

/// Moves one frame, if the side whose turn it is has one.
fn carry(candidate: &mut Candidate, examiner: &mut Examiner, turn: Turn) -> Turn {
    match turn {
        Turn::Candidate => {
            candidate.replies.fill();
            match candidate.replies.frame() {
                Some(frame) => examiner.replies.send(&frame),
                // An empty frame says that it is gone.
                None if candidate.replies.ended => examiner.replies.send(b""),
                None => return Turn::Candidate,
            }
            Turn::Examiner
        }
        Turn::Examiner => {
            examiner.requests.fill();
            match examiner.requests.frame() {
                Some(frame) => {
                    candidate.requests.send(&frame);
                    Turn::Candidate
                }
                None => Turn::Examiner,
            }
        }
    }
}

/// Waits for the first frame of a process that has just been started.
fn first_frame(incoming: &mut frames::Incoming, step: &'static str) -> Result<(), SandboxError> {
    let began = Instant::now();
    while incoming.frame().is_none() {
        if incoming.ended || began.elapsed() > START {
            return Err(SandboxError::broken(step, "it ended or hung before it was ready"));
        }
        let mut fds = [PollFd::new(incoming.fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO));
        incoming.fill();
    }
    Ok(())
}
