//! Agreement with values computed by the published program (trial-matching RSNN, commit 7a92fe0).

mod common;

use common::{Oracle, assert_close};
use losses::gradient_split::{GradientSplitter, SPLITTER_BETA};
use losses::metrics::{PEARSON_EPS, pearson, pearson_ref_centered, trial_matched_correlation};
use losses::psth::{ConditionWeights, PsthLoss};
use losses::sinkhorn::{Clouds, Sinkhorn};
use losses::statistics::{
    DataFeatures, FeatureOptions, Filters, MovingMean, PSTH_STD_FLOOR, Populations, Psth, RecordedFeatures,
    RecordedSession, Recording,
};
use losses::trial_loss::{Method, TrialLoss, trial_loss};
use losses::trial_matching::{Candidates, TrialSubset, match_features, match_session};
use ndarray::{Array2, Array3, Array4, ArrayView2, Axis, Ix2, Ix4, Ix5, s};

/// f64 against f64, other order of summation.
const TOLERANCE: f64 = 1e-11;

/// The recording of `losses.h5`: two sessions that share 48 model neurons.
fn recording(oracle: &Oracle) -> Recording {
    let spikes = oracle.trials("data_spikes"); // [K, T, N], NaN in padding trials
    let jaw = oracle.trials("data_jaw"); // [K, T, sessions]
    let (session_of, areas) = (oracle.indices("session_index"), oracle.indices("area_index"));
    let n_bins = spikes.len_of(Axis(1));
    let sessions = oracle
        .indices("trials_per_session")
        .into_iter()
        .enumerate()
        .map(|(session, n_trials)| {
            let neurons: Vec<usize> = (0..session_of.len()).filter(|&n| session_of[n] == session).collect();
            let behaviour = jaw.slice(s![..n_trials, .., session..=session]).to_owned();
            RecordedSession {
                presence: None,
                name: format!("s{session}"),
                counts: spikes
                    .slice(s![..n_trials, .., ..])
                    .select(Axis(2), &neurons)
                    .mapv(|count| count as u8),
                valid_bins: vec![n_bins; n_trials],
                conditions: vec![0; n_trials],
                trial_types: vec![0; n_trials],
                areas: neurons.iter().map(|&n| areas[n]).collect(),
                neurons,
                behaviour: Some(behaviour),
            }
        })
        .collect();
    let names = vec!["0".to_owned(), "1".to_owned()];
    Recording::new(sessions, names, session_of.len(), 1).unwrap()
}

fn filters(oracle: &Oracle) -> Filters {
    let n_bins = oracle.trials("model_spikes").len_of(Axis(1));
    let filter = |i: u8| {
        MovingMean::new(
            oracle.scalar(&format!("kernel{i}")) as usize,
            oracle.scalar(&format!("stride{i}")) as usize,
            oracle.scalar(&format!("pad{i}")) as usize,
        )
        .unwrap()
    };
    let filters = Filters::new(n_bins, filter(1), filter(2)).unwrap();
    assert_eq!(filters.spike(), MovingMean::of_width(12.0, 2.0).unwrap());
    assert_eq!(filter(2), MovingMean::resampling(4).unwrap());
    filters
}

struct Matching {
    recording: Recording,
    populations: Populations,
    filters: Filters,
    data: DataFeatures,
}

fn matching(oracle: &Oracle, has_behaviour: bool) -> Matching {
    let (recording, filters) = (recording(oracle), filters(oracle));
    let populations = Populations::by_area(&recording, 10).unwrap();
    let options = FeatureOptions {
        has_behaviour,
        ..FeatureOptions::default()
    };
    let data = RecordedFeatures::new(&recording, &populations, &filters, options)
        .unwrap()
        .normalized(&recording.all_trials())
        .unwrap();
    Matching {
        recording,
        populations,
        filters,
        data,
    }
}

/// Mean spikes of each population `[K, T, G]`.
fn traces(spikes: &Array3<f64>, populations: &Populations) -> Array3<f64> {
    let means: Vec<Array2<f64>> = populations
        .neurons()
        .iter()
        .map(|neurons| spikes.select(Axis(2), neurons).mean_axis(Axis(2)).unwrap())
        .collect();
    let views: Vec<ArrayView2<'_, f64>> = means.iter().map(|mean| mean.view()).collect();
    ndarray::stack(Axis(2), &views).unwrap()
}

/// Gradient at the spikes `[K, T, N]` from that at the population traces.
fn d_spikes(d_traces: &Array3<f64>, populations: &Populations, n_neurons: usize) -> Array3<f64> {
    let (n_trials, n_bins, _) = d_traces.dim();
    let mut d = Array3::zeros((n_trials, n_bins, n_neurons));
    for (g, neurons) in populations.neurons().iter().enumerate() {
        for &n in neurons {
            let mut column = d.index_axis_mut(Axis(2), n);
            column.scaled_add(1.0 / neurons.len() as f64, &d_traces.index_axis(Axis(2), g));
        }
    }
    d
}

/// Candidates of each session, model trials of one condition.
fn candidates(oracle: &Oracle, m: &Matching, subset: fn() -> TrialSubset<'static>) -> Vec<Vec<Candidates>> {
    let model_conditions = vec![0; oracle.trials("model_spikes").len_of(Axis(0))];
    let sessions = m.data.sessions.iter();
    sessions
        .map(|session| subset().candidates(&model_conditions, &session.conditions))
        .collect()
}

fn loss(oracle: &Oracle, m: &Matching, method: &Method, has_behaviour: bool) -> TrialLoss {
    let jaw = oracle.trials("model_jaw");
    let traces = traces(&oracle.trials("model_spikes"), &m.populations);
    let behaviour = has_behaviour.then(|| jaw.view());
    let candidates = candidates(
        oracle,
        m,
        if method.is_one_to_one() {
            || TrialSubset::FirstN
        } else {
            || TrialSubset::All
        },
    );
    trial_loss(
        method,
        &m.data,
        &m.filters,
        &traces.view(),
        behaviour.as_ref(),
        &candidates,
    )
    .unwrap()
}

#[test]
fn filters_reproduce_the_published_program() {
    let Some(oracle) = Oracle::open("losses.h5") else {
        return;
    };
    let filters = filters(&oracle);
    for (input, first, second) in [
        ("model_spikes", Some("filt1_model"), "filt2_model"),
        ("data_spikes", Some("filt1_data"), "filt2_data"),
        ("model_jaw", None, "filt2_model_jaw"),
        ("data_jaw", None, "filt2_data_jaw"),
    ] {
        let x = oracle.trials(input);
        if let Some(first) = first {
            let y = filters.spike().apply(&x.view(), Axis(1));
            assert_close(&y.view(), &oracle.trials(first).view(), TOLERANCE, 1e-14);
        }
        let y = filters.features(&x.view());
        assert_close(&y.view(), &oracle.trials(second).view(), TOLERANCE, 1e-14);
    }
}

#[test]
fn neuron_loss_and_gradient_reproduce_the_published_program() {
    let Some(oracle) = Oracle::open("losses.h5") else {
        return;
    };
    let (recording, filters) = (recording(&oracle), filters(&oracle));
    let data = Psth::of_recording(&recording, &recording.all_trials(), filters.spike()).unwrap();
    let scale = data.scale(PSTH_STD_FLOOR);
    for weights in [ConditionWeights::TrialShare, ConditionWeights::Equal] {
        let (data, scale) = (data.clone(), scale.clone());
        let loss = PsthLoss::new(data, scale, weights, filters.spike(), 100).unwrap();
        let spikes = oracle.trials("model_spikes");
        let sums = spikes.sum_axis(Axis(0)).insert_axis(Axis(0));
        let result = loss.evaluate(&sums.view(), &[spikes.len_of(Axis(0))]).unwrap();
        assert!((result.value - oracle.scalar("neuron_loss")).abs() < TOLERANCE);
        let expected = oracle.trials("grad_neuron_loss_model_spikes");
        let found = result.d_sums.broadcast(expected.raw_dim()).unwrap();
        assert_close(&found, &expected.view(), TOLERANCE, 1e-16);
    }
}

#[test]
fn trial_features_reproduce_the_published_program() {
    let Some(oracle) = Oracle::open("losses.h5") else {
        return;
    };
    let m = matching(&oracle, true);
    assert_eq!(m.populations.left_out.len(), 1);
    assert_eq!(
        m.populations.left_out[0].to_string(),
        "session 's1', 1: 8 neurons, fewer than min_neurons_per_area = 10"
    );
    let population = m
        .filters
        .features(&traces(&oracle.trials("model_spikes"), &m.populations).view());
    let jaw = m.filters.features(&oracle.trials("model_jaw").view());
    for (s, session) in m.data.sessions.iter().enumerate() {
        let two = |name: String| oracle.array(&name).into_dimensionality::<Ix2>().unwrap();
        let expected = two(format!("features_data_s{s}"));
        assert_close(&session.features.view(), &expected.view(), TOLERANCE, 1e-12);
        let model = session.of_model(&population.view(), Some(&jaw)).unwrap();
        let expected = two(format!("features_model_s{s}"));
        assert_close(&model.view(), &expected.view(), TOLERANCE, 1e-12);
    }
}

#[test]
fn trial_losses_and_gradients_reproduce_the_published_program() {
    let Some(oracle) = Oracle::open("losses.h5") else {
        return;
    };
    let methods = [("hard", Method::Hard), ("soft", Method::Sinkhorn(Sinkhorn::PUBLISHED))];
    for (method_name, method) in methods {
        for (suffix, has_behaviour) in [("no_jaw", false), ("with_jaw", true)] {
            let m = matching(&oracle, has_behaviour);
            let result = loss(&oracle, &m, &method, has_behaviour);
            let name = format!("{method_name}_trial_loss_{suffix}");
            let expected = oracle.scalar(&name);
            assert!(
                (result.value - expected).abs() < TOLERANCE,
                "{name}: {}",
                result.value - expected
            );
            let found = d_spikes(&result.d_traces, &m.populations, m.recording.n_neurons());
            let expected = oracle.trials(&format!("grad_{name}_model_spikes"));
            assert_close(&found.view(), &expected.view(), TOLERANCE, 1e-14);
            if let Some(found) = result.d_behaviour {
                let expected = oracle.trials(&format!("grad_{name}_model_jaw"));
                assert_close(&found.view(), &expected.view(), TOLERANCE, 1e-14);
            }
        }
    }
}

#[test]
fn pairs_are_those_of_the_published_program() {
    let Some(oracle) = Oracle::open("losses.h5") else {
        return;
    };
    let m = matching(&oracle, true);
    let population = m
        .filters
        .features(&traces(&oracle.trials("model_spikes"), &m.populations).view());
    let behaviour = m.filters.features(&oracle.trials("model_jaw").view());
    let of_session =
        |s: &losses::statistics::SessionFeatures| s.of_model(&population.view(), Some(&behaviour)).unwrap();
    let model: Vec<_> = m.data.sessions.iter().map(of_session).collect();
    let candidates = candidates(&oracle, &m, || TrialSubset::FirstN);
    let result = match_features(&model, &m.data, &candidates).unwrap();
    for (s, session) in result.sessions.iter().enumerate() {
        let data = oracle.indices(&format!("assign_data_s{s}"));
        let cost = oracle.array(&format!("cost_s{s}"));
        for (i, pair) in session.as_ref().unwrap().pairs.iter().enumerate() {
            assert_eq!((pair.model, pair.data), (i, data[i]));
            assert!((pair.cost - cost[[i, data[i]]]).abs() < TOLERANCE);
        }
    }
}

#[test]
fn the_sinkhorn_divergence_of_one_point_cloud_pair_reproduces_the_published_program() {
    let Some(oracle) = Oracle::open("feature_ot.h5") else {
        return;
    };
    let two = |name: &str| oracle.array(name).into_dimensionality::<Ix2>().unwrap();
    let (model, data) = (two("feat_model"), two("feat_data"));
    let clouds = Clouds {
        model: model.clone(),
        data: data.clone(),
    };
    let annealing = Sinkhorn::PUBLISHED.annealing(&clouds).unwrap();
    let expected = oracle.array("eps_list");
    assert_close(
        &ndarray::aview1(&annealing.schedule).into_dyn(),
        &expected.view(),
        TOLERANCE,
        0.0,
    );
    let result = Sinkhorn::PUBLISHED.divergence(&model.view(), &data.view()).unwrap();
    let expected = oracle.scalar("sinkhorn_divergence");
    assert!(
        (result.value - expected).abs() < TOLERANCE,
        "{}",
        result.value - expected
    );
    assert_close(
        &result.d_model.view(),
        &two("grad_sinkhorn_model").view(),
        TOLERANCE,
        1e-14,
    );
}

#[test]
fn matching_of_one_point_cloud_pair_reproduces_the_published_program() {
    let Some(oracle) = Oracle::open("feature_ot.h5") else {
        return;
    };
    let two = |name: &str| oracle.array(name).into_dimensionality::<Ix2>().unwrap();
    let (model, data) = (two("feat_model"), two("feat_data"));
    let candidates = TrialSubset::FirstN.candidates(&vec![0; model.nrows()], &vec![0; data.nrows()]);
    let result = match_session(&model.view(), &data.view(), &candidates).unwrap();
    assert!((result.value - oracle.scalar("hard_loss")).abs() < TOLERANCE);
    assert_close(
        &result.d_features.view(),
        &two("grad_hard_model").view(),
        TOLERANCE,
        1e-15,
    );
}

/// The splitter as it is written down, on whole gradients.
fn split_directly(grads: &Array4<f64>, m: &mut [f64], n: &mut [i32]) -> Array3<f64> {
    let n_tasks = grads.len_of(Axis(0));
    let mut normalized = grads.clone();
    for i in 0..n_tasks {
        let q = grads
            .index_axis(Axis(0), i)
            .mapv(|g| g * g)
            .mean_axis(Axis(0))
            .unwrap()
            .sum();
        m[i] = if n[i] == 0 {
            q
        } else {
            SPLITTER_BETA * m[i] + (1.0 - SPLITTER_BETA) * q
        };
        n[i] += 1;
        let scale = (m[i] / (1.0 - SPLITTER_BETA.powi(n[i]))).sqrt();
        normalized.index_axis_mut(Axis(0), i).mapv_inplace(|g| g / scale);
    }
    let mut combined = Array3::zeros(grads.index_axis(Axis(0), 0).raw_dim());
    for i in 0..n_tasks {
        for t in 0..grads.len_of(Axis(1)) {
            let mut a = normalized.slice(s![i, t, .., ..]).to_owned();
            for j in 0..n_tasks {
                let other = normalized.slice(s![j, t, .., ..]);
                let u = &other / other.mapv(|g| g * g).sum().sqrt();
                let against = (-(&a * &u).sum()).max(0.0);
                a.scaled_add(against, &u);
            }
            let mut row = combined.slice_mut(s![t, .., ..]);
            row += &a;
        }
    }
    combined
}

/// Gram matrices of the tasks at each step, `[tasks, T, K, N]` → `[T, tasks, tasks]`.
fn gram(grads: &Array4<f64>) -> Array3<f64> {
    let (n_tasks, n_steps) = (grads.len_of(Axis(0)), grads.len_of(Axis(1)));
    Array3::from_shape_fn((n_steps, n_tasks, n_tasks), |(t, i, j)| {
        (&grads.slice(s![i, t, .., ..]) * &grads.slice(s![j, t, .., ..])).sum()
    })
}

fn combine(grads: &Array4<f64>, coefficients: &Array2<f64>) -> Array3<f64> {
    Array3::from_shape_fn(grads.index_axis(Axis(0), 0).raw_dim(), |(t, k, n)| {
        (0..grads.len_of(Axis(0)))
            .map(|i| coefficients[[t, i]] * grads[[i, t, k, n]])
            .sum()
    })
}

#[test]
fn gram_form_of_the_splitter_reproduces_the_published_program() {
    let Some(oracle) = Oracle::open("splitter.h5") else {
        return;
    };
    let grads = oracle.array("task_grads").into_dimensionality::<Ix5>().unwrap();
    let expected = oracle.array("combined").into_dimensionality::<Ix4>().unwrap();
    let mut splitter = GradientSplitter::new(grads.len_of(Axis(1)), SPLITTER_BETA).unwrap();
    let (mut m, mut n) = (vec![0.0; 2], vec![0; 2]);
    for (grads, expected) in grads.outer_iter().zip(expected.outer_iter()) {
        let grads = grads.to_owned();
        let coefficients = splitter.split(&gram(&grads).view()).unwrap();
        let found = combine(&grads, &coefficients);
        // The reference keeps its accumulators in f32.
        assert_close(&found.view(), &expected, 1e-7, 1e-7);
        let direct = split_directly(&grads, &mut m, &mut n);
        assert_close(&found.view(), &direct.view(), 1e-12, 1e-13);
    }
    for (found, expected) in splitter.mean_square().iter().zip(oracle.array("final_m").iter()) {
        assert!((found - expected).abs() <= 1e-6 * expected, "{found} {expected}");
    }
    assert_eq!(splitter.n_updates(), [3, 3]);
}

#[test]
fn correlations_of_psths_reproduce_the_published_program() {
    let Some(oracle) = Oracle::open("metrics.h5") else {
        return;
    };
    let eps = oracle.scalar("eps");
    assert_eq!(eps, PEARSON_EPS);
    let (reference, prediction) = (oracle.array("psth_ref"), oracle.array("psth_pred"));
    let (published, truth) = (oracle.array("pear_corr"), oracle.array("true_pearson"));
    for (n, (y, p)) in reference.outer_iter().zip(prediction.outer_iter()).enumerate() {
        let (y, p): (Vec<f64>, Vec<f64>) = (y.iter().copied().collect(), p.iter().copied().collect());
        assert!((pearson_ref_centered(&y, &p, eps) - published[[n]]).abs() < TOLERANCE);
        assert!((pearson(&y, &p).unwrap() - truth[[n]]).abs() < TOLERANCE);
    }
}

#[test]
fn trial_matched_correlation_reproduces_the_published_program() {
    let (Some(oracle), Some(metrics)) = (Oracle::open("losses.h5"), Oracle::open("metrics.h5")) else {
        return;
    };
    for (suffix, has_behaviour) in [("", true), ("_nojaw", false)] {
        let m = matching(&oracle, has_behaviour);
        let population = m
            .filters
            .features(&traces(&oracle.trials("model_spikes"), &m.populations).view());
        let jaw = m.filters.features(&oracle.trials("model_jaw").view());
        let jaw = has_behaviour.then_some(&jaw);
        let model: Vec<Array2<f64>> = m
            .data
            .sessions
            .iter()
            .map(|session| session.of_model(&population.view(), jaw).unwrap())
            .collect();
        let candidates: Vec<Vec<Candidates>> = (0..2)
            .map(|s| {
                vec![Candidates {
                    model: metrics.indices(&format!("keep_model_s{s}")),
                    data: metrics.indices(&format!("keep_data_s{s}")),
                }]
            })
            .collect();
        let pairs = trial_matched_correlation(&model, &m.data, &candidates).unwrap();
        // The reference lists its pairs in the order of the kept data trials.
        let mut found = Vec::new();
        for (s, pairs) in pairs.iter().enumerate() {
            for data in metrics.indices(&format!("keep_data_s{s}")) {
                found.extend(pairs.iter().filter(|p| p.data == data).map(|p| p.ref_centered));
            }
        }
        let name = format!("trial_matched_pearson{suffix}_all_pairs");
        let expected: Vec<f64> = metrics.array(&name).iter().copied().collect();
        assert_close(
            &ndarray::aview1(&found),
            &ndarray::aview1(&expected),
            TOLERANCE,
            TOLERANCE,
        );
        if has_behaviour {
            let mean = losses::statistics::mean(&found);
            assert!((mean - metrics.scalar("trial_matched_pearson_mean")).abs() < TOLERANCE);
        }
    }
}
