//! The three pipes of a worker, each served by a thread of its own, so that a worker that neither reads nor closes one of them cannot
//! block its supervisor.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::protocol::Message;

/// A line longer than this is no message of ours.
const LONGEST_LINE: u64 = 64 << 20;
/// How much of standard error is kept, in bytes.
const KEPT: usize = 600;
/// How long the end of standard error is waited for once the worker has ended.
const STDERR_PATIENCE: Duration = Duration::from_millis(500);

/// Standard input: carries the job, then stays open as the lifeline whose closing tells the worker to end.
pub(super) struct Lifeline(Option<JoinHandle<Option<ChildStdin>>>);

impl Lifeline {
    /// Writes the job as one line. A worker that died before it read its job is noticed by its end.
    pub(super) fn send(pipe: Option<ChildStdin>, job: String) -> Self {
        Self(pipe.map(|mut pipe| {
            thread::spawn(move || {
                let sent = pipe.write_all(job.as_bytes()).and_then(|()| pipe.write_all(b"\n"));
                sent.and_then(|()| pipe.flush()).ok().map(|()| pipe)
            })
        }))
    }

    /// Closes the pipe; a job that is still being written keeps it open until its reader is gone.
    pub(super) fn close(&mut self) {
        if self.0.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(thread) = self.0.take()
        {
            drop(thread.join());
        }
    }
}

/// Standard output: the worker's messages.
pub(super) struct Messages {
    receiver: Receiver<Message>,
    open: bool,
}

/// What the message pipe gave within a wait.
pub(super) enum Received {
    /// A message.
    Message(Box<Message>),
    /// Nothing within the time.
    Nothing,
    /// Nothing, and nothing will come: every holder of the pipe closed it.
    Closed,
}

impl Messages {
    pub(super) fn read(stdout: Option<ChildStdout>) -> Self {
        let (send, receiver) = mpsc::channel();
        thread::spawn(move || read_messages(stdout, &send));
        Self { receiver, open: true }
    }

    /// Waits for the next message; a closed pipe is told at once.
    pub(super) fn next(&mut self, wait: Duration) -> Received {
        match self.receiver.recv_timeout(wait) {
            Ok(message) => Received::Message(Box::new(message)),
            Err(RecvTimeoutError::Timeout) => Received::Nothing,
            Err(RecvTimeoutError::Disconnected) => {
                self.open = false;
                Received::Closed
            }
        }
    }

    /// Whether somebody may still write to the pipe.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }
}

/// Reads lines until the pipe closes; what is no message is dropped (the worker's end tells what was wrong), and so is all that follows
/// the last message.
fn read_messages(stdout: Option<impl Read>, send: &mpsc::Sender<Message>) {
    let Some(stdout) = stdout else { return };
    let mut reader = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let Ok(message) = serde_json::from_slice(&line) else { continue };
                let last = matches!(message, Message::Done { .. } | Message::Failed { .. });
                if send.send(message).is_err() {
                    return;
                }
                if last {
                    let _ = std::io::copy(&mut reader, &mut std::io::sink());
                    return;
                }
            }
        }
    }
}

/// Standard error: only its end is kept, for the text of a crash.
pub(super) struct LastWords {
    kept: Arc<Mutex<Vec<u8>>>,
    closed: Receiver<()>,
}

impl LastWords {
    pub(super) fn read(stderr: Option<ChildStderr>) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let (close, closed) = mpsc::channel();
        let shared = Arc::clone(&kept);
        thread::spawn(move || {
            keep_tail(stderr, &shared);
            drop(close);
        });
        Self { kept, closed }
    }

    /// The last words of a worker that has ended. A process that inherited the pipe may hold it open: it is not waited for.
    pub(super) fn of_ended(self) -> String {
        let _ = self.closed.recv_timeout(STDERR_PATIENCE);
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept[kept.len().saturating_sub(KEPT)..]).trim().to_owned()
    }
}

fn keep_tail(stderr: Option<impl Read>, shared: &Mutex<Vec<u8>>) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0; 4096];
    while let Ok(n) = stderr.read(&mut buffer) {
        if n == 0 {
            return;
        }
        let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&buffer[..n]);
        if kept.len() > 2 * KEPT {
            let surplus = kept.len() - KEPT;
            kept.drain(..surplus);
        }
    }
}
