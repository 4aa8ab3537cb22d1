//! A stored study with what it works from, compared with its inputs at the start; continued, refused, or opened in a new segment.

use std::path::PathBuf;

use anyhow::Context;

use super::begin::Begun;
use super::graders::Graders;
use super::identity::{self, Compared, Inputs};
use super::parts::{as_begun, check_types, new_study, open_kit, probe, problem, space_facts};
use super::{commands, converted, rates};
use crate::exit::{Expected, expected};
use crate::host::HostInfo;
use crate::host::identity::{Component, Identity};
use crate::sandbox::Mode;
use crate::space::{LoadedSpace, Space, Value, load_space, preset_names};
use crate::store::{DATABASE_FILE, Store, StudyRecord};
use crate::study::kit::Kit;
use crate::study::{Observer, Settings, check_budget, leave_out_alike};
use crate::worker::fault::told;

/// Which study goes on, and what is different from now on.
#[derive(Clone, Debug)]
pub struct Resume {
    /// The folder of the database.
    pub results: PathBuf,
    /// The study's number or name, or that of a segment; none: the newest.
    pub study: Option<String>,
    /// No trial starts after this long, in seconds.
    pub time_s: Option<u64>,
    /// Trials in all.
    pub trials: Option<u64>,
    /// Where reports go.
    pub reports: Option<PathBuf>,
    /// Protection that is demanded before model-written code runs.
    pub sandbox: Option<Mode>,
    /// Whether the trials from now on stand apart from those so far.
    pub new_segment: bool,
}

/// Takes a study up again.
///
/// # Errors
/// No such study, or inputs that differ from those it was started with.
pub(crate) fn resume(args: &Resume, observer: &mut dyn Observer) -> anyhow::Result<(Begun, Graders)> {
    let path = args.results.join(DATABASE_FILE);
    if !path.exists() {
        return Err(Expected::usage(format!(
            "there is no study to resume: {} does not exist (start one with `autotune --budget 8GB`, or name its folder with --results)",
            path.display()
        ))
        .into());
    }
    let store = Store::open(&path).map_err(expected)?;
    let record = store.study(args.study.as_deref()).map_err(expected)?;
    let study = record.root.0;
    if record.segments.last().is_some_and(|newest| newest.number > record.segment) {
        let text = format!(
            "segment {} of study {study} is closed; `{}` continues the newest one",
            record.segment,
            commands::resume(record.root, &args.results, None)
        );
        return Err(Expected::usage(text).into());
    }
    let mut settings = stored_settings(&record, args)?;
    let space: Space = serde_json::from_str(&record.space_json)
        .with_context(|| format!("the space of study {study} is damaged"))?;
    find_model(&mut settings, &record, args, observer)?;
    let mut kit = open_kit(&settings)?;
    let inputs = Inputs::read(&settings, observer)?;
    let (stored, recorded) = identity::stored(&record, kit.as_ref(), &inputs.model_sha256)?;
    // What is wrong with the inputs is known before anything else is looked at.
    let compared = Compared::of(&inputs.identity, &only_inputs(&stored)).without_lost_source(&settings);
    if !args.new_segment {
        compared.refuse(&record, &settings, &args.results)?;
    }
    let host = probe(&args.results)?;
    let grading = Graders::resumed(&settings, &store, record.id, args.new_segment, observer)?;
    let now = inputs.with_surroundings(&settings, &host, &grading)?;
    let compared = Compared::of(&now, &stored).without_lost_source(&settings);
    if !args.new_segment {
        compared.refuse(&record, &settings, &args.results)?;
    }
    let opened = args.new_segment || !compared.segment.is_empty();
    if opened || record.model_hash == inputs.model_sha256 {
        kit.set_hash(inputs.model_sha256.clone());
    }
    let resumed = if opened {
        let opening = Opening { store: &store, record: &record, kit: kit.as_ref(), host: &host };
        let (record, settings, space) = opening.open(settings, space, &now, &compared, args, observer)?;
        grading.keep(&store, record.id)?;
        Resumed { record, settings, space, host }
    } else {
        for difference in &compared.told {
            let kept = match difference.component {
                Component::ModelSource => "the file that was converted from it",
                _ => "the levels that it was started with",
            };
            observer.remark(&format!("{difference}; the study continues with {kept}"));
        }
        if !recorded {
            observer.remark(&format!(
                "study {study} was started by a version that did not record what its numbers depend on; model and host are the same, and the \
                 rest is assumed to be the same and recorded from now on"
            ));
        }
        if !now.unknown_in(&stored).is_empty() {
            store.save_identity(record.id, &serde_json::to_string(&now.filled_into(&stored))?)?;
        }
        store.set_study_settings(record.id, &serde_json::to_string(&settings)?)?;
        let host = as_begun(host, &record)?;
        Resumed { record, settings, space, host }
    };
    let Resumed { record, settings, space, host } = resumed;
    let (results, guard) = (args.results.clone(), inputs.guard());
    Ok((Begun { settings, kit, host, space, store, record, results, guard }, grading))
}

/// What is run: the segment that was there, or the one that was opened.
struct Resumed {
    record: StudyRecord,
    settings: Settings,
    space: Space,
    host: HostInfo,
}

/// The settings as they are stored, with what the user says now.
fn stored_settings(record: &StudyRecord, args: &Resume) -> anyhow::Result<Settings> {
    let mut settings: Settings = serde_json::from_str(&record.settings_json)
        .with_context(|| format!("the settings of study {} are damaged", record.root.0))?;
    if let Some(time) = args.time_s {
        settings.time_s = Some(time);
    }
    if let Some(trials) = args.trials {
        settings.trials = Some(trials);
    }
    if let Some(reports) = &args.reports {
        settings.reports.clone_from(reports);
    }
    if let Some(mode) = args.sandbox {
        settings.sandbox = mode;
    }
    Ok(settings)
}

/// Finds the model again: the file, or what is converted from its folder where the results were moved or cleaned.
fn find_model(
    settings: &mut Settings,
    record: &StudyRecord,
    args: &Resume,
    observer: &mut dyn Observer,
) -> anyhow::Result<()> {
    if settings.model_path.is_file() {
        return Ok(());
    }
    match settings.model_source.as_ref().filter(|folder| folder.is_dir()) {
        Some(folder) => settings.model_path = converted::as_gguf(folder, &args.results, observer)?,
        None => {
            let study = record.root.0;
            return Err(Expected::usage(format!(
                "the model of study {study}, {}, is gone; put it back, or start a new study with another --model (`autotune report {study}` \
                 and `autotune trials {study}` need no model)",
                settings.model_path.display()
            ))
            .into());
        }
    }
    Ok(())
}

/// Of a stored identity, the files that the user named.
fn only_inputs(stored: &Identity) -> Identity {
    use Component::{Calibration, Model, ModelSource, Tasks};
    [Model, ModelSource, Tasks, Calibration].into_iter().fold(Identity::default(), |identity, component| {
        match stored.part(component) {
            Some(part) => identity.with(component, part.clone()),
            None => identity,
        }
    })
}

/// A study about to go on apart from its trials so far.
struct Opening<'a> {
    store: &'a Store,
    record: &'a StudyRecord,
    kit: &'a dyn Kit,
    host: &'a HostInfo,
}

impl Opening<'_> {
    /// Opens the segment, and says why.
    fn open(
        &self,
        mut settings: Settings,
        stored_space: Space,
        now: &Identity,
        compared: &Compared,
        args: &Resume,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<(StudyRecord, Settings, Space)> {
        let (kit, host) = (self.kit, self.host);
        settings.rates = rates::for_study(settings.engine, kit, host, observer)?;
        let is_preset = preset_names().any(|name| name == settings.space);
        let file_is_as_it_was = now.part(Component::Space).is_some()
            && !compared.told.iter().any(|d| d.component == Component::Space);
        let wanted = args.new_segment && now.part(Component::Space).is_some();
        let space = if is_preset || file_is_as_it_was || wanted {
            let LoadedSpace { mut space, notes } =
                load_space(&settings.space, &space_facts(&settings, kit, host))
                    .map_err(|e| Expected::usage(told(&e.into())))?;
            let alike = leave_out_alike(&mut space, kit);
            for note in notes.iter().map(ToString::to_string).chain(alike) {
                observer.remark(&format!("space: {note}"));
            }
            check_types(&space, kit, settings.device)?;
            space
        } else {
            with_usable_threads(stored_space, host.usable_threads())
        };
        check_budget(&problem(&settings, &space, kit, host))?;
        let new = new_study(&settings, &space, kit, host)?;
        let mut reasons = compared.reasons();
        if reasons.is_empty() {
            reasons.push("requested by the user (--new-segment)".to_owned());
        }
        let after = self.record.id;
        let id =
            self.store.open_segment(after, &new, &serde_json::to_string(now)?, &reasons).map_err(expected)?;
        let record = self.store.study_by_id(id)?;
        observer.remark(&format!(
            "study {} continues in segment {}, separate from the trials so far, whose numbers are not comparable: {}",
            record.root.0,
            record.segment,
            reasons.join("; ")
        ));
        Ok((record, settings, space))
    }
}

/// A stored space without numbers of threads that this machine does not have.
fn with_usable_threads(mut space: Space, usable: u32) -> Space {
    let fits = |level: &Value| matches!(level, Value::Int(n) if *n <= i64::from(usable));
    for param in space.params.iter_mut().filter(|p| p.name == "threads") {
        param.levels.retain(fits);
        if param.levels.is_empty() {
            param.levels.push(Value::Int(i64::from(usable)));
        }
    }
    space
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Param, ParamKind};

    #[test]
    fn threads_that_are_gone_leave_a_stored_space() {
        let levels = |of: &[i64]| of.iter().map(|n| Value::Int(*n)).collect::<Vec<_>>();
        let space = |of: &[i64]| Space {
            name: "s".into(),
            description: String::new(),
            params: vec![Param { name: "threads".into(), kind: ParamKind::Ordinal, levels: levels(of) }],
        };
        assert_eq!(with_usable_threads(space(&[1, 2, 4]), 2), space(&[1, 2]));
        assert_eq!(with_usable_threads(space(&[4]), 2), space(&[2]));
    }
}
