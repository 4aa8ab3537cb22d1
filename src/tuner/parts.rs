//! The pieces that a study is put together from: the model, the host, the space, the row in the database.

use std::path::Path;

use anyhow::Context;

use crate::engine::{Device, EngineKind};
use crate::exit::Expected;
use crate::host;
use crate::host::{HostInfo, ProbeOptions, energy};
use crate::space::{Space, SpaceFacts, Value};
use crate::store::{NewStudy, StudyRecord};
use crate::study::kit::Kit;
use crate::study::predict::Ceiling;
use crate::study::{Ceilings, Settings, StudyProblem, kit, objectives};
use crate::worker::fault::told;

/// What the sampler sees of a study.
pub(crate) fn problem<'a>(
    settings: &Settings,
    space: &'a Space,
    kit: &'a dyn Kit,
    host: &HostInfo,
) -> StudyProblem<'a> {
    let ceilings = ceilings(host);
    StudyProblem::new(
        space,
        kit,
        settings.workload,
        ceilings,
        settings.budget_bytes,
        &objectives(settings.cost, settings.quality, &settings.bounds),
    )
    .with_rates(settings.rates.clone())
    .with_device(settings.device_layers)
}

/// Layers that a GPU of this machine can take, the output matrix counted as one; 0 where the engine finds none.
pub(crate) fn device_layers(engine: EngineKind, kit: &dyn Kit) -> u32 {
    let offloads = engine.open().is_ok_and(|e| e.offloads());
    if offloads { kit.facts().layers.saturating_add(1) } else { 0 }
}

/// Refuses a space of another engine's weight types, or of types that the device has no kernels for.
pub(crate) fn check_types(space: &Space, kit: &dyn Kit, device: Device) -> Result<(), Expected> {
    let weights = space.params.iter().filter(|p| p.name.starts_with("weights."));
    for (param, level) in weights.flat_map(|p| p.levels.iter().map(move |l| (p, l))) {
        let Value::Text(name) = level else { continue };
        if device == Device::Cpu && kit.is_for_gpu(name) {
            return Err(Expected::usage(format!(
                "--space {}: {} has the type {name}, which no kernel of a processor multiplies with; it is for --device cuda:0",
                space.name, param.name
            )));
        }
        if !kit.has_type(name) {
            return Err(Expected::usage(format!(
                "--space {}: {} has the type {name}, which {} does not have; `--space torch` is for --engine torch, the others are for \
                 llama.cpp",
                space.name,
                param.name,
                kit.engine().name()
            )));
        }
    }
    Ok(())
}

/// The host with the ceilings that it had when the study began: the sampler's inputs must not change during a study, and ceilings are
/// measured anew when their cache is gone or was filled on a busy machine.
pub(crate) fn as_begun(now: HostInfo, record: &StudyRecord) -> anyhow::Result<HostInfo> {
    let then: HostInfo = serde_json::from_str(&record.host.json)
        .with_context(|| format!("the host of study {} is damaged", record.root.0))?;
    Ok(HostInfo { ceilings: then.ceilings, ..now })
}

/// Opens the model; what is wrong with it is the user's to mend.
pub(crate) fn open_kit(settings: &Settings) -> anyhow::Result<Box<dyn Kit>> {
    kit::open(settings.engine, &settings.model_path).map_err(|e| Expected::usage(told(&e)).into())
}

pub(crate) fn probe(results: &Path) -> anyhow::Result<HostInfo> {
    let disk_path = results.ancestors().find(|p| p.exists()).unwrap_or(Path::new(".")).to_owned();
    let options = ProbeOptions { disk_path: Some(disk_path), ..ProbeOptions::default() };
    let host: HostInfo = host::probe(&options).map_err(|e| Expected::environment(told(&e.into())))?;
    tracing::info!(
        fingerprint = host.fingerprint,
        cpu = host.cpu.model,
        threads = host.usable_threads(),
        usable_bytes = host.usable_bytes(),
        available_bytes = host.memory.usable_now_bytes,
        gpus = host.gpus.len(),
        read_bytes_per_s = host.ceilings.read_bytes_per_s,
        flop_per_s = host.ceilings.multiply_add_flop_per_s,
        load = host.load.map(|load| load.one),
        "host probed"
    );
    Ok(host)
}

/// Whether no energy counter can be read. The scripted engine brings its own.
pub(crate) fn energy_unmeasurable(engine: EngineKind) -> bool {
    engine != EngineKind::Mock && energy::machine(true).is_empty()
}

pub(crate) fn ceilings(host: &HostInfo) -> Ceilings {
    let c = &host.ceilings;
    Ceilings {
        one: Ceiling {
            bytes_per_s: c.read_bytes_per_s_one_thread,
            flops: c.multiply_add_flop_per_s_one_thread,
        },
        all: Ceiling { bytes_per_s: c.read_bytes_per_s, flops: c.multiply_add_flop_per_s },
        threads: host.usable_threads(),
    }
}

pub(crate) fn space_facts(settings: &Settings, kit: &dyn Kit, host: &HostInfo) -> SpaceFacts {
    SpaceFacts {
        usable_threads: host.usable_threads(),
        model: Some(kit.facts()),
        workload_context_tokens: settings.workload.context_tokens(),
        workload_requests: settings.workload.requests,
        device_layers: settings.device_layers,
        block_caches: kit.has_block_caches(),
    }
}

pub(crate) fn new_study(
    settings: &Settings,
    space: &Space,
    kit: &dyn Kit,
    host: &HostInfo,
) -> anyhow::Result<NewStudy> {
    let stem = settings.model_path.file_stem().map(|s| s.to_string_lossy().trim().to_lowercase());
    // A bare number would be taken for a study's number.
    let stem = stem.filter(|s| !s.is_empty() && s.parse::<i64>().is_err());
    let version = settings.engine.version().map_err(|e| Expected::environment(e.to_string()))?;
    let versions = serde_json::json!({
        "autotune": env!("CARGO_PKG_VERSION"),
        settings.engine.name(): version,
    });
    Ok(NewStudy {
        name: stem.unwrap_or_else(|| "model".to_owned()),
        command: crate::shell::line(std::env::args_os()),
        settings_json: serde_json::to_string(settings)?,
        space_json: serde_json::to_string(space)?,
        seed: settings.seed,
        budget_bytes: settings.budget_bytes,
        model_path: settings.model.clone(),
        model_hash: kit.hash().to_owned(),
        engine: settings.engine.name().to_owned(),
        objectives_json: serde_json::to_string(&objectives(
            settings.cost,
            settings.quality,
            &settings.bounds,
        ))?,
        host_fingerprint: host.fingerprint.clone(),
        host_json: serde_json::to_string(host)?,
        versions_json: versions.to_string(),
    })
}
