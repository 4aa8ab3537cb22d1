//! The budget where `--budget` is not given: what this machine can spare.

use super::printer::Printer;
use crate::exit::Expected;
use crate::host::{self, HostInfo, ProbeOptions};
use crate::units::Bytes;
use crate::worker::fault::told;

/// The share of the usable memory that is left to others, in percent. Usable memory is all of the machine's RAM, or the limit of this process;
/// the operating system and this program (about 100 MB with a study open) need some of it. A tenth covers both from 4 GB upwards.
const MARGIN_PERCENT: u64 = 10;

/// The default budget, after printing it with its derivation.
///
/// # Errors
/// The machine cannot be probed.
pub(super) fn default_bytes(printer: &Printer) -> anyhow::Result<u64> {
    let options = ProbeOptions { brief: true, ..ProbeOptions::default() };
    let host = host::probe(&options).map_err(|e| Expected::environment(told(&e.into())))?;
    Ok(of_host(&host, printer))
}

/// As [`default_bytes`], of a machine that is probed already.
pub(super) fn of_host(host: &HostInfo, printer: &Printer) -> u64 {
    let (usable, now) = (host.usable_bytes(), host.memory.usable_now_bytes);
    let bytes = less_margin(usable);
    printer.remark(&line(bytes, usable));
    if now < bytes {
        printer.warn(&format!(
            "only {} of memory are available now: close other programs, or set a lower --budget",
            Bytes(now)
        ));
    }
    bytes
}

fn less_margin(usable_bytes: u64) -> u64 {
    usable_bytes - usable_bytes / 100 * MARGIN_PERCENT
}

fn line(bytes: u64, usable_bytes: u64) -> String {
    let (budget, usable) = (Bytes(bytes), Bytes(usable_bytes));
    format!(
        "budget: {budget} ({usable} usable here, less a margin of {MARGIN_PERCENT} %); --budget sets another"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_a_tenth_of_the_usable_memory() {
        assert_eq!(less_margin(6_800_000_000), 6_120_000_000);
        assert_eq!(less_margin(99), 99);
        assert_eq!(
            line(6_120_000_000, 6_800_000_000),
            "budget: 6.12 GB (6.80 GB usable here, less a margin of 10 %); --budget sets another"
        );
    }
}
