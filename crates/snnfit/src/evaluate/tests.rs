//! Evaluations of stand-ins whose result is known: the recorded process itself, and independent Poisson trials.

use losses::metrics::{MetricValue, noise_correlations};
use losses::statistics::{Filters, MovingMean, Populations, RecordedSession, Recording, TrialSelection};
use ndarray::{Array3, Axis, s};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, Poisson};

use super::*;

mod absent;
mod movement;
mod session_types;
mod variance_parts;

const N_BINS: usize = 100;
const BIN_MS: f64 = 2.0;
const N_SESSIONS: usize = 3;
const PER_AREA: usize = 15;
const N_NEURONS: usize = N_SESSIONS * 2 * PER_AREA;

fn rng(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

/// Gain of the response of a neuron, and its baseline in spikes per bin.
fn neuron(n: usize) -> (f64, f64) {
    (1.0 + (n % 5) as f64, 0.02 + 0.005 * (n % 7) as f64)
}

/// One trial `[T, N]` of the artificial process: both areas respond at bin 30, the second with a strength of its own
/// (1 in hits, 80 %, 0 in misses), and a gain shared by all neurons varies from trial to trial.
fn trial(strength: f64, rng: &mut dyn Rng) -> ndarray::Array2<u8> {
    let gain: f64 = 0.6 + 0.8 * rng.random::<f64>();
    ndarray::Array2::from_shape_fn((N_BINS, N_NEURONS), |(t, n)| {
        let area = n / PER_AREA % 2;
        let (modulation, base) = neuron(n);
        let since = t as f64 - 30.0;
        let response = if since < 0.0 {
            0.0
        } else if area == 0 {
            (-since / 15.0).exp()
        } else {
            strength * (-since / 15.0).exp()
        };
        let mean = base * gain * (1.0 + 2.0 * modulation * response);
        Poisson::new(mean).map_or(0, |p| p.sample(rng) as u8)
    })
}

/// K trials of the process and their types (0: hit, 1: miss).
fn process(n_trials: usize, rng: &mut dyn Rng) -> (Array3<u8>, Vec<usize>) {
    process_of([1.0, 0.0], n_trials, rng)
}

/// The same with other strengths of hits and misses.
fn process_of(strengths: [f64; 2], n_trials: usize, rng: &mut dyn Rng) -> (Array3<u8>, Vec<usize>) {
    let types: Vec<usize> = (0..n_trials).map(|k| usize::from(k % 5 == 4)).collect();
    let mut counts = Array3::zeros((n_trials, N_BINS, N_NEURONS));
    for (mut row, y) in counts.outer_iter_mut().zip(&types) {
        row.assign(&trial(strengths[*y], rng));
    }
    (counts, types)
}

struct Fixture {
    recording: Recording,
    train: TrialSelection,
    test: TrialSelection,
    populations: Populations,
    filters: Filters,
    types: Vec<String>,
    traces: Vec<String>,
}

impl Fixture {
    /// Three sessions of both areas, 160 trials each (120 for training, 40 for the test).
    fn new() -> Self {
        Self::of_strengths([1.0, 0.0], 160)
    }

    fn of_strengths(strengths: [f64; 2], n_trials: usize) -> Self {
        let mut rng = rng(1);
        let sessions = (0..N_SESSIONS).map(|s| {
            let (counts, types) = process_of(strengths, n_trials, &mut rng);
            let neurons: Vec<usize> = (s * 2 * PER_AREA..(s + 1) * 2 * PER_AREA).collect();
            RecordedSession {
                presence: None,
                name: format!("session{s}"),
                counts: counts.select(Axis(2), &neurons),
                valid_bins: vec![N_BINS; n_trials],
                conditions: vec![0; n_trials],
                trial_types: types,
                areas: neurons.iter().map(|n| n / PER_AREA % 2).collect(),
                neurons,
                behaviour: None,
            }
        });
        Self::of(sessions.collect(), &["Hit", "Miss"])
    }

    fn of(sessions: Vec<RecordedSession>, types: &[&str]) -> Self {
        let n_trials = sessions[0].conditions.len();
        let n_train = n_trials * 3 / 4;
        let areas = vec!["area1".to_owned(), "area2".to_owned()];
        let (train, test) = sessions
            .iter()
            .map(|_| {
                (
                    (0..n_train).collect::<Vec<_>>(),
                    (n_train..n_trials).collect::<Vec<_>>(),
                )
            })
            .unzip();
        let recording = Recording::new(sessions, areas, N_NEURONS, 1).unwrap();
        let spike = MovingMean::half_overlapping(6).unwrap();
        Self {
            populations: Populations::by_area(&recording, 10).unwrap_or(Populations {
                groups: Vec::new(),
                left_out: Vec::new(),
            }),
            filters: Filters::new(N_BINS, spike, MovingMean::resampling(2).unwrap()).unwrap(),
            recording,
            train,
            test,
            types: types.iter().map(|&name| name.to_owned()).collect(),
            traces: vec!["jaw".to_owned()],
        }
    }

    fn evaluate(&self, counts: &Array3<u8>, seed: u64) -> Report {
        let conditions = vec![0; counts.dim().0];
        let inputs = self.inputs(counts, &conditions);
        evaluate(&inputs, &mut rng(seed)).unwrap()
    }

    fn inputs<'a>(&'a self, counts: &'a Array3<u8>, conditions: &'a [usize]) -> EvaluationInputs<'a> {
        EvaluationInputs {
            run: "run".to_owned(),
            split: "test".to_owned(),
            checkpoint_step: 7,
            recording: &self.recording,
            train: &self.train,
            test: &self.test,
            populations: &self.populations,
            filters: &self.filters,
            has_behaviour: false,
            bin_ms: BIN_MS,
            trial_types: &self.types,
            traces: &self.traces,
            model: SimulatedTrials {
                counts,
                conditions,
                behaviour: None,
                valid_bins: None,
            },
            settings: EvaluationSettings {
                n_resamples: 200,
                ..EvaluationSettings::default()
            },
        }
    }
}

fn metric<'r>(report: &'r Report, name: &str) -> &'r MetricValue {
    report
        .metric(name)
        .unwrap_or_else(|| panic!("no {name}: {:?}", report.left_out))
}

#[test]
fn averages_of_trials_that_end_early_are_over_the_bins_that_they_have() {
    // Every third trial ends early; what would come after its end is unlike all before.
    let valid = |k: usize| if k.is_multiple_of(3) { 25 + k % 30 } else { N_BINS };
    let whole = Fixture::new();
    let sessions = whole.recording.sessions().iter().map(|session| {
        let mut session = session.clone();
        for k in 0..session.conditions.len() {
            session.valid_bins[k] = valid(k);
            session.counts.slice_mut(s![k, valid(k).., ..]).fill(0);
        }
        session
    });
    let fixture = Fixture::of(sessions.collect(), &["Hit", "Miss"]);
    // The test trials in the model's place, as they would have gone on.
    let mut counts = Array3::zeros((40, N_BINS, N_NEURONS));
    for session in whole.recording.sessions() {
        for (column, &neuron) in session.neurons.iter().enumerate() {
            let own = session.counts.slice(s![120.., .., column]);
            counts.slice_mut(s![.., .., neuron]).assign(&own);
        }
    }
    let (conditions, lengths) = (vec![0; 40], (120..160).map(valid).collect::<Vec<_>>());
    for (k, &length) in lengths.iter().enumerate() {
        counts.slice_mut(s![k, length.., ..]).fill(9);
    }
    let masked = EvaluationInputs {
        model: SimulatedTrials {
            counts: &counts,
            conditions: &conditions,
            behaviour: None,
            valid_bins: Some(&lengths),
        },
        ..fixture.inputs(&counts, &conditions)
    };
    let report = evaluate(&masked, &mut rng(1)).unwrap();
    let same = metric(&report, "psth_pearson_all_trials").value;
    assert!((same - 1.0).abs() < 1e-12, "{same}");
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("trials end at different bins"))
    );
    let unmasked = evaluate(&fixture.inputs(&counts, &conditions), &mut rng(1)).unwrap();
    assert!(metric(&unmasked, "psth_pearson_all_trials").value < 0.9);
    // Null models are made of complete trials: beside averages over all trials they would be no fair comparison.
    for name in [
        "psth_pearson",
        "psth_pearson_all_trials",
        "neuron_loss",
        "firing_rate_wasserstein",
    ] {
        assert!(metric(&report, name).nulls.is_empty(), "{name}");
        assert_eq!(metric(&unmasked, name).nulls.len(), 4, "{name}");
    }
    assert!(metric(&report, "psth_pearson").reference_train_test.is_some());
    assert_eq!(metric(&report, "fano_ratio").nulls.len(), 4);

    // Of the short trials a share is taken that is from all over the session.
    let mut model = stand_in::StandIn::model(&masked).unwrap();
    model.shuffle_short(&mut rng(4));
    let of_session = |trials: &[usize]| vec![trials.to_vec(); N_SESSIONS];
    let (complete, short): (Vec<usize>, Vec<usize>) = (0..40).partition(|&k| lengths[k] == N_BINS);
    let half = complete.len() / 2;
    let taken = model.for_averages(&of_session(&complete[..half])).swap_remove(0);
    let taken: Vec<usize> = taken.into_iter().filter(|k| short.contains(k)).collect();
    let expected = (half as f64 / complete.len() as f64 * short.len() as f64).round() as usize;
    assert_eq!(taken.len(), expected);
    assert!(
        taken != short[..expected] && taken != short[short.len() - expected..],
        "{taken:?}"
    );
}

#[test]
fn a_model_that_is_the_recorded_process_scores_like_the_training_data() {
    let fixture = Fixture::new();
    let report = fixture.evaluate(&process(150, &mut rng(2)).0, 3);
    assert!(report.left_out.is_empty(), "{:?}", report.left_out);
    // Model and training data are two samples of one process: their metrics differ by sampling only.
    for (name, tolerance) in [
        ("psth_pearson", 0.03),
        ("psth_pearson_ref_centered", 0.03),
        ("trial_matched_pearson", 0.05),
        ("trial_matched_pearson_ref_centered", 0.05),
        ("neuron_loss", 0.15),
        ("trial_loss", 0.1),
        ("energy_distance", 0.03),
        ("type_fraction/Hit", 0.05),
        ("hit_fraction", 0.05),
        ("peak_rate_wasserstein", 2.5),
        ("peak_rate_above_threshold/area2", 0.1),
        ("firing_rate_wasserstein", 0.3),
        ("feature_variance_ratio", 0.2),
        ("feature_variance_ratio_within_type", 0.25),
        ("fano_ratio", 0.15),
        ("noise_correlation_r", 0.15),
    ] {
        let metric = metric(&report, name);
        let reference = metric.reference_train_test.unwrap();
        assert!(
            (metric.value - reference).abs() < tolerance,
            "{name}: {} and {reference}",
            metric.value
        );
    }
    let near = |name: &str, expected: f64, tolerance: f64| {
        let value = metric(&report, name).value;
        assert!(
            (value - expected).abs() < tolerance,
            "{name} is {value}, not {expected}"
        );
    };
    near("feature_variance_ratio", 1.0, 0.2);
    near("energy_distance", 0.0, 0.02);
    // No null model is of the recorded process.
    let energy = metric(&report, "energy_distance");
    assert!(energy.nulls.values().all(|null| *null > energy.value), "{energy:?}");
    near("fano_ratio", 1.0, 0.15);
    near("hit_fraction", 0.8, 0.05);
    near("hit_fraction_data", 0.8, 1e-9);
    // By the same rule on both sides, which in sessions that see little of the types is no good rule.
    let by_session = metric(&report, "session_type_fraction_data/Hit");
    assert!((by_session.value - 0.8).abs() > 0.02, "{by_session:?}");
    near("session_type_fraction/Hit", by_session.value, 0.06);
    let psth = metric(&report, "psth_pearson");
    let ceiling = psth.ceiling_noiseless.unwrap();
    assert!(psth.value < ceiling && ceiling < 1.0, "{} of {ceiling}", psth.value);
}

#[test]
fn every_interval_contains_its_value() {
    let fixture = Fixture::new();
    let report = fixture.evaluate(&process(150, &mut rng(4)).0, 5);
    assert!(report.metrics.len() > 20);
    for metric in &report.metrics {
        let [low, high] = metric.ci95.unwrap();
        assert!(low <= metric.value && metric.value <= high, "{metric:?}");
        assert!(low < high || metric.value == 0.0 || metric.value == 1.0, "{metric:?}");
    }
}

/// Independent Poisson trials with the PSTH of the training trials, as a "model".
fn poisson_model(fixture: &Fixture, n_trials: usize, rng: &mut dyn Rng) -> Array3<u8> {
    let mut psth = ndarray::Array2::<f64>::zeros((N_BINS, N_NEURONS));
    for (session, trials) in fixture.recording.sessions().iter().zip(&fixture.train) {
        for (column, &n) in session.neurons.iter().enumerate() {
            for t in 0..N_BINS {
                let sum: u32 = trials.iter().map(|&k| u32::from(session.counts[[k, t, column]])).sum();
                psth[[t, n]] = f64::from(sum) / trials.len() as f64;
            }
        }
    }
    Array3::from_shape_fn((n_trials, N_BINS, N_NEURONS), |(_, t, n)| {
        Poisson::new(psth[[t, n]]).map_or(0, |p| p.sample(rng) as u8)
    })
}

#[test]
fn a_model_of_independent_poisson_trials_scores_like_its_own_null_and_is_under_dispersed() {
    let fixture = Fixture::new();
    let report = fixture.evaluate(&poisson_model(&fixture, 150, &mut rng(6)), 7);
    for (name, tolerance) in [
        ("psth_pearson", 0.03),
        ("trial_matched_pearson", 0.04),
        ("neuron_loss", 0.15),
        ("trial_loss", 0.1),
        ("energy_distance", 0.03),
        ("hit_fraction", 0.08),
        ("peak_rate_wasserstein", 2.0),
        ("feature_variance_ratio", 0.08),
        ("fano_ratio", 0.1),
        ("noise_correlation_r", 0.1),
    ] {
        let metric = metric(&report, name);
        let null = metric.nulls["psth_poisson_per_stimulus"];
        assert!(
            (metric.value - null).abs() < tolerance,
            "{name}: {} and {null}",
            metric.value
        );
    }
    assert!(metric(&report, "feature_variance_ratio").value < 0.8);
    assert!(metric(&report, "fano_ratio").value < 0.9);
    let nulls = &metric(&report, "hit_fraction").nulls;
    // Knowing the trial types, a null has the data's share of hits; knowing averages only, nearly all are weak hits.
    assert!((nulls["psth_poisson_per_trial_type"] - 0.8).abs() < 0.05, "{nulls:?}");
    assert!(nulls["psth_poisson_per_stimulus"] > 0.95, "{nulls:?}");
}

#[test]
fn all_stand_ins_have_the_same_number_of_trials() {
    let fixture = Fixture::new();
    for (n_model, compared, matched) in [(30, 30, 30), (100, 100, 40), (300, 120, 40)] {
        let counts = process(n_model, &mut rng(8)).0;
        let conditions = vec![0; n_model];
        let inputs = fixture.inputs(&counts, &conditions);
        let context = Context::new(&inputs, &mut rng(9)).unwrap();
        let nulls = context.nulls.iter().map(|(_, null)| null);
        for stand_in in nulls.chain([&context.model, &context.train]) {
            assert!(stand_in.compared.iter().all(|trials| trials.len() == compared));
            assert!(stand_in.matched.iter().all(|trials| trials.len() == matched));
        }
        assert!(context.test.matched.iter().all(|trials| trials.len() == matched));
    }
}

/// PSTH of each neuron `[N][C][T1]` by its definition, and the numbers of trials `[N][C]`; trials are complete.
fn psths_by_hand(recording: &Recording, trials: &TrialSelection) -> (Vec<Vec<Vec<f64>>>, Vec<Vec<usize>>) {
    let mut psths = vec![Vec::new(); N_NEURONS];
    let mut numbers = vec![Vec::new(); N_NEURONS];
    for (session, trials) in recording.sessions().iter().zip(trials) {
        for (column, &neuron) in session.neurons.iter().enumerate() {
            for condition in 0..recording.n_conditions() {
                let rows: Vec<usize> = trials
                    .iter()
                    .copied()
                    .filter(|&k| session.conditions[k] == condition)
                    .collect();
                // Means of 6 bins, every 3 bins, from 2 bins before the trial on; bins outside of it don't count.
                let bin = |first: i64| {
                    let inside = (first..first + 6).filter(|t| (0..N_BINS as i64).contains(t));
                    let bins: Vec<usize> = inside.map(|t| t as usize).collect();
                    let spikes: u32 = rows
                        .iter()
                        .flat_map(|&k| bins.iter().map(move |&t| u32::from(session.counts[[k, t, column]])))
                        .sum();
                    f64::from(spikes) / (bins.len() * rows.len()) as f64
                };
                psths[neuron].push((0..=(N_BINS as i64 + 4 - 6) / 3).map(|i| bin(3 * i - 2)).collect());
                numbers[neuron].push(rows.len());
            }
        }
    }
    (psths, numbers)
}

/// The neuron loss of each neuron by its definition.
fn neuron_losses_by_hand(context: &Context<'_>) -> Vec<f64> {
    let inputs = context.inputs;
    let (train, _) = psths_by_hand(inputs.recording, inputs.train);
    let (data, n_trials) = psths_by_hand(inputs.recording, &context.test.all);
    let (model, _) = psths_by_hand(&context.model.recording, &context.model.compared);
    let of_neuron = |n: usize| {
        let bins: Vec<f64> = train[n].concat();
        let mean = bins.iter().sum::<f64>() / bins.len() as f64;
        let variance = bins.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (bins.len() as f64 - 1.0);
        assert!(variance.sqrt() > 1e-3, "below the floor of the scale");
        let total: usize = n_trials[n].iter().sum();
        let conditions = data[n].iter().zip(&model[n]).zip(&n_trials[n]);
        let weighted = conditions.map(|((y, p), trials)| {
            let squares: f64 = y.iter().zip(p).map(|(y, p)| (p - y) * (p - y)).sum();
            squares / y.len() as f64 * *trials as f64 / total as f64
        });
        weighted.sum::<f64>() / variance
    };
    (0..N_NEURONS).map(of_neuron).collect()
}

#[test]
fn the_neuron_loss_is_the_mean_of_its_neurons() {
    // One condition, and two with unequal numbers of trials that the model shows in other shares.
    let mut of_two = Fixture::new();
    let sessions = of_two.recording.sessions().iter().map(|session| RecordedSession {
        conditions: (0..160).map(|k| usize::from(k % 3 == 0)).collect(),
        ..session.clone()
    });
    let areas = of_two.recording.area_names().to_vec();
    of_two.recording = Recording::new(sessions.collect(), areas, N_NEURONS, 2).unwrap();
    let counts = process(60, &mut rng(10)).0;
    for (fixture, conditions) in [
        (Fixture::new(), vec![0; 60]),
        (of_two, (0..60).map(|k| k % 2).collect::<Vec<usize>>()),
    ] {
        let inputs = fixture.inputs(&counts, &conditions);
        let context = Context::new(&inputs, &mut rng(11)).unwrap();
        let expected = neuron_losses_by_hand(&context);
        let per_neuron = psth::per_neuron_loss(&psth::test_loss(&context).unwrap(), &context).unwrap();
        for (n, (found, expected)) in per_neuron.iter().zip(&expected).enumerate() {
            assert!((found - expected).abs() < 1e-12 * expected, "{n}: {found} {expected}");
        }
        // The same seed draws the same trials.
        let report = evaluate(&inputs, &mut rng(11)).unwrap();
        let metric = metric(&report, "neuron_loss");
        let mean = expected.iter().sum::<f64>() / N_NEURONS as f64;
        assert!((metric.value - mean).abs() < 1e-12 * mean, "{metric:?} {mean}");
        assert_eq!(metric.n, N_NEURONS);
        let [low, high] = metric.ci95.unwrap();
        assert!(
            (low + high - 2.0 * metric.value).abs() < 0.2 * metric.value,
            "{metric:?}"
        );
    }
}

#[test]
fn an_evaluation_on_training_trials_has_neither_reference_nor_nulls_and_says_so() {
    let held_out = Fixture::new();
    let counts = process(130, &mut rng(30)).0;
    let report = held_out.evaluate(&counts, 31);
    assert!(report.notes.is_empty() && !report.table().contains("note:"));
    assert!(!serde_json::to_string(&report).unwrap().contains("notes"));
    // All training trials, or a single one among others.
    let mut one_shared = held_out.test.clone();
    one_shared[1].push(held_out.train[1][0]);
    for (test, matched) in [(held_out.train.clone(), 120), (one_shared, 40)] {
        let fixture = Fixture { test, ..Fixture::new() };
        let report = fixture.evaluate(&counts, 31);
        for metric in &report.metrics {
            assert!(
                metric.reference_train_test.is_none() && metric.nulls.is_empty(),
                "{metric:?}"
            );
        }
        assert_eq!(report.trials[0].matched, matched);
        assert!(report.metric("psth_pearson").unwrap().ceiling_noiseless.is_some());
        let [note] = report.notes.as_slice() else {
            panic!("{:?}", report.notes)
        };
        assert!(note.contains("no null models"), "{note}");
        assert!(
            report.table().contains(&format!("\nnote: {note}\n")),
            "{}",
            report.table()
        );
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
        let both = aggregate(&[report.clone(), report.clone()]).unwrap();
        assert_eq!(both.notes, report.notes);
        assert!(both.table().contains(note));
    }
}

#[test]
fn a_perfect_model_has_the_datas_variance_within_types_that_overlap() {
    // Hits are little stronger than misses: single trials of both look alike.
    let strengths = [0.6, 0.4];
    let fixture = Fixture::of_strengths(strengths, 2400);
    let counts = process_of(strengths, 1200, &mut rng(32)).0;
    let conditions = vec![0; 1200];
    let mut inputs = fixture.inputs(&counts, &conditions);
    inputs.settings.n_resamples = 20;
    let context = Context::new(&inputs, &mut rng(33)).unwrap();
    let metrics = dispersion::variance_ratios(&context, &mut rng(33)).unwrap();
    let metric = &metrics[1];
    assert_eq!(metric.name, "feature_variance_ratio_within_type");
    // Sampling deviation 0.017. With the recorded labels for the data's types it is 0.76, with templates over all
    // sessions for model and data 0.78.
    assert!((metric.value - 1.0).abs() < 0.05, "{metric:?}");
    let reference = metric.reference_train_test.unwrap();
    assert!((reference - 1.0).abs() < 0.05, "{metric:?}");
    // hit_fraction_data still counts the recorded labels.
    let fractions = trial_types::fractions(&context, &mut rng(33)).unwrap();
    let labelled = fractions
        .iter()
        .find(|metric| metric.name == "hit_fraction_data")
        .unwrap();
    assert!((labelled.value - 0.8).abs() < 1e-9, "{labelled:?}");
}

#[test]
fn intervals_of_noise_correlations_know_that_pairs_share_neurons() {
    let fixture = Fixture::new();
    // One session, whose neurons share a gain but have unequal rates and so unequal noise correlations.
    let session = fixture.recording.sessions()[0].clone();
    let one = Fixture::of(vec![session], &["Hit", "Miss"]);
    let counts = process(150, &mut rng(34)).0;
    let report = one.evaluate(&counts, 35);
    let found = metric(&report, "noise_correlation_mean_data");
    let pairs = noise_correlations(&one.recording, &one.test, 25).unwrap();
    let values = vec![pairs[0].iter().map(|pair| pair.correlation).collect::<Vec<f64>>()];
    let of_pairs = interval::of_mean(&values, 1000, &mut rng(36)).unwrap();
    let width = |[low, high]: [f64; 2]| high - low;
    assert!(
        width(found.ci95.unwrap()) > 2.0 * width(of_pairs),
        "{found:?} {of_pairs:?}"
    );
    assert!(report.metric("noise_correlation_r").unwrap().ci95.is_some());

    // Two neurons are one pair: there is nothing to resample.
    let session = &fixture.recording.sessions()[0];
    let two = RecordedSession {
        counts: session.counts.slice(s![.., .., ..2]).to_owned(),
        neurons: session.neurons[..2].to_vec(),
        areas: session.areas[..2].to_vec(),
        ..session.clone()
    };
    let report = Fixture::of(vec![two], &["Hit", "Miss"]).evaluate(&counts, 37);
    assert_eq!(metric(&report, "noise_correlation_mean").ci95, None);
}

#[test]
fn neurons_with_few_spikes_are_in_no_psth_metric_whoever_is_compared() {
    let fixture = Fixture::new();
    let (counts, _) = process(150, &mut rng(2));
    let conditions = vec![0; 150];
    let mut inputs = fixture.inputs(&counts, &conditions);
    let spikes = fixture.recording.spikes(&fixture.train).unwrap();
    let mut ordered = spikes.clone();
    ordered.sort_unstable();
    let limit = ordered[N_NEURONS / 4];
    let few: Vec<usize> = (0..N_NEURONS).filter(|n| spikes[*n] < limit).collect();
    assert!(few.len() > 3);
    let all = evaluate(&inputs, &mut rng(3)).unwrap();
    inputs.settings.min_spikes = limit;
    let some = evaluate(&inputs, &mut rng(3)).unwrap();
    for name in ["psth_pearson", "psth_pearson_all_trials", "neuron_loss"] {
        assert_eq!(metric(&all, name).n - metric(&some, name).n, few.len(), "{name}");
        assert_eq!(metric(&some, name).nulls.len(), metric(&all, name).nulls.len());
    }
    let note = format!(
        "{} of {N_NEURONS} neurons have fewer than {limit} spikes in the training trials",
        few.len()
    );
    assert!(some.notes.iter().any(|n| n.starts_with(&note)), "{:?}", some.notes);
    assert_eq!(all.notes, Vec::<String>::new());
    // What the others are compared by doesn't change.
    for name in ["trial_loss", "hit_fraction", "firing_rate_wasserstein"] {
        assert_eq!(metric(&all, name).value, metric(&some, name).value, "{name}");
    }
    // Neurons that are left out change no PSTH metric, of the model or of what stands beside it.
    let mut spoiled = counts.clone();
    for &n in &few {
        spoiled.index_axis_mut(Axis(2), n).fill(0);
    }
    inputs.model.counts = &spoiled;
    let spoiled = evaluate(&inputs, &mut rng(3)).unwrap();
    for name in [
        "psth_pearson",
        "psth_pearson_ref_centered",
        "psth_pearson_all_trials",
        "neuron_loss",
    ] {
        assert_eq!(metric(&some, name), metric(&spoiled, name));
    }
    inputs.settings.min_spikes = u64::MAX;
    let none = evaluate(&inputs, &mut rng(3)).unwrap();
    let reason = |name: &str| none.left_out.iter().find(|m| m.name == name).unwrap().reason.clone();
    assert!(
        reason("psth_pearson").contains("have fewer than"),
        "{}",
        reason("psth_pearson")
    );
    assert!(!reason("neuron_loss").is_empty());
}

#[test]
fn a_note_says_which_averages_of_types_are_estimated() {
    let fixture = Fixture::new();
    let mut sessions = fixture.recording.sessions().to_vec();
    sessions[0].trial_types.fill(0);
    let fixture = Fixture::of(sessions, &["Hit", "Miss"]);
    let report = fixture.evaluate(&process(150, &mut rng(70)).0, 71);
    let expected =
        "1 of 3 sessions have no training trials of some trial type: the averages of their 30 neurons (of 90)";
    assert!(
        report.notes.iter().any(|note| note.starts_with(expected)),
        "{:?}",
        report.notes
    );
    // Its trials have no type but one; the model's are told apart all the same.
    let hits = metric(&report, "hit_fraction");
    assert!((hits.value - 0.8).abs() < 0.1, "{hits:?}");
}

#[test]
fn undefined_metrics_are_left_out_with_their_reason() {
    let mut rng_ = rng(12);
    let counts = process(60, &mut rng_).0;
    let session = RecordedSession {
        presence: None,
        name: "one".to_owned(),
        counts: counts.slice(s![.., .., ..1]).to_owned(),
        valid_bins: vec![N_BINS; 60],
        conditions: vec![0; 60],
        trial_types: vec![0; 60],
        neurons: vec![0],
        areas: vec![0],
        behaviour: None,
    };
    let fixture = Fixture::of(vec![session], &["all"]);
    let report = fixture.evaluate(&process(60, &mut rng_).0, 13);
    let names: Vec<&str> = report.left_out.iter().map(|metric| metric.name.as_str()).collect();
    for name in [
        "trial_matched_pearson",
        "trial_loss",
        "energy_distance",
        "type_fraction",
        "peak_rate_wasserstein",
        "feature_variance_ratio_within_type",
        "noise_correlation_r",
    ] {
        assert!(names.contains(&name), "{name} not in {names:?}");
        assert!(report.metric(name).is_none());
    }
    assert!(report.left_out.iter().all(|metric| !metric.reason.is_empty()));
    assert!(report.metric("psth_pearson").is_some() && report.metric("fano_ratio").is_some());
    assert!(report.table().contains("left out:\n"), "{}", report.table());
}

#[test]
fn the_same_seed_gives_the_same_report_and_it_survives_json() {
    let fixture = Fixture::new();
    let counts = process(60, &mut rng(14)).0;
    let report = fixture.evaluate(&counts, 15);
    assert_eq!(report, fixture.evaluate(&counts, 15));
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    assert!(
        json.starts_with(r#"{"schema":1,"run":"run","split":"test","checkpoint_step":7,"#),
        "{json}"
    );
}

#[test]
fn inputs_that_disagree_are_named() {
    let fixture = Fixture::new();
    let counts = process(20, &mut rng(16)).0;
    let conditions = vec![0; 20];
    let error = |inputs: &EvaluationInputs<'_>| evaluate(inputs, &mut rng(17)).unwrap_err().to_string();
    let good = || fixture.inputs(&counts, &conditions);
    let short = EvaluationInputs {
        model: SimulatedTrials {
            conditions: &conditions[..3],
            ..good().model
        },
        ..good()
    };
    assert_eq!(error(&short), "conditions of the simulated trials is 3, expected 20");
    let no_test = vec![Vec::new(); N_SESSIONS];
    let empty = EvaluationInputs {
        test: &no_test,
        ..good()
    };
    assert!(error(&empty).contains("the test data (0)"), "{}", error(&empty));
    let behaviour = EvaluationInputs {
        has_behaviour: true,
        ..good()
    };
    assert!(error(&behaviour).contains("behaviour of the simulated trials is missing"));
    let other_conditions = vec![1; 20];
    let beyond = EvaluationInputs {
        model: SimulatedTrials {
            conditions: &other_conditions,
            ..good().model
        },
        ..good()
    };
    assert_eq!(
        error(&beyond),
        "highest condition of the simulated trials is 1, expected 0"
    );
}

#[test]
fn aggregates_have_the_moments_of_their_runs() {
    let report = |run: &str, values: &[(&str, f64)]| Report {
        schema: SCHEMA,
        run: run.to_owned(),
        split: "test".to_owned(),
        checkpoint_step: 1,
        model_trials: 10,
        trials: Vec::new(),
        metrics: values
            .iter()
            .map(|(name, value)| MetricValue::new(*name, *value, 5, "1"))
            .collect(),
        left_out: Vec::new(),
        notes: Vec::new(),
        feature_variance: Vec::new(),
        variance_over_time: Vec::new(),
        few_spikes: Vec::new(),
        findings: Vec::new(),
    };
    let reports = [
        report("a", &[("psth_pearson", 0.5), ("trial_loss", 1.0)]),
        report("b", &[("psth_pearson", 0.6)]),
        report("c", &[("psth_pearson", 0.7), ("trial_loss", 3.0)]),
    ];
    let all = aggregate(&reports).unwrap();
    let psth = &all.metrics[0];
    assert!((psth.mean - 0.6).abs() < 1e-12 && (psth.sd.unwrap() - 0.1).abs() < 1e-12);
    assert_eq!(psth.range, [0.5, 0.7]);
    assert_eq!(all.metrics[1].values, [Some(1.0), None, Some(3.0)]);
    assert_eq!(all.left_out[0].reason, "not defined in b");
    assert!(
        all.table().contains("psth_pearson  0.600  0.100  0.500 … 0.700"),
        "{}",
        all.table()
    );
    let mut other = report("d", &[]);
    other.split = "validation".to_owned();
    assert!(matches!(
        aggregate(&[reports[0].clone(), other]),
        Err(EvaluateError::Mixed { .. })
    ));
    assert!(aggregate(&[]).is_err());
}

/// Conditions 0 and 1 in turn, behaviour that says which trials are hits (not recorded in session 1), and some
/// trials that end early.
fn with_conditions_and_behaviour() -> Fixture {
    let mut rng = rng(18);
    let sessions = (0..N_SESSIONS).map(|s| {
        let (counts, types) = process(160, &mut rng);
        let neurons: Vec<usize> = (s * 2 * PER_AREA..(s + 1) * 2 * PER_AREA).collect();
        let behaviour = behaviour(&types);
        RecordedSession {
            presence: None,
            name: format!("session{s}"),
            counts: counts.select(Axis(2), &neurons),
            valid_bins: (0..160)
                .map(|k| if k % 40 == 3 { N_BINS - 20 } else { N_BINS })
                .collect(),
            conditions: (0..160).map(|k| k % 2).collect(),
            trial_types: types,
            areas: neurons.iter().map(|n| n / PER_AREA % 2).collect(),
            neurons,
            behaviour: (s != 1).then_some(behaviour),
        }
    });
    let sessions: Vec<RecordedSession> = sessions.collect();
    let mut fixture = Fixture::of(
        sessions
            .iter()
            .map(|session| RecordedSession {
                conditions: vec![0; 160],
                ..session.clone()
            })
            .collect(),
        &["Hit", "Miss"],
    );
    let areas = fixture.recording.area_names().to_vec();
    fixture.recording = Recording::new(sessions, areas, N_NEURONS, 2).unwrap();
    fixture
}

fn behaviour(types: &[usize]) -> Array3<f64> {
    Array3::from_shape_fn((types.len(), N_BINS, 1), |(k, t, _)| {
        if types[k] == 0 && t > 40 { 1.0 } else { 0.0 }
    })
}

#[test]
fn conditions_behaviour_and_unequal_trials_are_compared_like_with_like() {
    let fixture = with_conditions_and_behaviour();
    let (counts, types) = process(120, &mut rng(19));
    let behaviour = behaviour(&types);
    // The model shows condition 1 in a quarter of its trials only.
    let conditions: Vec<usize> = (0..120).map(|k| usize::from(k % 4 == 3)).collect();
    let inputs = EvaluationInputs {
        has_behaviour: true,
        model: SimulatedTrials {
            counts: &counts,
            conditions: &conditions,
            behaviour: Some(&behaviour),
            valid_bins: None,
        },
        ..fixture.inputs(&counts, &conditions)
    };
    let context = Context::new(&inputs, &mut rng(20)).unwrap();
    let nulls = context.nulls.iter().map(|(_, null)| null);
    for stand_in in nulls.chain([&context.model, &context.train]) {
        for (session, trials) in stand_in.recording.sessions().iter().zip(&stand_in.compared) {
            let of_condition = |c: usize| trials.iter().filter(|&&k| session.conditions[k] == c).count();
            // 120 training trials, 60 per condition; the three that end early have odd numbers, condition 1.
            assert_eq!((of_condition(0), of_condition(1)), (60, 30));
            assert!(trials.iter().all(|&k| session.valid_bins[k] == N_BINS));
        }
    }
    let report = evaluate(&inputs, &mut rng(20)).unwrap();
    let is_active = |m: &LeftOutMetric| m.name.starts_with("active_");
    assert!(report.left_out.iter().all(is_active), "{:?}", report.left_out);
    // Behaviour tells hits from misses without error.
    assert_eq!(
        model_trial_types(&inputs, &mut rng(21)).unwrap().unwrap(),
        types.iter().map(|&y| Some(y)).collect::<Vec<_>>()
    );
    assert!((metric(&report, "hit_fraction").value - 0.8).abs() < 1e-9);
    let ratio = metric(&report, "feature_variance_ratio").value;
    assert!((0.7..1.3).contains(&ratio), "{ratio}");
}

/// Traces of trials of these types: 3 + noise, which rises by 4 from bin 60 in hits.
fn jaw(types: &[usize], rng: &mut dyn Rng) -> Array3<f64> {
    Array3::from_shape_fn((types.len(), N_BINS, 1), |(k, t, _)| {
        let lick = if types[k] == 0 && t >= 60 { 4.0 } else { 0.0 };
        3.0 + lick + 0.1 * rng.random::<f64>()
    })
}

#[test]
fn behaviour_tells_types() {
    let fixture = Fixture::new();
    let mut rng = rng(9);
    let mut sessions = fixture.recording.sessions().to_vec();
    // The last session has no camera.
    for session in &mut sessions[..2] {
        session.behaviour = Some(jaw(&session.trial_types, &mut rng));
    }
    let recording = Recording::new(sessions, fixture.recording.area_names().to_vec(), N_NEURONS, 1).unwrap();
    // A model with fewer hits than the recording.
    let types: Vec<usize> = (0..150).map(|k| usize::from(k % 5 >= 3)).collect();
    let mut counts = Array3::zeros((150, N_BINS, N_NEURONS));
    for (mut row, y) in counts.outer_iter_mut().zip(&types) {
        row.assign(&trial([1.0, 0.0][*y], &mut rng));
    }
    let behaviour = jaw(&types, &mut rng);
    let conditions = vec![0; 150];
    let mut inputs = fixture.inputs(&counts, &conditions);
    inputs.recording = &recording;
    inputs.has_behaviour = true;
    inputs.model.behaviour = Some(&behaviour);
    inputs.settings.times = TaskTimes {
        start_ms: -40.0,
        cue_ms: 80.0,
        delay_ms: Some([0.0, 80.0]),
    };
    let report = evaluate(&inputs, &mut rng).unwrap();
    let value = |name: &str| metric(&report, name).value;
    assert_eq!(value("lick_classifier_accuracy"), 1.0);
    for name in ["type_fraction_classifier", "type_fraction_threshold"] {
        assert!((value(&format!("{name}/Hit")) - 0.6).abs() < 1e-9, "{name}");
        assert!((value(&format!("{name}/Miss")) - 0.4).abs() < 1e-9, "{name}");
    }
    let reference = |name: &str| metric(&report, name).reference_train_test;
    let by_threshold = reference("type_fraction_threshold/Hit").unwrap();
    assert!((by_threshold - 0.8).abs() < 0.01, "{by_threshold}");
    // The network was trained on the trials of a reference.
    assert_eq!(reference("type_fraction_classifier/Hit"), None);
    let threshold = value("lick_threshold");
    assert!((3.3..7.1).contains(&threshold), "{threshold}");
}

#[test]
fn modes_of_sessions_are_those_of_the_recording_for_the_recorded_process() {
    // Types far enough apart to be found without labels in each session's few neurons.
    let strengths = [3.0, 0.0];
    let fixture = Fixture::of_strengths(strengths, 160);
    let report = fixture.evaluate(&process_of(strengths, 150, &mut rng(4)).0, 5);
    for (name, expected) in [("mode_fraction/Hit", 0.8), ("mode_fraction/Miss", 0.2)] {
        let metric = metric(&report, name);
        assert!((metric.value - expected).abs() < 0.05, "{metric:?}");
        assert!(
            (metric.reference_train_test.unwrap() - expected).abs() < 0.05,
            "{metric:?}"
        );
    }
    let silhouette = metric(&report, "mode_silhouette");
    let reference = silhouette.reference_train_test.unwrap();
    assert!((silhouette.value - reference).abs() < 0.03, "{silhouette:?}");
    assert!(silhouette.nulls["trial_shuffled"] < 0.6 * reference, "{silhouette:?}");
}

#[test]
fn modes_are_the_types_and_templates_lie_among_their_trials() {
    let fixture = Fixture::new();
    let (counts, types) = process(150, &mut rng(2));
    let conditions = vec![0; 150];
    let modes = modes(&fixture.inputs(&counts, &conditions), &mut rng(3))
        .unwrap()
        .unwrap();
    let right = modes
        .trials
        .iter()
        .zip(&types)
        .filter(|(t, y)| t.by_cluster == **y)
        .count();
    assert!(right >= 140, "{right} of 150");
    assert!(modes.silhouette > 0.2, "{}", modes.silhouette);
    for is_umap in [true, false] {
        let place = |trial: &ModeTrial| if is_umap { trial.umap } else { trial.pca };
        let of = |template: &ModeTemplate| if is_umap { template.umap } else { template.pca };
        for template in &modes.templates {
            let at = of(template);
            let distance = |trial: &ModeTrial| (place(trial)[0] - at[0]).hypot(place(trial)[1] - at[1]);
            let mut order: Vec<usize> = (0..150).collect();
            order.sort_by(|&a, &b| distance(&modes.trials[a]).total_cmp(&distance(&modes.trials[b])));
            let own = order[..10].iter().filter(|&&k| types[k] == template.trial_type).count();
            assert!(own >= 8, "{own} of 10 trials next to template {}", template.trial_type);
        }
    }
}

/// Recorded trials of both areas with a camera, hits in 4 of 5 trials, the stimulus 0 or 1 in turn.
fn watched() -> Fixture {
    let mut fixture = with_conditions_and_behaviour();
    let mut sessions = fixture.recording.sessions().to_vec();
    let mut rng = rng(31);
    for session in &mut sessions {
        session.behaviour = Some(jaw(&session.trial_types, &mut rng));
    }
    let areas = fixture.recording.area_names().to_vec();
    fixture.recording = Recording::new(sessions, areas, N_NEURONS, 2).unwrap();
    fixture
}

/// Trials of the process in which half of the trials are hits: the second area responds less, and the jaw.
fn fewer_hits(n_trials: usize, rng: &mut dyn Rng) -> (Array3<u8>, Array3<f64>) {
    let types: Vec<usize> = (0..n_trials).map(|k| k / 4 % 2).collect();
    let mut counts = Array3::zeros((n_trials, N_BINS, N_NEURONS));
    for (mut row, y) in counts.outer_iter_mut().zip(&types) {
        row.assign(&trial([1.0, 0.0][*y], rng));
    }
    let traces = jaw(&types, rng);
    (counts, traces)
}

/// The recorded perturbation: as [`fewer_hits`], of the sessions that the fixture has.
fn recorded_perturbation(fixture: &Fixture, n_trials: usize) -> Vec<Result<RecordedSession, String>> {
    let mut rng = rng(32);
    let of_session = |session: &RecordedSession| {
        let (counts, traces) = fewer_hits(n_trials, &mut rng);
        RecordedSession {
            counts: counts.select(Axis(2), &session.neurons),
            valid_bins: vec![N_BINS; n_trials],
            // Three quarters with stimulus 1.
            conditions: (0..n_trials).map(|k| usize::from(k % 4 != 3)).collect(),
            trial_types: vec![0; n_trials],
            behaviour: Some(traces),
            ..session.clone()
        }
    };
    fixture.recording.sessions().iter().map(of_session).map(Ok).collect()
}

/// Compares the perturbation that makes [`fewer_hits`] in the model with a recorded one.
fn compared(
    fixture: &Fixture,
    sessions: &[Result<RecordedSession, String>],
) -> Result<PerturbationReport, EvaluateError> {
    let mut rng = rng(33);
    let (counts, types) = process(200, &mut rng);
    let behaviour = jaw(&types, &mut rng);
    let (perturbed, moved) = fewer_hits(200, &mut rng);
    // Stimulus 1 in a quarter of the trials, in other proportions than in both recordings.
    let conditions: Vec<usize> = (0..200).map(|k| usize::from(k / 5 % 4 == 3)).collect();
    let model = [(&counts, Some(&behaviour)), (&perturbed, Some(&moved))];
    compare_with(
        fixture,
        model.map(|(counts, behaviour)| SimulatedTrials {
            counts,
            conditions: &conditions,
            behaviour,
            valid_bins: None,
        }),
        sessions,
    )
}

/// Compares unperturbed and perturbed trials of a model, and these with recorded ones.
fn compare_with(
    fixture: &Fixture,
    [model, perturbed]: [SimulatedTrials<'_>; 2],
    sessions: &[Result<RecordedSession, String>],
) -> Result<PerturbationReport, EvaluateError> {
    let mut evaluation = fixture.inputs(model.counts, model.conditions);
    evaluation.has_behaviour = model.behaviour.is_some();
    evaluation.model = model;
    evaluation.settings.times = TaskTimes {
        start_ms: -40.0,
        cue_ms: 80.0,
        delay_ms: None,
    };
    let ids: Vec<String> = (0..N_NEURONS).map(|n| n.to_string()).collect();
    let described = crate::perturbation::Described {
        effect: "silence".to_owned(),
        selections: Vec::new(),
        removed: Some("both".to_owned()),
        strength: None,
        light_share: None,
        window_ms: [0.0, 160.0],
        neurons: ids[..5].to_vec(),
        populations: std::collections::BTreeMap::new(),
    };
    let traces = model.behaviour.map_or(Vec::new(), |_| vec!["jaw".to_owned()]);
    let inputs = PerturbationInputs {
        evaluation,
        perturbed,
        perturbations: &[described],
        window: 20..N_BINS,
        start_ms: -40.0,
        ids: &ids,
        populations: (0..N_NEURONS)
            .map(|n| format!("area{}", n / PER_AREA % 2 + 1))
            .collect(),
        traces: &traces,
        against: Some(AgainstInputs {
            files: vec!["p.h5".to_owned()],
            sessions,
        }),
    };
    compare(&inputs, &mut rng(34))
}

#[test]
fn types_by_other_neurons_do_not_see_the_spikes_of_the_perturbed_ones() {
    let fixture = Fixture::new();
    let (counts, _) = process(100, &mut rng(51));
    // Only what the perturbation itself does to its neurons: nothing follows from it.
    let mut driven = counts.clone();
    driven.slice_mut(s![.., 20.., ..5]).fill(9);
    let conditions = vec![0; 100];
    let trials = [&counts, &driven].map(|counts| SimulatedTrials {
        counts,
        conditions: &conditions,
        behaviour: None,
        valid_bins: None,
    });
    // The recorded perturbation likewise.
    let mut others = fixture.recording.sessions().to_vec();
    others[0].counts.slice_mut(s![.., 20.., ..5]).fill(9);
    let others: Vec<_> = others.into_iter().map(Ok).collect();
    let found = compare_with(&fixture, trials, &others).unwrap();
    let against = found.against.as_ref().unwrap();
    assert_eq!(against.paired_sessions, 3);
    for (by, is_seen) in [("template", true), ("template of other neurons", false)] {
        let of_rule = against
            .type_fractions
            .iter()
            .filter(|found| found.by.as_deref() == Some(by));
        let changes: Vec<[f64; 2]> = of_rule.map(|found| [found.predicted, found.recorded]).collect();
        assert_eq!(changes.len(), 2);
        for change in changes.concat() {
            assert!(
                if is_seen { change.abs() > 0.05 } else { change == 0.0 },
                "{by}: {change}"
            );
        }
    }
    let deltas = |by: &str| -> Vec<f64> {
        let of_rule = found
            .type_fractions
            .iter()
            .filter(|change| change.by.as_deref() == Some(by));
        of_rule.map(|change| change.delta).collect()
    };
    let (all, rest) = (deltas("template"), deltas("template of other neurons"));
    assert!(all.len() == 2 && all.iter().all(|delta| delta.abs() > 0.05), "{all:?}");
    assert_eq!(rest, [0.0; 2]);
    assert!(
        found
            .left_out
            .iter()
            .any(|left_out| left_out.name == "type_fractions by threshold")
    );
}

/// Independent Poisson trials of all neurons; perturbed, each has a rate of its own from 0.8 to 1.2 times the other.
fn poisson(n_trials: usize, is_perturbed: bool, rng: &mut dyn Rng) -> Array3<u8> {
    Array3::from_shape_fn((n_trials, N_BINS, N_NEURONS), |(_, _, n)| {
        let factor = if is_perturbed {
            0.8 + 0.1 * (n * 7 % 5) as f64
        } else {
            1.0
        };
        Poisson::new(0.02 * factor).map_or(0, |p| p.sample(rng) as u8)
    })
}

#[test]
fn the_ceiling_is_what_a_prediction_without_error_reaches() {
    let mut rng = rng(41);
    // So many trials that the prediction is nearly without error.
    let counts = [false, true].map(|is_perturbed| poisson(3000, is_perturbed, &mut rng));
    let conditions = vec![0; 3000];
    let model = counts.each_ref().map(|counts| SimulatedTrials {
        counts,
        conditions: &conditions,
        behaviour: None,
        valid_bins: None,
    });
    let mut fixture = Fixture::new();
    let (areas, own) = (
        fixture.recording.area_names().to_vec(),
        fixture.recording.sessions().to_vec(),
    );
    let of = |session: &RecordedSession, counts: Array3<u8>| RecordedSession {
        valid_bins: vec![N_BINS; counts.dim().0],
        conditions: vec![0; counts.dim().0],
        trial_types: session.trial_types[..counts.dim().0].to_vec(),
        counts,
        ..session.clone()
    };
    let recorded = |is_perturbed: bool, n_trials: usize, rng: &mut dyn Rng| -> Vec<RecordedSession> {
        let of_session = |session: &RecordedSession| {
            of(
                session,
                poisson(n_trials, is_perturbed, rng).select(Axis(2), &session.neurons),
            )
        };
        own.iter().map(of_session).collect()
    };
    fixture.recording = Recording::new(recorded(false, 160, &mut rng), areas.clone(), N_NEURONS, 1).unwrap();
    let found = |fixture: &Fixture, others: Vec<RecordedSession>| {
        let others: Vec<Result<RecordedSession, String>> = others.into_iter().map(Ok).collect();
        compare_with(fixture, model, &others).unwrap().against.unwrap()
    };
    // Equal numbers of trials alone are no twins.
    for n_trials in [160, 150] {
        let against = found(&fixture, recorded(true, n_trials, &mut rng));
        assert_eq!((against.paired_sessions, against.baseline_trials), (0, 3 * 40));
        let of_all = &against.periods[0].correlations[0];
        let ceiling = of_all.ceiling_noiseless.unwrap();
        assert!((0.3..0.95).contains(&ceiling), "{of_all:?}");
        assert!((of_all.pearson - ceiling).abs() < 0.15, "{of_all:?}");
        assert!(of_all.null_rate.unwrap() < 0.35, "{of_all:?}");
        let left_out: Vec<&str> = against.left_out.iter().map(|left_out| left_out.name.as_str()).collect();
        assert_eq!(left_out, ["type_fractions by threshold"]);
    }
    // Twins that have lost some of their spikes: their difference has little noise, unless they are torn apart.
    let twins = |n_trials: usize, rng: &mut dyn Rng| -> Vec<RecordedSession> {
        let thin = |session: &RecordedSession| {
            let mut counts = session.counts.slice(s![..n_trials, .., ..]).to_owned();
            for ((_, t, n), count) in counts.indexed_iter_mut() {
                if t < 20 {
                    continue;
                }
                let lost = (0..*count).filter(|_| rng.random_bool(0.1 * (n % 4) as f64)).count();
                *count -= lost as u8;
            }
            of(session, counts)
        };
        fixture.recording.sessions().iter().map(thin).collect()
    };
    let ceilings = [(160, 3), (150, 0)].map(|(n_trials, n_paired)| {
        let against = found(&fixture, twins(n_trials, &mut rng));
        assert_eq!(against.paired_sessions, n_paired);
        against.periods[0].correlations[0].ceiling_noiseless.unwrap()
    });
    assert!(ceilings[0] > 0.8 && ceilings[1] < ceilings[0] - 0.1, "{ceilings:?}");
}

#[test]
fn a_perturbation_that_is_predicted_rightly_agrees_with_the_recorded_one() {
    let fixture = watched();
    let others = recorded_perturbation(&fixture, 120);
    let report = compared(&fixture, &others).unwrap();
    let against = report.against.as_ref().unwrap();
    // Of the 40 recorded trials of a session that aren't for training one ends early.
    let numbers = (against.sessions, against.baseline_trials, against.perturbed_trials);
    assert_eq!((numbers, against.paired_sessions), ((3, 3 * 39, 3 * 120), 0));
    let names: Vec<&str> = against.periods.iter().map(|period| period.name.as_str()).collect();
    assert_eq!(names, ["window", "trial"]);
    let [all, others_alone] = [0, 1].map(|i| &against.periods[0].correlations[i]);
    assert_eq!((all.neurons.as_str(), all.n), ("all", N_NEURONS));
    assert_eq!(
        (others_alone.neurons.as_str(), others_alone.n),
        ("not perturbed", N_NEURONS - 5)
    );
    for found in [all, others_alone] {
        // The ceiling is too low here: both halves of the trials have other shares of hits than the whole, always the same.
        let ceiling = found.ceiling_noiseless.unwrap();
        assert!(found.pearson > 0.7 && (0.4..=1.0).contains(&ceiling), "{found:?}");
        assert!(
            found.ci95[0] < found.pearson && found.pearson < found.ci95[1],
            "{found:?}"
        );
        assert!(found.null_rate.unwrap() < found.pearson - 0.1, "{found:?}");
    }
    // By hand: stimulus 0 has three quarters of the weight; trials that end early count nowhere.
    let mut expected = 0.0;
    for (own, other) in fixture.recording.sessions().iter().zip(&others) {
        let other = other.as_ref().unwrap();
        let mean_of = |session: &RecordedSession, condition: usize| {
            // The recording has 120 training trials.
            let first = if session.conditions.len() == 160 { 120 } else { 0 };
            let rows: Vec<usize> = (first..session.conditions.len())
                .filter(|&k| session.conditions[k] == condition && session.valid_bins[k] == N_BINS)
                .collect();
            let part = session.counts.select(Axis(0), &rows);
            let part = part.slice(s![.., 20.., PER_AREA..]).mapv(f64::from);
            part.mean().unwrap() / (BIN_MS / 1000.0)
        };
        for (condition, weight) in [(0, 0.75), (1, 0.25)] {
            expected += weight * (mean_of(other, condition) - mean_of(own, condition)) / 3.0;
        }
    }
    let area2 = &against.periods[0].rates_hz[1];
    assert_eq!(area2.name, "area2");
    assert!((area2.recorded - expected).abs() < 1e-9, "{area2:?} {expected}");
    assert!(
        area2.recorded < -0.5 && (area2.error / area2.recorded).abs() < 0.3,
        "{area2:?}"
    );
    assert!(area2.recorded_ci95[0] < area2.recorded && area2.recorded < area2.recorded_ci95[1]);
    let area1 = &against.periods[0].rates_hz[0];
    assert!(area1.recorded.abs() < 0.3 * area2.recorded.abs(), "{area1:?}");
    // The jaw rises by 4 in hits, from bin 60 of 100.
    let jaw = &against.periods[1].behaviour[0];
    assert!(
        (jaw.predicted + 0.3 * 4.0 * 0.4).abs() < 0.05 && (jaw.error).abs() < 0.1,
        "{jaw:?}"
    );
    // Hits: 80 % without, half of the trials with the perturbation, whatever the stimulus.
    for by in ["template", "template of other neurons", "threshold"] {
        let is = |found: &&Predicted| found.name == "Hit" && found.by.as_deref() == Some(by);
        let hits = against.type_fractions.iter().find(is).unwrap();
        assert!(
            (hits.predicted + 0.3).abs() < 0.02 && (hits.recorded + 0.3).abs() < 0.02,
            "{hits:?}"
        );
        assert!((hits.predicted - hits.recorded - hits.error).abs() < 1e-12);
    }
    assert!(against.left_out.is_empty(), "{:?}", against.left_out);
    let neuron = &against.periods[0].neurons[PER_AREA];
    assert_eq!((neuron.id.as_str(), neuron.is_perturbed), ("15", false));
    let table = report.table();
    assert!(
        table.contains("against p.h5: 3 sessions (0 paired)") && table.contains("Hit by threshold"),
        "{table}"
    );
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<PerturbationReport>(&json).unwrap(), report);
}

#[test]
fn a_perturbation_that_changed_nothing_is_told_from_the_predicted_one() {
    let fixture = watched();
    // The recorded trials once more, as if they were of the perturbation: paired, and the same.
    let same: Vec<Result<RecordedSession, String>> = fixture.recording.sessions().iter().cloned().map(Ok).collect();
    let report = compared(&fixture, &same).unwrap();
    let against = report.against.unwrap();
    assert!(
        against.periods[0].correlations.is_empty(),
        "a constant has no correlation"
    );
    assert_eq!(against.paired_sessions, 3);
    let reason = "correlation of all neurons, window";
    assert!(
        against.left_out.iter().any(|left_out| left_out.name == reason),
        "{:?}",
        against.left_out
    );
    for found in &against.periods[0].rates_hz {
        assert_eq!((found.recorded, found.error), (0.0, found.predicted));
    }
    // One session only, with one stimulus.
    let mut one = recorded_perturbation(&fixture, 60);
    one[0] = Err("no such session".to_owned());
    one[2] = Err("no such session".to_owned());
    if let Ok(session) = &mut one[1] {
        session.conditions = vec![1; 60];
    }
    let against = compared(&fixture, &one).unwrap().against.unwrap();
    assert_eq!((against.sessions, against.perturbed_trials), (1, 60));
    let is_told = |name: &str| {
        against
            .left_out
            .iter()
            .any(|l| l.name == name && l.reason == "no such session")
    };
    assert!(
        is_told("session session0") && is_told("session session2"),
        "{:?}",
        against.left_out
    );
    // A stimulus with a single trial can't be halved.
    let mut lone = recorded_perturbation(&fixture, 60);
    for session in lone.iter_mut().flatten() {
        session.conditions = (0..60).map(|k| usize::from(k == 7)).collect();
    }
    let report = compared(&fixture, &lone).unwrap();
    let found = &report.against.as_ref().unwrap().periods[0].correlations[0];
    assert_eq!(found.ceiling_noiseless, None);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<PerturbationReport>(&json).unwrap(), report);
    assert_eq!(against.periods[0].neurons.len(), N_NEURONS / 3);
}

#[test]
fn recorded_perturbations_that_dont_fit_are_refused() {
    let fixture = watched();
    let refused = |sessions: &[Result<RecordedSession, String>], what: &str| {
        let error = compared(&fixture, sessions).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    let recorded = recorded_perturbation(&fixture, 20);
    refused(&recorded[..2], "sessions of the recorded perturbation is 2, expected 3");
    let none = [(); 3].map(|()| Err("no such session".to_owned()));
    refused(
        &none,
        "p.h5: no session can be compared; session session0: no such session; session session1",
    );
    let mut other = recorded.clone();
    if let Ok(session) = &mut other[0] {
        session.neurons.swap(0, 1);
    }
    refused(&other, "in the same order");
}
