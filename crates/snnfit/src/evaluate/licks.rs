//! Whether an animal licked, judged from behaviour traces alone: a small network, and a threshold.

use std::collections::{BTreeMap, BTreeSet};

use losses::LossError;
use losses::metrics::best_threshold;
use losses::perceptron::{Layer, Perceptron};
use losses::statistics::{MovingMean, Recording, TrialSelection};
use ndarray::{Array1, Array2, Array3, ArrayView3, Axis, s};
use rand::Rng;
use rand::RngExt;
use rand::seq::SliceRandom;
use snn_core::CoreError;
use snn_core::adamw::{AdamW, AdamWConfig};
use snn_core::models::Parameters;
use snn_core::rng::StreamRng;

/// Hidden units of the classifier. Source: the publication.
const HIDDEN: [usize; 2] = [128, 128];
/// Weight decay. Source: the publication.
const WEIGHT_DECAY: f64 = 0.1;
/// Learning rate; published: 1e-4, for traces that aren't standardised.
const LEARNING_RATE: f64 = 1e-3;
/// Updates, each with all trials of one session; published: 150 for each of 28 sessions.
const N_UPDATES: usize = 1000;
/// Trial types in which the animal licks, by their letters alone.
const LICK_TYPES: [&str; 4] = ["hit", "fa", "falsealarm", "lick"];
/// Trials that were broken off because of a lick before the cue (`EarlyLick`) are of neither kind.
const BROKEN_OFF: &str = "early";

/// Behaviour of some trials of a session.
#[derive(Debug, Clone)]
pub(super) struct Traces {
    /// `[K, T, B]`, finite.
    pub(super) values: Array3<f64>,
    /// Stimulus condition `[K]`.
    pub(super) conditions: Vec<usize>,
    /// Recorded trial type `[K]`.
    pub(super) types: Vec<usize>,
}

impl Traces {
    /// These traces of the selected complete trials, of all sessions that recorded them.
    pub(super) fn recorded(recording: &Recording, selection: &TrialSelection, channels: &[usize]) -> Vec<Self> {
        let sessions = recording.sessions().iter().zip(selection);
        sessions
            .filter_map(|(session, trials)| {
                let behaviour = session.behaviour.as_ref()?;
                if !channels.iter().all(|channel| session.channels().contains(channel)) {
                    return None;
                }
                let is_whole = |k: &usize| {
                    session.valid_bins[*k] == recording.n_bins() && session.has_finite_behaviour(*k, channels)
                };
                let trials: Vec<usize> = trials.iter().copied().filter(is_whole).collect();
                Some(Self {
                    values: behaviour.select(Axis(0), &trials).select(Axis(2), channels),
                    conditions: trials.iter().map(|&k| session.conditions[k]).collect(),
                    types: trials.iter().map(|&k| session.trial_types[k]).collect(),
                })
            })
            .filter(|traces| !traces.types.is_empty())
            .collect()
    }

    /// Those whose type says whether the animal licked; none if there are no such trials.
    fn judged(&self, task: &Task) -> Option<Self> {
        let kept: Vec<usize> = (0..self.types.len())
            .filter(|&k| task.is_lick(self.types[k]).is_some())
            .collect();
        (!kept.is_empty()).then(|| Self {
            values: self.values.select(Axis(0), &kept),
            conditions: kept.iter().map(|&k| self.conditions[k]).collect(),
            types: kept.iter().map(|&k| self.types[k]).collect(),
        })
    }
}

/// Traces that all those sessions recorded that recorded any of the model's.
pub(super) fn channels_in_common(recording: &Recording, selection: &TrialSelection) -> Vec<usize> {
    let sessions = recording.sessions().iter().zip(selection);
    let recorded = sessions.filter(|(session, trials)| !trials.is_empty() && !session.channels().is_empty());
    let channels = recorded.map(|(session, _)| session.channels().iter().copied().collect::<BTreeSet<usize>>());
    let common = channels.reduce(|a, b| a.intersection(&b).copied().collect());
    common.unwrap_or_default().into_iter().collect()
}

/// Which trial types are licks, and which type a lick or none at a stimulus is.
#[derive(Debug, Clone)]
pub(super) struct Task {
    is_lick: Vec<Option<bool>>,
    type_of: BTreeMap<(usize, bool), usize>,
}

impl Task {
    /// From the training trials: the most frequent type of each stimulus with and without lick.
    pub(super) fn new(names: &[String], train: &[Traces]) -> Result<Self, LossError> {
        let letters = |name: &String| -> String {
            let letters = name.chars().filter(|c| c.is_alphabetic());
            letters.flat_map(char::to_lowercase).collect()
        };
        let is_lick: Vec<Option<bool>> = names
            .iter()
            .map(|name| {
                let letters = letters(name);
                (!letters.starts_with(BROKEN_OFF)).then(|| LICK_TYPES.contains(&letters.trim_end_matches('s')))
            })
            .collect();
        let mut counts = BTreeMap::<(usize, bool), BTreeMap<usize, usize>>::new();
        for traces in train {
            for (condition, label) in traces.conditions.iter().zip(&traces.types) {
                let Some(is_lick) = is_lick[*label] else { continue };
                let of = counts.entry((*condition, is_lick)).or_default();
                *of.entry(*label).or_default() += 1;
            }
        }
        let has = |lick: bool| counts.keys().any(|(_, found)| *found == lick);
        if !(has(true) && has(false)) {
            return Err(LossError::NoData {
                what: "trial types by behaviour",
                reason:
                    "training trials with behaviour need both a type with licks (called hit or false alarm) and one \
                         without"
                        .to_owned(),
            });
        }
        let most = |of: &BTreeMap<usize, usize>| {
            of.iter()
                .max_by_key(|(label, n)| (**n, std::cmp::Reverse(**label)))
                .map(|m| *m.0)
        };
        let type_of = counts.iter().filter_map(|(key, of)| Some((*key, most(of)?))).collect();
        Ok(Self { is_lick, type_of })
    }

    /// Whether a type is one with licks; none for trials that were broken off.
    pub(super) fn is_lick(&self, label: usize) -> Option<bool> {
        self.is_lick[label]
    }

    /// Type of a trial; none for a stimulus at which no training trial was like this.
    pub(super) fn trial_type(&self, condition: usize, is_lick: bool) -> Option<usize> {
        self.type_of.get(&(condition, is_lick)).copied()
    }
}

/// A network that was trained to tell licks.
pub(super) struct Classifier {
    network: Perceptron,
    filter: MovingMean,
    /// Mean and standard deviation of each trace over training trials and time.
    scale: Vec<(f64, f64)>,
}

impl Classifier {
    /// Trains the network on filtered, standardised traces: binary cross-entropy, AdamW, one session an update.
    ///
    /// # Source
    /// Specification §1.18 (lick classifier).
    ///
    /// # Departures
    /// Traces are standardised, so that any unit will do, and the learning rate is larger; 1000 updates whatever the number
    /// of sessions.
    pub(super) fn fit(task: &Task, train: &[Traces], filter: MovingMean, rng: &mut dyn Rng) -> Result<Self, LossError> {
        let mut rng = StreamRng::new(rng.random(), "lick classifier", 0);
        let train: Vec<Traces> = train.iter().filter_map(|traces| traces.judged(task)).collect();
        let n_channels = train.first().map_or(0, |t| t.values.len_of(Axis(2)));
        let scale = (0..n_channels).map(|b| moments(&train, b)).collect();
        let mut classifier = Self {
            network: Perceptron {
                layers: Vec::new(),
                leak: 0.0,
            },
            filter,
            scale,
        };
        let sets: Vec<(Array2<f64>, Vec<bool>)> = train
            .iter()
            .map(|traces| {
                let labels = traces.types.iter().filter_map(|&label| task.is_lick(label)).collect();
                (classifier.features(&traces.values.view()), labels)
            })
            .collect();
        let Some((first, _)) = sets.first() else {
            return Err(LossError::NoData {
                what: "lick classifier",
                reason: "no training trial has behaviour".to_owned(),
            });
        };
        classifier.network = Perceptron::new(first.ncols(), &HIDDEN, 0.0, &mut rng);
        let mut parameters = to_parameters(&classifier.network.layers);
        let config = AdamWConfig {
            lr: LEARNING_RATE,
            weight_decay: WEIGHT_DECAY,
            ..AdamWConfig::default()
        };
        let mut adam = AdamW::new(config).map_err(as_loss_error)?;
        let mut order: Vec<usize> = Vec::new();
        for _ in 0..N_UPDATES {
            if order.is_empty() {
                order = (0..sets.len()).collect();
                order.shuffle(&mut rng);
            }
            let Some((x, labels)) = order.pop().map(|i| &sets[i]) else {
                break;
            };
            let (_, gradient) = classifier.network.cross_entropy(&x.view(), labels)?;
            adam.update(&mut parameters, &to_parameters(&gradient))
                .map_err(as_loss_error)?;
            classifier.network.layers = from_parameters(&parameters, HIDDEN.len() + 1);
        }
        Ok(classifier)
    }

    /// Whether the animal licked, for traces `[K, T, B]`.
    pub(super) fn licks(&self, traces: &ArrayView3<'_, f64>) -> Result<Vec<bool>, LossError> {
        let odds = self.network.output(&self.features(traces).view())?;
        Ok(odds.iter().map(|l| *l > 0.0).collect())
    }

    /// Filtered and standardised, `[K, T1·B]`.
    fn features(&self, traces: &ArrayView3<'_, f64>) -> Array2<f64> {
        let filtered = self.filter.apply(traces, Axis(1));
        let (n_trials, n_bins, n_channels) = filtered.dim();
        Array2::from_shape_fn((n_trials, n_bins * n_channels), |(k, i)| {
            let (b, t) = (i / n_bins, i % n_bins);
            let (mean, std) = self.scale[b];
            (filtered[[k, t, b]] - mean) / std
        })
    }
}

/// A threshold on the largest value of the first trace after the cue.
pub(super) struct Threshold {
    /// Its value, in the unit of the trace.
    pub(super) value: f64,
    from: usize,
}

impl Threshold {
    /// The one that tells licks best in the training trials; `from` is the first bin after the cue.
    ///
    /// # Departures
    /// Published: 2, in units of the standardised jaw (§2.2).
    pub(super) fn fit(task: &Task, train: &[Traces], from: usize) -> Result<Self, LossError> {
        let mut threshold = Self { value: f64::NAN, from };
        let (mut peaks, mut licked) = (Vec::new(), Vec::new());
        for traces in train.iter().filter_map(|traces| traces.judged(task)) {
            peaks.extend(threshold.peaks(&traces.values.view()));
            licked.extend(traces.types.iter().filter_map(|&label| task.is_lick(label)));
        }
        threshold.value = best_threshold(&peaks, &licked).ok_or_else(|| LossError::NoData {
            what: "threshold of licks",
            reason: "the traces of all training trials reach the same height after the cue".to_owned(),
        })?;
        Ok(threshold)
    }

    pub(super) fn licks(&self, traces: &ArrayView3<'_, f64>) -> Vec<bool> {
        self.peaks(traces).into_iter().map(|peak| peak > self.value).collect()
    }

    fn peaks(&self, traces: &ArrayView3<'_, f64>) -> Vec<f64> {
        let after = traces.slice(s![.., self.from.., 0]);
        after
            .outer_iter()
            .map(|trace| trace.iter().copied().fold(f64::NEG_INFINITY, f64::max))
            .collect()
    }
}

/// Mean and standard deviation of trace `b`; a constant one has 1.
fn moments(train: &[Traces], b: usize) -> (f64, f64) {
    let values = || {
        train
            .iter()
            .flat_map(move |t| t.values.index_axis(Axis(2), b).into_iter().copied())
    };
    let n = values().count().max(1) as f64;
    let mean = values().sum::<f64>() / n;
    let std = (values().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    (mean, if std > 1e-12 { std } else { 1.0 })
}

fn to_parameters(layers: &[Layer]) -> Parameters {
    let mut parameters = Parameters::new();
    for (i, layer) in layers.iter().enumerate() {
        parameters.insert(&format!("{i}.weight"), layer.weight.mapv(|x| x as f32));
        parameters.insert(&format!("{i}.bias"), layer.bias.mapv(|x| x as f32));
    }
    parameters
}

fn from_parameters(parameters: &Parameters, n_layers: usize) -> Vec<Layer> {
    let wide = |name: String| parameters.get(&name).map(|a| a.mapv(f64::from));
    let layer = |i: usize| {
        let weight = wide(format!("{i}.weight")).and_then(|a| a.into_dimensionality().ok());
        let bias = wide(format!("{i}.bias")).and_then(|a| a.into_dimensionality().ok());
        Layer {
            weight: weight.unwrap_or_else(|| Array2::zeros((0, 0))),
            bias: bias.unwrap_or_else(|| Array1::zeros(0)),
        }
    };
    (0..n_layers).map(layer).collect()
}

/// The optimiser refuses only what can't come from here; said all the same.
fn as_loss_error(error: CoreError) -> LossError {
    LossError::NoData {
        what: "lick classifier",
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trials of a session whose traces rise after bin 30 where the animal licks; labels miss 0, hit 1, CR 2, FA 3.
    fn session(seed: u64) -> Traces {
        let mut rng = StreamRng::new(seed, "test", 0);
        let types: Vec<usize> = (0..60).map(|k| k % 4).collect();
        let values = Array3::from_shape_fn((60, 60, 2), |(k, t, b)| {
            let is_up = t >= 30 && types[k] % 2 == 1 && b == 0;
            1000.0 + f64::from(u8::from(is_up)) * 5.0 + rng.random::<f64>() * 4.0
        });
        Traces {
            values,
            conditions: types.iter().map(|y| usize::from(*y < 2)).collect(),
            types,
        }
    }

    fn task(train: &[Traces]) -> Task {
        let names = ["miss", "hit", "CR", "false_alarm"].map(String::from);
        Task::new(&names, train).unwrap()
    }

    #[test]
    fn licks_are_told_by_network_and_threshold_and_become_types_by_stimulus() {
        let train = [session(1), session(2)];
        let task = task(&train);
        assert_eq!(
            (task.trial_type(1, true), task.trial_type(1, false)),
            (Some(1), Some(0))
        );
        assert_eq!(
            (task.trial_type(0, true), task.trial_type(0, false)),
            (Some(3), Some(2))
        );
        assert_eq!(task.trial_type(2, true), None);
        let new = session(3);
        let expected: Vec<bool> = new.types.iter().map(|y| y % 2 == 1).collect();
        let mut rng = StreamRng::new(4, "test", 0);
        let filter = MovingMean::half_overlapping(6).unwrap();
        let classifier = Classifier::fit(&task, &train, filter, &mut rng).unwrap();
        assert_eq!(classifier.licks(&new.values.view()).unwrap(), expected);
        let threshold = Threshold::fit(&task, &train, 30).unwrap();
        assert!((1004.0..1009.0).contains(&threshold.value), "{}", threshold.value);
        assert_eq!(threshold.licks(&new.values.view()), expected);
    }

    #[test]
    fn trials_that_were_broken_off_teach_nothing() {
        let mut early = session(2);
        early.types.fill(4);
        let names = ["miss", "hit", "CR", "false_alarm", "EarlyLick"].map(String::from);
        let judged = |train: &[Traces]| {
            let task = Task::new(&names, train).unwrap();
            assert_eq!(task.is_lick(4), None);
            let filter = MovingMean::half_overlapping(6).unwrap();
            let classifier = Classifier::fit(&task, train, filter, &mut StreamRng::new(4, "test", 0)).unwrap();
            let threshold = Threshold::fit(&task, train, 30).unwrap();
            let new = session(3).values;
            (classifier.licks(&new.view()).unwrap(), threshold.value)
        };
        // A session of nothing else changes neither.
        assert_eq!(judged(&[session(1), early]), judged(&[session(1)]));
    }

    #[test]
    fn without_a_type_that_licks_there_is_no_task() {
        let names = ["left", "right", "up", "down"].map(String::from);
        assert!(Task::new(&names, &[session(1)]).is_err());
    }
}
