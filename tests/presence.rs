//! Units that were not observed in every trial, in whole fits.

use crate::bad_input::edit;
use crate::cli::Folder;
use crate::runs::{assert_same_checkpoints, folder, manifest, succeed, train};

const STEPS: &str = "train.max_steps = 20";
const SESSION: &str = "sessions/PS000";

/// Cuts the spikes of units of session PS000 at `until` (as a share of its trials), and says so in the file or not.
///
/// Returns the names of the units that were cut, and the trials that they miss.
fn cut(folder: &Folder, n_units: usize, until: f64, is_told: bool) -> (Vec<String>, usize) {
    let mut result = (Vec::new(), 0);
    edit(folder, |file| {
        let session = file.group(SESSION).unwrap();
        let numbers = |name: &str| session.dataset(name).unwrap().read_raw::<f64>().unwrap();
        let (times, starts, stops) = (
            numbers("units/spike_times"),
            numbers("trials/start_time"),
            numbers("trials/stop_time"),
        );
        let ends = session
            .dataset("units/spike_times_index")
            .unwrap()
            .read_raw::<u64>()
            .unwrap();
        let names = session
            .dataset("units/id")
            .unwrap()
            .read_raw::<hdf5::types::VarLenUnicode>()
            .unwrap();
        let first = (starts.len() as f64 * until) as usize;
        let end_s = starts[first];
        let (mut kept, mut kept_ends, mut intervals) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for (n, end) in ends.iter().enumerate() {
            let own = &times[start..*end as usize];
            start = *end as usize;
            let is_cut = n < n_units;
            kept.extend(own.iter().filter(|t| !is_cut || **t < end_s));
            kept_ends.push(kept.len() as u64);
            intervals.extend([0.0, if is_cut { end_s } else { stops[stops.len() - 1] + 1.0 }]);
        }
        let put = |name: &str, values: &[f64]| {
            if session.link_exists(name) {
                session.unlink(name).unwrap();
            }
            session.new_dataset_builder().with_data(values).create(name).unwrap();
        };
        put("units/spike_times", &kept);
        session.unlink("units/spike_times_index").unwrap();
        session
            .new_dataset_builder()
            .with_data(&kept_ends)
            .create("units/spike_times_index")
            .unwrap();
        if is_told {
            let edges = ndarray::Array2::from_shape_vec((ends.len(), 2), intervals).unwrap();
            session
                .new_dataset_builder()
                .with_data(&edges)
                .create("units/obs_intervals")
                .unwrap();
            let index: Vec<u64> = (1..=ends.len() as u64).collect();
            session
                .new_dataset_builder()
                .with_data(&index)
                .create("units/obs_intervals_index")
                .unwrap();
        }
        let names = names.iter().take(n_units).map(ToString::to_string).collect();
        result = (names, starts.len() - first);
    });
    result
}

#[test]
fn units_that_drift_away_are_listed_and_don_t_count_as_silent() {
    let folder = folder();
    let (names, n_missed) = cut(&folder, 3, 0.5, true);
    let inspected = succeed(&folder, &["inspect", "recording.h5"]);
    let line = "PS000: 3 of 24 units were not observed in every trial (trials missed): ";
    assert!(inspected.stdout.contains(line), "{}", inspected.stdout);
    train(&folder, "told", &[STEPS]);
    let listed = manifest(&folder, "told").partly_observed;
    let mut found: Vec<&str> = listed.iter().map(|unit| unit.unit.as_str()).collect();
    found.sort_unstable();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(found, names);
    for unit in &listed {
        assert_eq!(unit.session, "PS000");
        assert_eq!(
            (unit.n_trials - unit.n_observed, unit.in_populations),
            (n_missed, false)
        );
    }
    let lines = manifest(&folder, "told").left_out;
    let line = "3 of 24 neurons were not observed in every trial: averages go over the trials they were observed in; 3 of them, observed in \
                less than 95 % of the training trials (statistics.min_presence), are in no population";
    assert!(
        lines.iter().any(|left| left.session == "PS000" && left.reason == line),
        "{lines:?}"
    );
    // With a lower limit they are matched, stood in for where they are missing; that is another fit.
    train(&folder, "matched", &[STEPS, "statistics.min_presence = 0.4"]);
    assert!(
        manifest(&folder, "matched")
            .partly_observed
            .iter()
            .all(|unit| unit.in_populations)
    );
    // What stands in is drawn, and the same each time.
    train(&folder, "again", &[STEPS, "statistics.min_presence = 0.4"]);
    assert_same_checkpoints(&folder, "matched", "again", 20);
    let best = |run: &str| std::fs::read(folder.path(run).join("checkpoints/best.ckpt")).unwrap();
    assert_ne!(best("told"), best("matched"));

    succeed(&folder, &["evaluate", "told", "--trials", "12"]);
    let page = std::fs::read_to_string(folder.path("told/report/index.html")).unwrap();
    let trials = format!("{} of {} trials, in no population</li>", 40 - n_missed, 40);
    assert_eq!(page.matches(&trials).count(), 3, "{trials}");
    let metrics = std::fs::read_to_string(folder.path("told/metrics.json")).unwrap();
    assert!(
        metrics.contains("3 of 48 neurons were not observed in every trial"),
        "{metrics}"
    );
}

#[test]
fn training_trials_alone_decide_who_is_in_populations() {
    let folder = folder();
    train(&folder, "a", &[STEPS]);
    let splits = std::fs::read_to_string(folder.path("a/splits.json")).unwrap();
    let splits: serde_json::Value = serde_json::from_str(&splits).unwrap();
    let own = &splits["sessions"][0];
    assert_eq!(own["id"], "PS000");
    let trials_of = |part: &str| -> Vec<usize> { serde_json::from_value(own[part].clone()).unwrap() };
    let (training, test) = (trials_of("train"), trials_of("test"));
    assert!(test.len() > 4 && training.len() > 10, "{splits}");

    // Unit 0 misses the test trials, a fifth of all; unit 1 two training trials, more than a twentieth of these.
    let mut recording = data::read(&folder.path("recording.h5")).unwrap();
    let session = &mut recording.sessions[0];
    let without = |missing: &[usize]| -> Vec<(f64, f64)> {
        let there = session.trials.iter().enumerate().filter(|(k, _)| !missing.contains(k));
        there.map(|(_, trial)| (trial.start_s, trial.stop_s)).collect()
    };
    let observed = [without(&test), without(&training[..2])];
    let ids = [0, 1].map(|n| session.units[n].id.clone());
    let n_units = session.n_units();
    let data::Activity::SpikeTimes { unit_observed_s, .. } = &mut session.activity else {
        panic!("spike times");
    };
    let mut all = vec![Vec::new(); n_units];
    all[..2].clone_from_slice(&observed);
    *unit_observed_s = Some(all);
    data::write_replacing(&folder.path("recording.h5"), &recording).unwrap();
    train(&folder, "b", &[STEPS]);
    let listed = manifest(&folder, "b").partly_observed;
    let of = |id: &String| listed.iter().find(|unit| unit.unit == *id).unwrap();
    assert_eq!(
        ids.each_ref()
            .map(|id| (of(id).n_trials - of(id).n_observed, of(id).in_populations)),
        [(test.len(), true), (2, false)]
    );
}

#[test]
fn units_that_were_never_observed_are_left_out_with_their_reason() {
    let folder = folder();
    let (names, _) = cut(&folder, 2, 0.0, true);
    let inspected = succeed(&folder, &["inspect", "recording.h5"]);
    let line = format!(
        "PS000: 2 of 24 units were observed in no trial, fits leave them out: '{}'",
        names.join("', '")
    );
    assert!(inspected.stdout.contains(&line), "{}", inspected.stdout);
    train(&folder, "a", &[STEPS, "statistics.min_spikes = 5"]);
    let found = manifest(&folder, "a");
    let line = format!("2 of 24 units were observed in no training trial: {}", names.join(", "));
    let is_told = found
        .left_out
        .iter()
        .any(|left| left.session == "PS000" && left.reason == line);
    assert!(is_told, "{:?}", found.left_out);
    // They are no neurons: neither silent ones nor absent ones.
    assert_eq!(found.partly_observed, []);
    let is_left_out = |session: &str, unit: &String| session == "PS000" && names.contains(unit);
    assert!(!found.few_spikes.iter().any(|few| is_left_out(&few.session, &few.unit)));
    succeed(&folder, &["export", "a", "--out", "network.h5"]);
    let neurons = hdf5::File::open(folder.path("network.h5")).unwrap();
    assert_eq!(neurons.dataset("neurons/tau_ms").unwrap().size(), 46);
    succeed(&folder, &["evaluate", "a", "--trials", "12"]);
    let page = std::fs::read_to_string(folder.path("a/report/index.html")).unwrap();
    assert!(page.contains(&line.replace('\'', "&#39;")), "the report doesn't say so");

    // A recording of nothing else can't be fitted.
    let nothing = crate::runs::folder();
    cut(&nothing, 24, 0.0, true);
    let run = nothing.run(&[
        "train",
        "--config",
        "fit.toml",
        "--out",
        "a",
        "--set",
        "data.sessions = [\"PS000\"]",
    ]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let said = run.stderr.replace("\n  │ ", " ");
    assert!(
        said.contains("none of 24 units was observed in a training trial"),
        "{said}"
    );
}

#[test]
fn intervals_that_hold_every_trial_change_no_bit() {
    let folder = folder();
    train(&folder, "plain", &[STEPS]);
    cut(&folder, 0, 0.5, true);
    let file = hdf5::File::open(folder.path("recording.h5")).unwrap();
    assert!(file.link_exists("sessions/PS000/units/obs_intervals"));
    drop(file);
    train(&folder, "told", &[STEPS]);
    assert_same_checkpoints(&folder, "plain", "told", 20);
    assert_eq!(manifest(&folder, "told").partly_observed, []);
}
