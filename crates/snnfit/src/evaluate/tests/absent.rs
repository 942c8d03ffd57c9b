//! Recorded perturbations of which some units were not observed in every trial.

use super::*;
use losses::statistics::Presence;

/// Takes trials away from neurons, as binning does: counts of 0, and a mask that says so. `min_presence` as configured.
fn take_away(session: &mut RecordedSession, is_absent: impl Fn(usize, usize) -> bool, min_presence: f64) {
    let (n_trials, _, n_neurons) = session.counts.dim();
    let mask = ndarray::Array2::from_shape_fn((n_trials, n_neurons), |(k, n)| !is_absent(k, n));
    for ((k, n), _) in mask.indexed_iter().filter(|(_, is_present)| !**is_present) {
        session.counts.slice_mut(s![k, .., n]).fill(0);
    }
    let all: Vec<usize> = (0..n_trials).collect();
    session.presence = Some(Presence::of_mask(mask, &all, min_presence).unwrap());
}

#[test]
fn units_that_were_not_observed_under_the_perturbation_are_not_silenced_by_it() {
    let fixture = watched();
    let complete = recorded_perturbation(&fixture, 120);
    let mut cut = complete.clone();
    // Of session 1, neuron 2 is there in the first half of the trials only, neuron 4 never, neuron 6 in all but three.
    let is_absent = |k: usize, n: usize| (n == 2 && k >= 60) || n == 4 || (n == 6 && [3, 50, 90].contains(&k));
    let session = cut[1].as_mut().unwrap();
    take_away(session, is_absent, 0.95);
    let kept = session.presence.as_ref().unwrap().is_kept.clone();
    assert_eq!([2, 4, 6].map(|n| kept[n]), [false, false, true]);
    let of = |others: &[Result<RecordedSession, String>]| compared(&fixture, others).unwrap().against.unwrap();
    let (whole, part) = (of(&complete), of(&cut));

    let find = |report: &AgainstReport, n: usize| {
        let id = n.to_string();
        let neurons = &report.periods[0].neurons;
        neurons
            .iter()
            .find(|neuron| neuron.id == id)
            .map(|neuron| neuron.recorded_hz)
    };
    let first = fixture.recording.sessions()[1].neurons[0];
    // By hand: stimulus 0 has three quarters of the weight; of the run's recording the last 40 trials, those that end early not.
    let by_hand = |n: usize, trials: &dyn Fn(usize) -> bool| -> f64 {
        let mean = |session: &RecordedSession, condition: usize, is_used: &dyn Fn(usize) -> bool| {
            let rows: Vec<usize> = (0..session.conditions.len())
                .filter(|&k| session.conditions[k] == condition && session.valid_bins[k] == N_BINS && is_used(k))
                .collect();
            let part = session.counts.select(Axis(0), &rows);
            let part = part.slice(s![.., 20.., n]).mapv(f64::from);
            part.mean().unwrap() / (BIN_MS / 1000.0)
        };
        let (own, other) = (&fixture.recording.sessions()[1], complete[1].as_ref().unwrap());
        let change = |c: usize| mean(other, c, trials) - mean(own, c, &|k| k >= 120);
        0.75 * change(0) + 0.25 * change(1)
    };
    let close =
        |found: Option<f64>, expected: f64| assert!((found.unwrap() - expected).abs() < 1e-9, "{found:?} {expected}");
    close(find(&part, first + 2), by_hand(2, &|k| k < 60));
    close(find(&part, first + 6), by_hand(6, &|k| ![3, 50, 90].contains(&k)));
    close(find(&part, first + 7), find(&whole, first + 7).unwrap());
    assert_eq!(find(&part, first + 4), None);
    assert_eq!(part.periods[0].correlations[0].n, N_NEURONS - 1);
    let is_told = part.left_out.iter().any(|l| l.name == "change of 1 neurons, window");
    assert!(is_told, "{:?}", part.left_out);

    // The population is the same but for two neurons: had these been silenced in 180 of 240 trials, it would be lower by
    // a tenth of its rate, 3 Hz.
    let [all, some] = [&whole, &part].map(|report| report.periods[0].rates_hz[0].recorded);
    assert!((all - some).abs() < 0.5, "{all} {some}");
    let hits = |report: &AgainstReport| {
        let is = |found: &&Predicted| found.name == "Hit" && found.by.as_deref() == Some("template");
        report.type_fractions.iter().find(is).unwrap().recorded
    };
    assert!((hits(&whole) - hits(&part)).abs() < 0.05);
}

#[test]
fn twins_are_known_though_units_are_missing_from_some_trials() {
    let fixture = watched();
    let mut same: Vec<RecordedSession> = fixture.recording.sessions().to_vec();
    take_away(&mut same[0], |k, n| n == 1 && k > 100, 0.95);
    for session in &mut same {
        // The perturbation takes spikes away.
        session.counts.slice_mut(s![.., 60.., ..5]).fill(0);
    }
    let same: Vec<Result<RecordedSession, String>> = same.into_iter().map(Ok).collect();
    let against = compared(&fixture, &same).unwrap().against.unwrap();
    assert_eq!(against.paired_sessions, 3);
}
