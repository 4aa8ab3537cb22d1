//! Length-prefixed frames over non-blocking pipes, so that one thread can watch both ends of an exchange and its deadline.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Longest accepted frame.
pub(super) const FRAME_LIMIT: usize = 64 << 20;

/// Makes our end of a pipe non-blocking.
pub(super) fn non_blocking(file: File) -> io::Result<File> {
    fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(file)
}

/// The reading end: collects bytes until a frame is whole.
#[derive(Debug)]
pub(super) struct Incoming {
    file: File,
    buffer: Vec<u8>,
    /// The writer is gone, or wrote a frame that is too long.
    pub ended: bool,
}

impl Incoming {
    pub(super) fn new(file: File) -> io::Result<Self> {
        Ok(Self { file: non_blocking(file)?, buffer: Vec::new(), ended: false })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Reads what is there, at most one piece.
    pub(super) fn fill(&mut self) {
        let mut piece = [0u8; 65536];
        match self.file.read(&mut piece) {
            Ok(0) => self.ended = true,
            Ok(n) => self.buffer.extend_from_slice(&piece[..n]),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.ended = true,
        }
    }

    fn announced(&self) -> Option<usize> {
        let head: [u8; 4] = self.buffer.get(..4)?.try_into().ok()?;
        Some(u32::from_be_bytes(head) as usize)
    }

    /// The next whole frame, without its length.
    pub(super) fn frame(&mut self) -> Option<Vec<u8>> {
        let length = self.announced()?;
        if length > FRAME_LIMIT {
            self.ended = true;
            return None;
        }
        if self.buffer.len() < 4 + length {
            return None;
        }
        let rest = self.buffer.split_off(4 + length);
        let mut frame = std::mem::replace(&mut self.buffer, rest);
        frame.drain(..4);
        Some(frame)
    }

    /// Takes all bytes, framed or not.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }
}

/// The writing end: keeps what the pipe does not take yet.
#[derive(Debug)]
pub(super) struct Outgoing {
    file: File,
    waiting: Vec<u8>,
    at: usize,
}

impl Outgoing {
    pub(super) fn new(file: File) -> io::Result<Self> {
        Ok(Self { file: non_blocking(file)?, waiting: Vec::new(), at: 0 })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether something waits to be written.
    pub(super) fn is_waiting(&self) -> bool {
        self.at < self.waiting.len()
    }

    /// Queues a frame and writes what can be written now.
    pub(super) fn send(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.waiting.extend_from_slice(&length.to_be_bytes());
        self.waiting.extend_from_slice(frame);
        self.flush();
    }

    /// Writes on. A reader that is gone will be noticed by its own end; what it did not read is dropped.
    pub(super) fn flush(&mut self) {
        while self.is_waiting() {
            match self.file.write(&self.waiting[self.at..]) {
                Ok(n) => self.at += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.waiting.clear();
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spawn::pipe;

    #[test]
    fn frames_survive_pieces() {
        let (reading, mut writing) = pipe().unwrap();
        let mut incoming = Incoming::new(reading).unwrap();
        let mut bytes = Vec::new();
        for text in ["hello", "", "world"] {
            bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        let mut frames = Vec::new();
        for piece in bytes.chunks(3) {
            writing.write_all(piece).unwrap();
            incoming.fill();
            frames.extend(std::iter::from_fn(|| incoming.frame()));
        }
        assert_eq!(frames, [b"hello".to_vec(), Vec::new(), b"world".to_vec()]);
        drop(writing);
        incoming.fill();
        assert!(incoming.ended);
    }

    #[test]
    fn a_frame_that_is_too_long_ends_the_stream() {
        let (reading, mut writing) = pipe().unwrap();
        let mut incoming = Incoming::new(reading).unwrap();
        writing.write_all(&u32::MAX.to_be_bytes()).unwrap();
        incoming.fill();
        assert!(incoming.frame().is_none() && incoming.ended);
    }

    #[test]
    fn a_full_pipe_keeps_the_rest() {
        let (reading, writing) = pipe().unwrap();
        let (mut incoming, mut outgoing) = (Incoming::new(reading).unwrap(), Outgoing::new(writing).unwrap());
        let long = vec![7u8; 1 << 20];
        outgoing.send(&long);
        assert!(outgoing.is_waiting());
        let frame = loop {
            incoming.fill();
            outgoing.flush();
            if let Some(frame) = incoming.frame() {
                break frame;
            }
        };
        assert!(frame == long && !outgoing.is_waiting());
    }
}
