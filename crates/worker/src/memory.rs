//! Resident memory of a process, from the kernel.

use std::fs;

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Now.
    pub current: u64,
    /// The largest so far in this process image.
    pub peak: u64,
    /// Anonymous pages now.
    pub anonymous: u64,
    /// Pages of mapped files now.
    pub file: u64,
}

/// Reads `/proc/<pid>/status`; none when the process is gone or there is no /proc.
#[must_use]
pub fn resident(pid: u32) -> Option<Resident> {
    parse_status(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

/// Reads the text of a `status` file; none for a zombie, which has no memory lines.
fn parse_status(text: &str) -> Option<Resident> {
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    };
    Some(Resident {
        current: field("VmRSS:")?,
        peak: field("VmHWM:")?,
        anonymous: field("RssAnon:").unwrap_or(0),
        file: field("RssFile:").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_file_is_read() {
        let text = "Name:\tx\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\nRssAnon:\t 1000 kB\nRssFile:\t 24 kB\n";
        let r = parse_status(text).unwrap();
        assert_eq!((r.current, r.peak, r.anonymous, r.file), (1 << 20, 2 << 20, 1000 << 10, 24 << 10));
        assert_eq!(parse_status("Name:\tzombie\nState:\tZ\n"), None);
    }

    #[test]
    fn our_own_memory_is_told() {
        if cfg!(target_os = "linux") {
            let r = resident(std::process::id()).unwrap();
            assert!(r.peak >= r.current && r.current > 100_000);
        }
    }
}
