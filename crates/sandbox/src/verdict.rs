//! From what the two processes left behind to a verdict. Only the token makes a pass; all else is told for people.

use serde::Deserialize;

use super::{Judgement, Verdict};

/// What the examiner wrote on the private descriptor.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Report {
    /// The token, when all tests returned.
    #[serde(default)]
    pub token: String,
    /// Whether they did.
    #[serde(default)]
    pub passed: bool,
    /// The class of the exception that ended the tests.
    #[serde(default)]
    pub kind: String,
    /// The error number of an `OSError`.
    #[serde(default)]
    pub errno: Option<i32>,
    /// What happened.
    #[serde(default)]
    pub detail: String,
}

/// A limit that the supervisor enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Limit {
    /// CPU or wall time.
    Time,
    /// Bytes printed.
    Output,
    /// Files in the scratch folder.
    Files,
}

/// All that is known at the end.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    /// The token that this program's examiner was given.
    pub token: &'a str,
    /// What the examiner wrote, if it got so far.
    pub report: Option<Report>,
    /// The limit that ended it.
    pub limit: Option<Limit>,
    /// Wait status of the judged process.
    pub status: i32,
    /// The first of what the judged code printed.
    pub output: String,
    /// CPU milliseconds.
    pub cpu_ms: f64,
    /// Wall milliseconds.
    pub wall_ms: f64,
}

/// The judgement that the evidence supports.
pub(super) fn judge(evidence: Evidence<'_>) -> Judgement {
    let (verdict, detail) = decide(&evidence);
    Judgement {
        verdict,
        detail: detail.chars().take(1500).collect(),
        cpu_ms: evidence.cpu_ms,
        wall_ms: evidence.wall_ms,
    }
}

fn decide(evidence: &Evidence<'_>) -> (Verdict, String) {
    let passed = evidence
        .report
        .as_ref()
        .is_some_and(|r| r.passed && !evidence.token.is_empty() && r.token == evidence.token);
    match evidence.limit {
        Some(Limit::Output) => return (Verdict::OutputExceeded, "printed more than it may".to_owned()),
        Some(Limit::Files) => return (Verdict::Denied, "made more files than it may".to_owned()),
        Some(Limit::Time) if !passed => return (Verdict::Timeout, "ran out of time".to_owned()),
        _ => {}
    }
    match &evidence.report {
        _ if passed => (Verdict::Passed, String::new()),
        Some(report) if report.kind != "gone" => (of_exception(report), report.detail.clone()),
        _ => of_status(evidence.status, &evidence.output),
    }
}

/// The verdict for an exception. The judged code chose its class, which is why no class means a pass.
fn of_exception(report: &Report) -> Verdict {
    const REFUSALS: &[i32] = &[
        libc::EPERM,
        libc::EACCES,
        libc::EAGAIN,
        libc::ENOSYS,
        libc::EFBIG,
        libc::EMFILE,
        libc::ENOSPC,
        libc::EROFS,
    ];
    match report.kind.as_str() {
        "SyntaxError" => Verdict::SyntaxError,
        "MemoryError" => Verdict::MemoryExceeded,
        "PermissionError" | "BlockingIOError" => Verdict::Denied,
        _ if report.errno.is_some_and(|errno| REFUSALS.contains(&errno)) => Verdict::Denied,
        _ => Verdict::Failed,
    }
}

/// The verdict for a judged process that ended before its tests.
fn of_status(status: i32, output: &str) -> (Verdict, String) {
    let said = output
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty())
        .map_or(String::new(), |l| format!(": {l}"));
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        let verdict = match signal {
            libc::SIGXCPU => Verdict::Timeout,
            libc::SIGSYS | libc::SIGXFSZ => Verdict::Denied,
            _ if out_of_memory(output) => Verdict::MemoryExceeded,
            _ => Verdict::Crashed,
        };
        return (verdict, format!("the judged process was ended by signal {signal}{said}"));
    }
    let code = libc::WEXITSTATUS(status);
    let verdict = if out_of_memory(output) { Verdict::MemoryExceeded } else { Verdict::Crashed };
    (verdict, format!("the judged process ended with code {code} before the tests did{said}"))
}

fn out_of_memory(output: &str) -> bool {
    output.contains("MemoryError")
        || output.contains("heap out of memory")
        || output.contains("Out of memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(report: Option<Report>) -> Evidence<'static> {
        Evidence {
            token: "t0ken",
            report,
            limit: None,
            status: 0,
            output: String::new(),
            cpu_ms: 1.0,
            wall_ms: 1.0,
        }
    }

    #[test]
    fn only_the_token_passes() {
        let report = |token: &str, passed| Some(Report { token: token.into(), passed, ..Report::default() });
        assert_eq!(judge(evidence(report("t0ken", true))).verdict, Verdict::Passed);
        assert_ne!(judge(evidence(report("t0ken", false))).verdict, Verdict::Passed);
        assert_ne!(judge(evidence(report("", true))).verdict, Verdict::Passed);
        assert_ne!(judge(Evidence { token: "", ..evidence(report("", true)) }).verdict, Verdict::Passed);
        assert_ne!(judge(evidence(None)).verdict, Verdict::Passed);
    }

    #[test]
    fn a_limit_outranks_a_pass_but_for_time_that_ended_together_with_it() {
        let passed = || Some(Report { token: "t0ken".into(), passed: true, ..Report::default() });
        let with = |limit| judge(Evidence { limit: Some(limit), ..evidence(passed()) }).verdict;
        assert_eq!(with(Limit::Output), Verdict::OutputExceeded);
        assert_eq!(with(Limit::Files), Verdict::Denied);
        assert_eq!(with(Limit::Time), Verdict::Passed);
    }

    #[test]
    fn exits_and_signals_are_told_apart() {
        let gone = || Some(Report { kind: "gone".into(), ..Report::default() });
        let with =
            |status, output: &str| judge(Evidence { status, output: output.into(), ..evidence(gone()) });
        assert_eq!(with(0, "").verdict, Verdict::Crashed);
        assert!(with(7 << 8, "bye\n").detail.ends_with("code 7 before the tests did: bye"));
        assert_eq!(with(libc::SIGXCPU, "").verdict, Verdict::Timeout);
        assert_eq!(with(libc::SIGSYS, "").verdict, Verdict::Denied);
        assert_eq!(
            with(libc::SIGABRT, "FATAL ERROR: JavaScript heap out of memory").verdict,
            Verdict::MemoryExceeded
        );
    }
}
