//! Workers that misbehave, above all after their last message: the result counts, the process is ended, and no limit ceases to hold.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::time::Duration;

use autotune::worker::protocol::{Job, Message};
use autotune::worker::supervisor::{End, Limits, Outcome, Supervisor};

/// Longer than any test may take, so that only what is tested can end a worker.
const EVER: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(200);

/// What a worker named so left behind, and the processes that it told of.
struct Run {
    outcome: Outcome,
    told: Vec<u32>,
}

struct Case {
    name: &'static str,
    limits: Limits,
    grace: Duration,
    /// Cancelled from its first message on.
    cancel: bool,
    /// Time that each message takes to handle.
    handling: Duration,
}

impl Case {
    fn of(name: &'static str) -> Self {
        let limits = Limits { time: EVER, memory_bytes: None };
        Self { name, limits, grace: SHORT, cancel: false, handling: Duration::ZERO }
    }

    fn run(self) -> Run {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(self.name);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fake_worker.sh");
        std::os::unix::fs::symlink(script, &program).unwrap();
        let supervisor = Supervisor::new(program).with_grace(self.grace);
        let told = std::cell::RefCell::new(Vec::new());
        let cancelled = || self.cancel && !told.borrow().is_empty();
        let outcome = supervisor
            .run(&job(), &self.limits, &cancelled, &mut |message| {
                if let Message::Progress { what, .. } = message {
                    told.borrow_mut().push(what.parse().unwrap());
                }
                std::thread::sleep(self.handling);
            })
            .unwrap();
        let told = told.into_inner();
        assert!(!told.is_empty(), "{outcome:?}");
        for pid in &told {
            assert!(!is_running(*pid), "{}: process {pid} was left: {outcome:?}", self.name);
        }
        Run { outcome, told }
    }
}

/// More than a pipe holds, so that a worker that does not read it blocks the writer.
fn job() -> Job {
    Job::Activations {
        model: PathBuf::from("m.gguf"),
        text: "x".repeat(1 << 20),
        max_tokens: 1,
        threads: 1,
        out: PathBuf::from("out"),
    }
}

/// Whether a process still runs; one that has ended and was not yet waited for does not.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn within(seconds: u64) -> Limits {
    Limits { time: Duration::from_secs(seconds), memory_bytes: None }
}

fn warning(run: &Run) -> &str {
    run.outcome.warning.as_deref().unwrap_or("no warning")
}

#[test]
fn a_worker_that_ends_by_itself_gives_no_warning() {
    let run = Case::of("behaves").run();
    assert_eq!((run.outcome.end.clone(), run.outcome.warning.clone()), (End::Done, None));
}

#[test]
fn a_worker_that_lingers_after_done_is_ended_and_its_result_counts() {
    let run = Case::of("lingers").run();
    assert_eq!(run.outcome.end, End::Done);
    assert_eq!(warning(&run), "the worker did not end within 0.2 s of its last message and was ended");
}

#[test]
fn a_worker_that_lingers_after_failing_is_ended_and_its_words_count() {
    let run = Case::of("fails-and-lingers").run();
    assert_eq!(run.outcome.end, End::Failed("boom".to_owned()));
    assert!(warning(&run).contains("did not end"), "{}", warning(&run));
}

#[test]
fn a_worker_that_ignores_its_closed_stdin_is_ended() {
    let run = Case::of("ignores-closed-stdin").run();
    assert_eq!(run.outcome.end, End::Done);
    assert!(warning(&run).contains("did not end"), "{}", warning(&run));
}

#[test]
fn a_worker_that_closes_its_output_without_a_result_is_ended() {
    let run = Case::of("closes-output").run();
    let End::Crashed(how) = &run.outcome.end else { panic!("{:?}", run.outcome) };
    assert_eq!(how, "the worker closed its output, did not end within 0.2 s, and was ended");
}

#[test]
fn a_worker_that_goes_on_talking_after_done_is_ended() {
    let run = Case::of("goes-on-talking").run();
    assert_eq!(run.outcome.end, End::Done);
    assert_eq!(run.told.len(), 1, "nothing follows the last message");
}

#[test]
fn a_grandchild_that_holds_stdout_open_is_ended() {
    let run = Case::of("leaves-a-child").run();
    assert_eq!((run.outcome.end.clone(), run.told.len()), (End::Done, 2));
    assert_eq!(warning(&run), "a process that the worker started held its output open and was ended");
    let run = Case::of("crashes-and-leaves-a-child").run();
    assert_eq!(run.outcome.end, End::Crashed("exited with code 3 without a result".to_owned()));
    assert!(warning(&run).contains("held its output open"), "{}", warning(&run));
}

#[test]
fn ctrl_c_ends_a_lingering_worker_before_its_grace_period() {
    for (name, end) in [("lingers", End::Done), ("fails-and-lingers", End::Failed("boom".to_owned()))] {
        let run = Case { grace: EVER, cancel: true, ..Case::of(name) }.run();
        // It may be stopped before its last message is read; what was said by then counts.
        assert!(run.outcome.end == end || run.outcome.end == End::Cancelled, "{:?}", run.outcome);
    }
    let run = Case { grace: EVER, cancel: true, ..Case::of("crashes-and-leaves-a-child") }.run();
    assert_eq!(run.outcome.end, End::Cancelled);
}

#[test]
fn the_time_limit_holds_after_done() {
    let run = Case { grace: EVER, limits: within(3), ..Case::of("lingers") }.run();
    assert_eq!(run.outcome.end, End::Done);
    assert_eq!(warning(&run), "the worker reached a limit after its last message and was ended");
}

#[test]
fn the_memory_limit_holds_after_done() {
    let limits = Limits { time: EVER, memory_bytes: Some(400_000_000) };
    let run = Case { grace: EVER, limits, ..Case::of("grows-after-done") }.run();
    assert_eq!(run.outcome.end, End::Done);
    assert!(run.outcome.peak_bytes.unwrap() > 400_000_000, "{:?}", run.outcome);
}

#[test]
fn a_worker_that_hangs_is_ended_with_all_that_it_started() {
    let run = Case { limits: within(5), ..Case::of("hangs-with-children") }.run();
    assert_eq!((run.outcome.end.clone(), run.told.len()), (End::TimedOut, 3), "{:?}", run.outcome);
}

#[test]
fn a_worker_that_never_reads_its_job_is_held_to_its_time() {
    let run = Case { limits: within(2), ..Case::of("deaf") }.run();
    assert_eq!(run.outcome.end, End::TimedOut);
}

#[test]
fn a_worker_that_has_ended_is_not_late_because_its_messages_are_handled_slowly() {
    let run = Case { limits: within(2), handling: Duration::from_secs(4), ..Case::of("behaves") }.run();
    assert_eq!((run.outcome.end.clone(), run.outcome.warning.clone()), (End::Done, None));
}

#[test]
fn the_larger_of_the_seen_and_the_reported_peak_counts() {
    assert_eq!(Case::of("reports-more").run().outcome.peak_bytes, Some(5_000_000_000));
    let seen = Case { grace: EVER, ..Case::of("reports-less") }.run().outcome.peak_bytes.unwrap();
    assert!(seen > 100_000, "{seen}");
}
