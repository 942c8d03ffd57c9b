//! What pictures contain, read from their SVG.

use losses::metrics::MetricValue;
use losses::statistics::{Filters, MovingMean, Populations, RecordedSession, Recording, TrialSelection};
use ndarray::{Array2, Array3};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::evaluate::{EvaluationSettings, SimulatedTrials, evaluate};

const N_BINS: usize = 60;
const N_NEURONS: usize = 12;
const N_TRIALS: usize = 8;

struct Fixture {
    recording: Recording,
    train: TrialSelection,
    test: TrialSelection,
    populations: Populations,
    filters: Filters,
    counts: Array3<u8>,
    conditions: Vec<usize>,
    /// Bins of the model's trials; none: all.
    lengths: Option<Vec<usize>>,
    /// The model's, compared if the recording has some.
    behaviour: Option<Array3<f64>>,
    types: Vec<String>,
    traces: Vec<String>,
    neurons: Vec<NeuronName>,
    /// Takes the place of the metric of noise correlations.
    metric: Option<MetricValue>,
    split: &'static str,
}

impl Fixture {
    fn new() -> Self {
        Self::with_conditions(1)
    }

    /// One session of two areas in which neuron n fires every n + 2 bins, later in odd trials (misses);
    /// conditions follow each other in pairs of trials.
    fn with_conditions(n_conditions: usize) -> Self {
        let conditions: Vec<usize> = (0..N_TRIALS).map(|k| k / 2 % n_conditions).collect();
        let counts = Array3::from_shape_fn((N_TRIALS, N_BINS, N_NEURONS), |(k, t, n)| {
            u8::from((t + k) % (n + 2) == 0 || (t > 30 && k % 2 == 0 && n >= N_NEURONS / 2))
        });
        let session = RecordedSession {
            presence: None,
            name: "a <session>".to_owned(),
            counts: counts.clone(),
            valid_bins: vec![N_BINS; N_TRIALS],
            conditions: conditions.clone(),
            trial_types: (0..N_TRIALS).map(|k| k % 2).collect(),
            neurons: (0..N_NEURONS).collect(),
            areas: (0..N_NEURONS).map(|n| 2 * n / N_NEURONS).collect(),
            behaviour: None,
        };
        let areas = vec!["V1".to_owned(), "LM & AL".to_owned()];
        let recording = Recording::new(vec![session], areas, N_NEURONS, n_conditions).unwrap();
        Self {
            populations: Populations::by_area(&recording, 2).unwrap(),
            recording,
            train: vec![(0..4).collect()],
            test: vec![(4..N_TRIALS).collect()],
            filters: Filters::new(
                N_BINS,
                MovingMean::half_overlapping(6).unwrap(),
                MovingMean::resampling(2).unwrap(),
            )
            .unwrap(),
            counts,
            conditions,
            lengths: None,
            behaviour: None,
            types: vec!["Hit".to_owned(), "Miss".to_owned()],
            traces: vec!["jaw".to_owned()],
            neurons: (0..N_NEURONS)
                .map(|n| NeuronName {
                    unit: Some(format!("a <session>/cell{n}")),
                    population: ["V1 exc", "LM & AL inh"][2 * n / N_NEURONS].to_owned(),
                })
                .collect(),
            metric: None,
            split: "test",
        }
    }

    fn draw(&self, dir: &Path, losses: Option<&LossHistory>, weights: Option<&WeightMatrix>) -> Pictures {
        let evaluation = EvaluationInputs {
            run: "run".to_owned(),
            split: self.split.to_owned(),
            checkpoint_step: 1,
            recording: &self.recording,
            train: &self.train,
            test: &self.test,
            populations: &self.populations,
            filters: &self.filters,
            has_behaviour: self.behaviour.is_some(),
            bin_ms: 2.0,
            trial_types: &self.types,
            traces: &self.traces,
            model: SimulatedTrials {
                counts: &self.counts,
                conditions: &self.conditions,
                behaviour: self.behaviour.as_ref(),
                valid_bins: self.lengths.as_deref(),
            },
            settings: EvaluationSettings {
                n_resamples: 10,
                ..EvaluationSettings::default()
            },
        };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut report = evaluate(&evaluation, &mut rng).unwrap();
        report.metrics.retain(|metric| metric.name != "noise_correlation_r");
        report.metrics.extend(self.metric.clone());
        let names: Vec<String> = (0..self.recording.n_conditions())
            .map(|c| format!("grating {c}"))
            .collect();
        let inputs = PlotInputs {
            evaluation: &evaluation,
            start_ms: -20.0,
            conditions: &names,
            behaviour: &[],
            neurons: &self.neurons,
            report: &report,
            losses,
            weights,
        };
        write_all(dir, &inputs, &mut rng).unwrap()
    }
}

fn read(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}

/// Elements drawn in the colour of the model.
fn n_of_model(svg: &str) -> usize {
    svg.matches("#D55E00").count()
}

#[test]
fn a_raster_has_one_mark_per_spike_of_model_and_data() {
    let (fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    fixture.draw(dir.path(), None, None);
    let svg = read(dir.path(), "raster.svg");
    // Model trials 0–3 and test trials 4–7 are shown, by type in turn; the model's are the recording itself.
    let spikes = |trials: std::ops::Range<usize>| {
        let count = |k| {
            fixture
                .counts
                .index_axis(ndarray::Axis(0), k)
                .iter()
                .filter(|&&c| c > 0)
                .count()
        };
        trials.map(count).sum::<usize>()
    };
    assert_eq!(n_of_model(&svg), spikes(0..4));
    assert!(svg.matches("fill=\"#000000\"").count() >= spikes(4..8));
    for text in [
        "data · Hit",
        "model · Hit",
        "data · Miss",
        "model · Miss",
        "time (ms)",
        "V1 exc",
        "LM &amp; AL inh",
    ] {
        assert!(svg.contains(text), "{text}");
    }
}

#[test]
fn names_from_files_are_escaped() {
    let (fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    fixture.draw(dir.path(), None, None);
    let svg = read(dir.path(), "raster.svg");
    assert!(svg.contains("a &lt;session&gt;") && !svg.contains("<session>"));
    assert!(read(dir.path(), "peak_rates.svg").contains("LM &amp; AL"));
}

#[test]
fn curves_of_a_model_equal_to_the_data_lie_on_the_data() {
    let (mut fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    // All trials are test trials (the same labels train the templates), so both means are over the same trials.
    fixture.test = vec![(0..N_TRIALS).collect()];
    fixture.train = fixture.test.clone();
    fixture.draw(dir.path(), None, None);
    for name in ["population_activity.svg", "psth.svg"] {
        let svg = read(dir.path(), name);
        let (data, model) = (curves(&svg, "#000000"), curves(&svg, "#D55E00"));
        assert!(
            !data.is_empty() && data == model,
            "{name}: {} and {} curves",
            data.len(),
            model.len()
        );
    }
}

/// Points of the longer lines of a colour.
fn curves(svg: &str, color: &str) -> Vec<String> {
    let lines = svg
        .lines()
        .filter(|line| line.contains("polyline") && line.contains(color));
    let points = lines.filter_map(|line| line.split("points=\"").nth(1)?.split('"').next());
    points
        .filter(|p| p.split_whitespace().count() > 5)
        .map(str::to_owned)
        .collect()
}

#[test]
fn pictures_end_model_trials_where_they_end() {
    let (mut fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    fixture.test = vec![(0..N_TRIALS).collect()];
    fixture.train = fixture.test.clone();
    let lengths: Vec<usize> = (0..N_TRIALS).map(|k| if k == 2 { 36 } else { N_BINS }).collect();
    // The recorded trials in the model's place, as they are not: nothing after their end is the model's.
    let mut session = fixture.recording.sessions()[0].clone();
    session.valid_bins.clone_from(&lengths);
    let mut behaviour = Array3::from_shape_fn((N_TRIALS, N_BINS, 1), |(k, t, _)| (k + t) as f64);
    let mut recorded = behaviour.clone();
    for (k, &length) in lengths.iter().enumerate() {
        session.counts.slice_mut(ndarray::s![k, length.., ..]).fill(0);
        fixture.counts.slice_mut(ndarray::s![k, length.., ..]).fill(9);
        recorded.slice_mut(ndarray::s![k, length.., ..]).fill(f64::NAN);
        behaviour.slice_mut(ndarray::s![k, length.., ..]).fill(900.0);
    }
    session.behaviour = Some(recorded);
    let spikes = session.counts.iter().filter(|&&count| count > 0).count();
    let areas = fixture.recording.area_names().to_vec();
    fixture.recording = Recording::new(vec![session], areas, N_NEURONS, 1).unwrap();
    (fixture.lengths, fixture.behaviour) = (Some(lengths), Some(behaviour));
    let pictures = fixture.draw(dir.path(), None, None);
    for name in ["population_activity.svg", "psth.svg", "behaviour.svg"] {
        let svg = read(dir.path(), name);
        let (data, model) = (curves(&svg, "#000000"), curves(&svg, "#D55E00"));
        assert!(!data.is_empty() && data == model, "{name}: {data:?} {model:?}");
    }
    // What the pictures say is what the metrics say.
    let psth = read(dir.path(), "psth.svg");
    let r: Vec<&str> = psth.split("r = ").skip(1).map(|rest| &rest[..4]).collect();
    assert!(r.len() >= 3 && r.iter().all(|r| *r == "1.00"), "{r:?}");
    // Notes are broken into lines.
    let noise = read(dir.path(), "noise_correlations.svg");
    let texts = noise.split('<').filter_map(|element| element.split_once('>'));
    let words: Vec<&str> = texts.flat_map(|(_, text)| text.split_whitespace()).collect();
    let noise = words.join(" ");
    assert!(
        noise.contains("all 7 model trials that fill the window (of 8)") && noise.contains("r = 1.00 at these numbers"),
        "{noise}"
    );
    let fano = self::texts(&read(dir.path(), "fano_factors.svg")).join(" ");
    let of = |side: &str| {
        let before = fano.split(&format!(" ({side})")).next().unwrap();
        before.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    assert!(of("data") > 0.0 && of("data") == of("model"), "{fano}");
    // All model trials in the raster would be twice as many as rows: 4 of 8 are shown.
    let raster = read(dir.path(), "raster.svg");
    assert!(n_of_model(&raster) < spikes, "{}", n_of_model(&raster));
    assert!(pictures.left_out.iter().all(|(name, _)| *name != "peak_rates"));
}

#[test]
fn pictures_without_content_are_left_out_and_the_others_are_written() {
    let (mut fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    fixture.populations.groups.clear();
    let target = dir.path().join("new").join("report");
    let pictures = fixture.draw(&target, None, None);
    let left_out: Vec<&str> = pictures.left_out.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        left_out,
        [
            "losses",
            "peak_rates",
            "feature_variance",
            "variance_over_time",
            "weights",
            "weights_by_population",
            "behaviour"
        ]
    );
    assert!(pictures.left_out.iter().all(|(_, reason)| !reason.is_empty()));
    assert_eq!(pictures.files.len() + left_out.len(), PICTURES.len());
    // Nothing but the pictures stays in the directory.
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), pictures.files.len());
    for file in &pictures.files {
        let svg = std::fs::read_to_string(file).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
            "{}",
            file.display()
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", file.display());
    }
}

#[test]
fn losses_stand_beside_those_of_training_trials_and_survive_values_a_log_axis_cannot_show() {
    let (fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    let losses =
        |psth: f64, trial: f64| BTreeMap::from([("psth".to_owned(), psth), ("trial_matching".to_owned(), trial)]);
    let history = LossHistory {
        train: vec![
            (1, losses(100.0, 50.0)),
            (2, losses(f64::NAN, 20.0)),
            (3, losses(0.0, 10.0)),
            (15_000, losses(10.0, 5.0)),
        ],
        validation: vec![(2, losses(40.0, 30.0))],
        floors: losses(5.0, 3.0),
    };
    let pictures = fixture.draw(dir.path(), Some(&history), None);
    assert!(pictures.left_out.iter().all(|(name, _)| *name != "losses"));
    let svg = read(dir.path(), "losses.svg");
    for text in [
        "sum of the losses",
        "psth",
        "trial matching",
        "training trials in the model&apos;s place",
        "100",
        "20",
        "5000",
    ] {
        assert!(svg.contains(text), "{text}");
    }
    assert!(!svg.contains("NaN") && !svg.contains("floor"));
    let history = LossHistory {
        floors: BTreeMap::new(),
        ..history
    };
    fixture.draw(dir.path(), Some(&history), None);
    assert!(
        !read(dir.path(), "losses.svg").contains("training trials in"),
        "nothing is dashed"
    );
    let nothing = LossHistory::default();
    let pictures = fixture.draw(dir.path(), Some(&nothing), None);
    assert!(pictures.left_out.iter().any(|(name, _)| *name == "losses"));
}

#[test]
fn a_weight_matrix_has_a_cell_for_each_weight_that_is_not_zero() {
    let (fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    let weights = Array2::from_shape_fn((6, 6), |(i, j)| match j {
        _ if i == j => 0.0,
        4.. => -1.0,
        _ => 1.0,
    });
    let populations = ["V1 exc"; 4]
        .into_iter()
        .chain(["V1 inh"; 2])
        .map(str::to_owned)
        .collect();
    fixture.draw(dir.path(), None, Some(&WeightMatrix { weights, populations }));
    let svg = read(dir.path(), "weights.svg");
    // Of the full colours the bar shows one line each.
    assert_eq!(
        svg.matches("fill=\"#B2182B\"").count() - 1,
        4 * 6 - 4,
        "excitatory weights"
    );
    assert_eq!(svg.matches("fill=\"#2166AC\"").count(), 2 * 6 - 2, "inhibitory weights");
    for text in ["V1 exc", "V1 inh", "presynaptic", "postsynaptic"] {
        assert!(svg.contains(text), "{text}");
    }
    let pictures = fixture.draw(
        dir.path(),
        None,
        Some(&WeightMatrix {
            weights: Array2::zeros((3, 2)),
            populations: vec!["x".to_owned(); 3],
        }),
    );
    assert!(
        pictures
            .left_out
            .iter()
            .any(|(name, reason)| *name == "weights" && reason.contains("[3, 2]") || reason.contains("(3, 2)"))
    );
}

/// Text elements in order, without markup.
fn texts(svg: &str) -> Vec<String> {
    let mut texts = Vec::new();
    for piece in svg.split("<text").skip(1) {
        let text = piece.split_once('>').unwrap().1.split("</text>").next().unwrap();
        texts.push(text.trim().to_owned());
    }
    texts
}

#[test]
fn r2_noise_correlations_state_the_metric_and_its_trials() {
    let (mut fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    fixture.draw(dir.path(), None, None);
    let all = |dir: &Path| texts(&read(dir, "noise_correlations.svg")).join(" ");
    assert!(all(dir.path()).contains("The metric is undefined"));
    fixture.metric = Some(MetricValue {
        ci95: Some([-0.5, 0.125]),
        ..MetricValue::new("noise_correlation_r", -0.19, 66, "1")
    });
    fixture.draw(dir.path(), None, None);
    let found = all(dir.path());
    for text in [
        "Metric: r = −0.19 [−0.50, 0.12] over n = 66 pairs, of 4 model trials a session",
        "4 test trials, all 8 model trials",
    ] {
        assert!(found.contains(text), "{text} in {found}");
    }
}

#[test]
fn r2_neurons_are_called_by_their_units() {
    let (fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    fixture.draw(dir.path(), None, None);
    let found = texts(&read(dir.path(), "psth.svg"));
    let titles = found.iter().filter(|text| text.starts_with("a &lt;session&gt;/cell"));
    assert_eq!(titles.clone().count(), 9, "{found:?}");
    assert!(
        titles
            .clone()
            .all(|title| title.ends_with("V1 exc") || title.ends_with("LM &amp; AL inh"))
    );
    assert_eq!(
        found.iter().filter(|text| text.contains("n = 4 / 8")).count(),
        9,
        "{found:?}"
    );
    // Conditions beside each other: one neuron in a row.
    Fixture::with_conditions(2).draw(dir.path(), None, None);
    let found = texts(&read(dir.path(), "psth.svg"));
    for condition in ["grating 0 · best", "grating 1 · best", "grating 1 · worst"] {
        let is_panel = |text: &&String| text.starts_with(condition) && text.ends_with("n = 2 / 4");
        assert_eq!(found.iter().filter(is_panel).count(), 1, "{condition}: {found:?}");
    }
    let hidden = NeuronName {
        unit: None,
        population: "V1 exc".to_owned(),
    };
    assert_eq!(hidden.group(), "V1 exc hidden");
    assert_eq!(fixture.neurons[0].group(), "V1 exc");
}

#[test]
fn r2_hidden_neurons_are_a_population_of_their_own() {
    let (fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    let name = |unit: Option<&str>| NeuronName {
        unit: unit.map(str::to_owned),
        population: "retina".to_owned(),
    };
    let neurons = [name(Some("s/1")), name(None), name(Some("s/2")), name(None)];
    let matrix = WeightMatrix {
        weights: Array2::ones((4, 4)),
        populations: neurons.iter().map(NeuronName::group).collect(),
    };
    fixture.draw(dir.path(), None, Some(&matrix));
    let found = texts(&read(dir.path(), "weights.svg"));
    for name in ["retina", "retina hidden"] {
        assert_eq!(
            found.iter().filter(|text| *text == name).count(),
            2,
            "rows and columns: {found:?}"
        );
    }
}

#[test]
fn r2_pictures_name_the_split_they_show() {
    let (mut fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    fixture.split = "validation";
    fixture.draw(dir.path(), None, None);
    for name in [
        "psth.svg",
        "raster.svg",
        "population_activity.svg",
        "peak_rates.svg",
        "noise_correlations.svg",
        "fano_factors.svg",
        "variance_over_time.svg",
    ] {
        let found = texts(&read(dir.path(), name)).join(" ");
        assert!(found.contains("validation trials"), "{name}: {found}");
        assert!(!found.contains("test trials"), "{name}: {found}");
    }
    // A dot for each stretch of the trial, and one in the legend.
    let over_time = read(dir.path(), "variance_over_time.svg");
    let stretches = texts(&over_time).join(" ");
    let n: usize = stretches
        .split(" stretches")
        .next()
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        n > 1 && over_time.matches("<circle").count() == n + 1,
        "{n}: {stretches}"
    );
}

#[test]
fn r2_no_spike_of_a_raster_lies_on_the_frame() {
    let (fixture, dir) = (Fixture::new(), tempfile::tempdir().unwrap());
    fixture.draw(dir.path(), None, None);
    let svg = read(dir.path(), "raster.svg");
    let number = |line: &str, name: &str| -> f64 {
        let value = line.split(&format!(" {name}=\"")).nth(1).unwrap();
        value.split('"').next().unwrap().parse().unwrap()
    };
    let is_mark = |line: &&str| line.starts_with("<rect") && line.contains("#D55E00");
    let marks: Vec<&str> = svg.lines().filter(is_mark).collect();
    // Vertical axes: the polylines of two points one above the other.
    let axes: Vec<(f64, f64)> = svg
        .lines()
        .filter(|line| line.starts_with("<polyline") && line.contains("#787878"))
        .filter_map(|line| {
            let points = line.split("points=\"").nth(1)?.split('"').next()?;
            let points: Vec<(f64, f64)> = points
                .split_whitespace()
                .filter_map(|point| {
                    let (x, y) = point.split_once(',')?;
                    Some((x.parse().ok()?, y.parse().ok()?))
                })
                .collect();
            match points.as_slice() {
                [(x0, y0), (x1, y1)] if x0 == x1 && (y1 - y0).abs() > 50.0 => Some((y0.min(*y1), y0.max(*y1))),
                _ => None,
            }
        })
        .collect();
    assert!(!marks.is_empty() && !axes.is_empty());
    for mark in marks {
        let (top, bottom) = (number(mark, "y"), number(mark, "y") + number(mark, "height"));
        let is_inside = axes.iter().any(|(from, to)| *from < top && bottom < *to);
        assert!(is_inside, "{mark}: {axes:?}");
    }
}

#[test]
fn sessions_weigh_the_same_in_histograms_of_peaks() {
    let shares = peaks::shares(&vec![vec![0.5; 3], vec![1.5]], 1.0);
    assert_eq!(&shares[..3], &[0.5, 0.5, 0.0]);
}

#[test]
fn long_names_are_shortened_in_the_middle_and_notes_wrapped_at_words() {
    let name = "a_very_long_session_name/unit_17";
    assert_eq!(style::fitted(name, 1000, style::SMALL), name);
    let short = style::fitted(name, 100, style::SMALL);
    assert!(
        short.starts_with("a_very") && short.ends_with("t_17") && short.contains('…'),
        "{short}"
    );
    assert!(style::text_width(&short, style::SMALL) <= 100);
    assert_eq!(style::fitted(name, 0, style::SMALL), "…");
    let lines = style::wrapped(
        "one two three four",
        style::text_width("one two t", style::SMALL),
        style::SMALL,
    );
    assert_eq!(lines, ["one two", "three", "four"]);
    assert_eq!(style::wrapped("", 10, style::SMALL).len(), 0);
}

#[test]
fn tick_labels_are_short_and_true() {
    for (value, label) in [
        (0.0, "0"),
        (-0.001, "0"),
        (0.5, "0.5"),
        (15_000.0, "15000"),
        (-100.0, "−100"),
        (2e6, "2.0e6"),
    ] {
        assert_eq!(style::tick(value), label);
    }
    for (value, label) in [
        (0.0, "0"),
        (0.0123, "0.012"),
        (-0.5, "−0.50"),
        (20.0, "20"),
        (500.0, "500"),
        (3e-6, "3.0e−6"),
    ] {
        assert_eq!(style::significant(value), label);
    }
}
