//! From settings to a study in the database: the model is converted and checked, the host probed, the space fitted to both, the tasks
//! proven. Whatever is wrong is found before the study exists.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::converted::Converted;
use super::graders::Graders;
use super::identity::Inputs;
use super::parts::{
    check_types, device_layers, energy_unmeasurable, new_study, open_kit, probe, problem, space_facts,
};
use super::run::Run;
use super::{preflight, rates};
use crate::exit::{Expected, expected};
use crate::host::HostInfo;
use crate::host::identity::Guard;
use crate::space::{LoadedSpace, Space, load_space};
use crate::store::{DATABASE_FILE, Store, StudyRecord};
use crate::study::kit::Kit;
use crate::study::{Cost, Observer, Settings, check_budget, leave_out_alike};
use crate::worker::fault::told;

/// A study in the database, with all that it needs.
pub(crate) struct Begun {
    pub(super) settings: Settings,
    pub(super) kit: Box<dyn Kit>,
    pub(super) host: HostInfo,
    pub(super) space: Space,
    pub(super) store: Store,
    pub(super) record: StudyRecord,
    pub(super) results: PathBuf,
    pub(super) guard: Arc<Guard>,
}

impl Begun {
    /// Creates the study that the settings describe, in the database of the results folder.
    ///
    /// # Errors
    /// A wrong model, space or task set, a budget that nothing meets, a broken disk or database.
    pub(crate) fn new(
        mut settings: Settings,
        results: &Path,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<(Self, Graders)> {
        if settings.model_path.is_dir() {
            settings.model_source = Some(settings.model_path.clone());
        }
        let converted = Converted::of(&settings.model_path, results, observer)?;
        settings.model_path.clone_from(&converted.path);
        let mut kit = open_kit(&settings)?;
        let inspection = preflight::source(settings.engine, &settings.model_path, observer)?;
        let host = probe(results)?;
        let values = preflight::values(settings.engine, &settings.model_path, kit.as_ref(), &host, observer)?;
        let (budget_bytes, capped) = preflight::budget(settings.budget_bytes, &host);
        settings.budget_bytes = budget_bytes;
        if let Some(text) = capped {
            observer.remark(&text);
        }
        let unmeasurable = energy_unmeasurable(settings.engine);
        if settings.bounds.joules_per_token.is_some() && unmeasurable {
            let text = "--max-energy needs an energy counter, and this process can read none here (`autotune probe` shows it); leave the flag out";
            return Err(Expected::environment(text).into());
        }
        if settings.cost == Cost::Energy && unmeasurable {
            let text = "--cost energy: energy is not measurable here: neither the processor's counters (RAPL, /sys/class/powercap) nor those \
                        of an NVIDIA GPU can be read";
            return Err(Expected::environment(text.to_owned()).into());
        }
        settings.device_layers = device_layers(settings.engine, kit.as_ref());
        settings.rates = rates::for_study(settings.engine, kit.as_ref(), &host, observer)?;
        let LoadedSpace { mut space, notes } =
            load_space(&settings.space, &space_facts(&settings, kit.as_ref(), &host))
                .map_err(|e| Expected::usage(told(&e.into())))?;
        let refused = preflight::leave_out(&mut space, &inspection.unwrap_or_default(), &values);
        let alike = leave_out_alike(&mut space, kit.as_ref());
        for note in notes.iter().map(ToString::to_string).chain(refused).chain(alike) {
            observer.remark(&format!("space: {note}"));
        }
        check_types(&space, kit.as_ref(), settings.device)?;
        // Before anything is made: what is wrong with the call leaves no study behind, which a later `resume` would take up.
        check_budget(&problem(&settings, &space, kit.as_ref(), &host))?;
        let graders = Graders::new(&settings, observer)?;
        let inputs = Inputs::read(&settings, observer)?;
        let identity = inputs.with_surroundings(&settings, &host, &graders)?;
        kit.set_hash(inputs.model_sha256.clone());
        let new = new_study(&settings, &space, kit.as_ref(), &host)?;
        let store = Store::open(&results.join(DATABASE_FILE)).map_err(expected)?;
        let id = store.create_study(&new)?;
        graders.keep(&store, id)?;
        store.save_identity(id, &serde_json::to_string(&identity)?)?;
        let record = store.study_by_id(id)?;
        let (results, guard) = (results.to_owned(), inputs.guard());
        converted.keep();
        Ok((Self { settings, kit, host, space, store, record, results, guard }, graders))
    }

    /// It, ready to run; its own sampler chooses what is tried.
    pub(crate) fn run(&self) -> Run<'_> {
        Run {
            store: &self.store,
            record: &self.record,
            settings: &self.settings,
            space: &self.space,
            kit: self.kit.as_ref(),
            host: &self.host,
            results: &self.results,
            guard: Arc::clone(&self.guard),
            searches: true,
        }
    }
}
