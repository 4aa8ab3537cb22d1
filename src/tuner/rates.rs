//! The kernel rates that latency is predicted from: kept ones for `plan`, which answers at once, and measured ones for a study.

use serde::Serialize;

use crate::engine::EngineKind;
use crate::host;
use crate::host::HostInfo;
use crate::study::Observer;
use crate::study::kit::Kit;
use crate::study::rates::{Cache, Found, LIMIT};
use crate::worker::rates::KernelRates;
use crate::worker::supervisor::{SpawnError, Supervisor};

/// What a predicted latency rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "basis", rename_all = "snake_case")]
pub(crate) enum Basis {
    /// Kernel rates that an earlier run measured on this machine.
    KeptRates {
        /// The interference that affected that measurement.
        disturbed: Option<String>,
    },
    /// The machine's ceilings alone: how fast it reads memory, multiplies and adds.
    Ceilings,
    /// A scripted engine's own words.
    Scripted,
}

impl Basis {
    /// For people.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::KeptRates { disturbed: None } => {
                "latency rests on kernel rates that were measured on this machine before".to_owned()
            }
            Self::KeptRates { disturbed: Some(why) } => format!(
                "latency rests on kernel rates that were measured on this machine while it was busy ({why}): times may be too long"
            ),
            Self::Ceilings => "latency rests on this machine's memory and multiply-add rates alone, because no study has measured its kernels yet: \
                               times are rough"
                .to_owned(),
            Self::Scripted => "latency is the scripted engine's".to_owned(),
        }
    }
}

/// The rates that are there without measuring, and what a prediction then rests on.
pub(crate) fn kept(engine: EngineKind, kit: &dyn Kit, host: &HostInfo) -> (Option<KernelRates>, Basis) {
    let Some(request) = kit.rates_request(host.usable_threads()) else {
        let scripted = engine == EngineKind::Mock;
        return (None, if scripted { Basis::Scripted } else { Basis::Ceilings });
    };
    let folder = host::default_cache_dir();
    let cache = Cache { folder: folder.as_deref(), fingerprint: &host.fingerprint };
    match cache.kept(engine, &request) {
        Some(Found { rates, disturbed, .. }) => (Some(rates), Basis::KeptRates { disturbed }),
        None => (None, Basis::Ceilings),
    }
}

/// The rates for a study: kept ones, or measured now. Those of a busy machine are measured again when it is calm.
///
/// # Errors
/// This program's own path is not to be had.
pub(crate) fn for_study(
    engine: EngineKind,
    kit: &dyn Kit,
    host: &HostInfo,
    observer: &mut dyn Observer,
) -> Result<Option<KernelRates>, SpawnError> {
    let Some(request) = kit.rates_request(host.usable_threads()) else { return Ok(None) };
    let folder = host::default_cache_dir();
    let cache = Cache { folder: folder.as_deref(), fingerprint: &host.fingerprint };
    let kept = cache.kept(engine, &request);
    if let Some(found) = kept.as_ref().filter(|found| found.disturbed.is_none() || !host.is_calm()) {
        if let Some(why) = &found.disturbed {
            observer.remark(&format!(
                "the kernel rates of this machine were measured while it was busy ({why}), and it is busy now: latencies are predicted roughly"
            ));
        }
        return Ok(Some(found.rates.clone()));
    }
    observer.remark(&format!(
        "measuring the engine's kernels on this machine, once for this shape of model: seconds on an idle machine, at most {} s on a busy one",
        LIMIT.as_secs()
    ));
    let supervisor = Supervisor::of_this_program()?;
    let mut tenth = 0;
    let found = cache.measured(&supervisor, engine, request, &|| false, &mut |done, total| {
        // A line for each third is enough where a terminal cannot be drawn over.
        let now = done * 3 / total.max(1);
        if now > tenth {
            tenth = now;
            observer.remark(&format!("measuring kernels: {} % done", done * 100 / total.max(1)));
        }
    });
    match (found, kept) {
        (Some(Found { rates, disturbed, .. }), _) => {
            if let Some(why) = disturbed {
                observer.remark(&format!(
                    "the machine was busy while its kernels were measured ({why}): latencies are predicted roughly, and the next \
                     study that starts on an idle machine re-measures the kernels"
                ));
            }
            Ok(Some(rates))
        }
        (None, Some(kept)) => Ok(Some(kept.rates)),
        (None, None) => {
            observer.remark(
                "the kernels could not be measured in time on this machine: latencies are predicted from its memory and multiply-add rates \
                 alone; what is measured of each trial is not affected",
            );
            Ok(None)
        }
    }
}
