//! Where trial-to-trial variability is right and where it is not: by area, by trace of behaviour, over time, and together
//! in two areas.
//!
//! One number over all of it ([`super::dispersion`]) is right where too little in one area and too much in another, or at
//! another time, make up for each other, and says nothing about what varies together.

use std::collections::BTreeMap;

use losses::LossError;
use losses::bootstrap::{bootstrap_ci95_of_several, spread_about_means};
use losses::metrics::{MetricValue, population_correlation};
use losses::statistics::{DataFeatures, SessionFeatures, mean};
use ndarray::{Array2, Axis, s};
use rand::Rng;

use super::context::{Context, Each};
use super::interval;
use super::matching::features;
use super::report::VarianceInTime;
use super::stand_in::StandIn;

/// The metrics.
pub(super) const NAMES: [&str; 7] = [
    "population_variance_ratio",
    "population_variance_ratio_early",
    "population_variance_ratio_late",
    "behaviour_variance_ratio",
    "area_correlation",
    "area_correlation_data",
    "area_correlation_error",
];
/// Most stretches of time that `metrics.json` has a ratio of.
const MAX_STRETCHES: usize = 12;

/// What there is to say.
pub(super) struct Parts {
    pub(super) metrics: Vec<MetricValue>,
    pub(super) over_time: Vec<VarianceInTime>,
}

/// Trials of a session.
struct Trials {
    features: Array2<f64>,
    /// Activity of each area `[K, T2]`, as [`Layout::areas`].
    areas: Vec<Array2<f64>>,
    conditions: Vec<usize>,
}

/// A part of the features.
struct Part {
    name: String,
    /// Columns in each session of the data; none where it lacks the part.
    columns: Vec<Vec<usize>>,
}

/// Which features are what.
struct Layout {
    /// Parts with a metric, then stretches of time.
    parts: Vec<Part>,
    n_stretches: usize,
    /// First columns of the populations of each area of each session.
    areas: Vec<Vec<Vec<usize>>>,
    n_bins: usize,
}

/// Correlations between two areas of a session.
struct Pair {
    model: f64,
    data: f64,
}

/// Variance ratios of parts and correlations between areas, with intervals, nulls and references.
///
/// A ratio is that of summed variances of the part's features in a session, and the mean over the sessions that have the
/// part, as `feature_variance_ratio` is of all features.
pub(super) fn parts(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Parts, LossError> {
    let n_resamples = context.inputs.settings.n_resamples;
    let data = features(context, &context.test.stand_in)?.normalized(&context.test.usable)?;
    let layout = Layout::new(context, &data);
    let recorded = layout.trials(data.sessions.clone());
    let of = |stand_in: &StandIn<'_>| {
        let like = features(context, stand_in)?.normalized_like(&data, &stand_in.compared)?;
        Ok(layout.trials(like.sessions))
    };
    let of = context.each(of)?;
    let values = Each {
        model: layout.whole(&of.model, &recorded),
        nulls: of
            .nulls
            .iter()
            .map(|(null, trials)| (*null, layout.whole(trials, &recorded)))
            .collect(),
        train: of.train.as_ref().map(|train| layout.whole(train, &recorded)),
    };
    let (first, second) = (places(&of.model), places(&recorded));
    let (spread_model, spread_data) = (spread(&of.model)?, spread(&recorded)?);
    let intervals = bootstrap_ci95_of_several(&first, &second, n_resamples, rng, |model, recorded_| {
        let drawn = model.iter().zip(recorded_);
        layout
            .statistics(drawn.filter_map(|(m, d)| Drawn::new((&spread_model, m), (&spread_data, d))))
            .0
    })?;
    let interval_of = |i: usize| intervals.get(i).copied().flatten();
    let n_of = |part: &Part| {
        let sessions = recorded
            .iter()
            .zip(&part.columns)
            .filter(|(_, columns)| !columns.is_empty());
        sessions.map(|(trials, _)| trials.conditions.len()).sum()
    };
    let n_metrics = layout.parts.len() - layout.n_stretches;
    let metric = |(i, part): (usize, &Part)| MetricValue {
        ci95: interval_of(i),
        ..values.metric(&part.name, n_of(part), "1", |(values, _)| values[i])
    };
    let mut metrics: Vec<MetricValue> = layout.parts[..n_metrics].iter().enumerate().map(metric).collect();

    let (of_model, of_data) = (layout.parts.len(), layout.parts.len() + 1);
    let n_pairs = values.model.1.len();
    metrics.push(MetricValue {
        ci95: interval_of(of_model),
        ..values.metric("area_correlation", n_pairs, "1", |(values, _)| values[of_model])
    });
    metrics.push(MetricValue {
        ci95: interval_of(of_data),
        ..MetricValue::new("area_correlation_data", values.model.0[of_data], n_pairs, "1")
    });
    let error = values.metric("area_correlation_error", n_pairs, "1", |(_, pairs)| {
        rms_difference(pairs)
    });
    let ci95 = if n_pairs > 0 {
        let statistic = |model: &[Vec<&(usize, usize)>], recorded_: &[Vec<&(usize, usize)>]| {
            let drawn = model.iter().zip(recorded_);
            let drawn = drawn.filter_map(|(m, d)| Drawn::new((&of.model, m), (&recorded, d)));
            rms_difference(&drawn.flat_map(|drawn| layout.pairs(&drawn)).collect::<Vec<_>>())
        };
        Some(interval::of_distance(
            error.value,
            &first,
            &second,
            n_resamples,
            rng,
            statistic,
        )?)
    } else {
        None
    };
    metrics.push(MetricValue { ci95, ..error });

    let reference = |i: usize| {
        values
            .train
            .as_ref()
            .map(|(values, _)| values[i])
            .filter(|v| v.is_finite())
    };
    let stretch = |(j, part): (usize, &Part)| {
        let (i, inputs) = (n_metrics + j, context.inputs);
        let length_ms = inputs.recording.n_bins() as f64 * inputs.bin_ms;
        let edge = |j: usize| inputs.settings.times.start_ms + length_ms * layout.edge(j) as f64 / layout.n_bins as f64;
        VarianceInTime {
            start_ms: edge(j),
            end_ms: edge(j + 1),
            ratio: values.model.0[i],
            ci95: interval_of(i),
            reference_train_test: reference(i),
            n: n_of(part),
        }
    };
    let over_time = layout.parts[n_metrics..].iter().enumerate().map(stretch);
    Ok(Parts {
        metrics,
        over_time: over_time.filter(|stretch| stretch.ratio.is_finite()).collect(),
    })
}

/// Root mean square difference; NaN without pairs.
fn rms_difference(pairs: &[Pair]) -> f64 {
    let squares: Vec<f64> = pairs.iter().map(|pair| (pair.model - pair.data).powi(2)).collect();
    mean(&squares).sqrt()
}

/// Session and number of each trial, as the bootstrap draws them.
fn places(sessions: &[Trials]) -> Vec<Vec<(usize, usize)>> {
    let of_session = |(s, trials): (usize, &Trials)| (0..trials.conditions.len()).map(|k| (s, k)).collect();
    sessions.iter().enumerate().map(of_session).collect()
}

/// The trials to resample for intervals: their variances are those of the trials in the mean over resamples.
fn spread(sessions: &[Trials]) -> Result<Vec<Trials>, LossError> {
    let of_session = |trials: &Trials| {
        let mut features = trials.features.clone();
        spread_about_means(&mut features, &vec![0; trials.conditions.len()])?;
        Ok(Trials {
            features,
            areas: trials.areas.clone(),
            conditions: trials.conditions.clone(),
        })
    };
    sessions.iter().map(of_session).collect()
}

/// Trials of one session on both sides, some of them more than once.
struct Drawn<'a> {
    session: usize,
    model: (&'a Trials, Vec<usize>),
    data: (&'a Trials, Vec<usize>),
}

impl<'a> Drawn<'a> {
    /// None where a side has no trials.
    fn new(
        (model, of_model): (&'a [Trials], &[&(usize, usize)]),
        (data, of_data): (&'a [Trials], &[&(usize, usize)]),
    ) -> Option<Self> {
        let session = of_model.first()?.0;
        of_data.first()?;
        let rows = |places: &[&(usize, usize)]| places.iter().map(|(_, k)| *k).collect();
        Some(Self {
            session,
            model: (model.get(session)?, rows(of_model)),
            data: (data.get(session)?, rows(of_data)),
        })
    }
}

impl Layout {
    fn new(context: &Context<'_>, data: &DataFeatures) -> Self {
        let inputs = context.inputs;
        let n_bins = inputs.filters.n_feature_bins();
        let names = inputs.recording.area_names();
        let area_of = |g: usize| inputs.populations.groups[g].area;
        let mut by_area = BTreeMap::<usize, Vec<Vec<usize>>>::new();
        let mut by_channel = BTreeMap::<usize, Vec<Vec<usize>>>::new();
        let mut areas = Vec::with_capacity(data.sessions.len());
        let n_sessions = data.sessions.len();
        let block = |first: usize| first..first + n_bins;
        for (s, session) in data.sessions.iter().enumerate() {
            let mut of_session = BTreeMap::<usize, Vec<usize>>::new();
            for (i, &g) in session.populations.iter().enumerate() {
                let Some(area) = area_of(g) else { continue };
                let columns = by_area.entry(area).or_insert_with(|| vec![Vec::new(); n_sessions]);
                columns[s].extend(block(i * n_bins));
                of_session.entry(area).or_default().push(i * n_bins);
            }
            for (b, &channel) in session.channels.iter().enumerate() {
                let columns = by_channel
                    .entry(channel)
                    .or_insert_with(|| vec![Vec::new(); n_sessions]);
                columns[s].extend(block((session.populations.len() + b) * n_bins));
            }
            areas.push(of_session.into_values().collect());
        }
        let mut layout = Self {
            parts: Vec::new(),
            n_stretches: MAX_STRETCHES.min(n_bins),
            areas,
            n_bins,
        };
        let in_time = |name: &str, bins: std::ops::Range<usize>| {
            let of_session = |session: &SessionFeatures| {
                let first = (0..session.populations.len()).map(|i| i * n_bins);
                first.flat_map(|first| bins.clone().map(move |t| first + t)).collect()
            };
            Part {
                name: name.to_owned(),
                columns: data.sessions.iter().map(of_session).collect(),
            }
        };
        layout.parts.push(in_time("population_variance_ratio", 0..n_bins));
        layout.parts.extend(by_area.into_iter().map(|(area, columns)| Part {
            name: format!("population_variance_ratio/{}", names[area]),
            columns,
        }));
        layout
            .parts
            .push(in_time("population_variance_ratio_early", 0..n_bins / 2));
        layout
            .parts
            .push(in_time("population_variance_ratio_late", n_bins / 2..n_bins));
        layout
            .parts
            .extend(by_channel.into_iter().map(|(channel, columns)| Part {
                name: format!("behaviour_variance_ratio/{}", inputs.traces[channel]),
                columns,
            }));
        for j in 0..layout.n_stretches {
            let bins = layout.edge(j)..layout.edge(j + 1);
            layout.parts.push(in_time("", bins));
        }
        layout
    }

    /// Feature bin at which stretch `j` begins.
    fn edge(&self, j: usize) -> usize {
        j * self.n_bins / self.n_stretches
    }

    fn trials(&self, sessions: Vec<SessionFeatures>) -> Vec<Trials> {
        let of_session = |(session, areas): (SessionFeatures, &Vec<Vec<usize>>)| {
            let of_area = |blocks: &Vec<usize>| {
                let mut activity = Array2::zeros((session.features.nrows(), self.n_bins));
                for &first in blocks {
                    activity += &session.features.slice(s![.., first..first + self.n_bins]);
                }
                activity
            };
            Trials {
                areas: areas.iter().map(of_area).collect(),
                conditions: session.conditions,
                features: session.features,
            }
        };
        sessions.into_iter().zip(&self.areas).map(of_session).collect()
    }

    /// Statistics of all trials, and the correlations behind them.
    fn whole(&self, model: &[Trials], data: &[Trials]) -> (Vec<f64>, Vec<Pair>) {
        let all = |trials: &Trials| (0..trials.conditions.len()).collect();
        let sessions = model.iter().zip(data).enumerate();
        self.statistics(sessions.map(|(session, (model, data))| Drawn {
            session,
            model: (model, all(model)),
            data: (data, all(data)),
        }))
    }

    /// The ratio of each part, the mean correlation between areas in the model and that in the data; NaN for what is
    /// undefined.
    fn statistics<'a>(&self, sessions: impl Iterator<Item = Drawn<'a>>) -> (Vec<f64>, Vec<Pair>) {
        let mut ratios = vec![Vec::new(); self.parts.len()];
        let mut pairs = Vec::new();
        for drawn in sessions {
            let (model, data) = (variances(&drawn.model), variances(&drawn.data));
            for (ratios, part) in ratios.iter_mut().zip(&self.parts) {
                let sum = |of: &[f64]| part.columns[drawn.session].iter().map(|&c| of[c]).sum::<f64>();
                let ratio = sum(&model) / sum(&data);
                ratios.extend(ratio.is_finite().then_some(ratio));
            }
            pairs.extend(self.pairs(&drawn));
        }
        let mut found: Vec<f64> = ratios.iter().map(|ratios| mean(ratios)).collect();
        found.push(mean(&pairs.iter().map(|pair: &Pair| pair.model).collect::<Vec<_>>()));
        found.push(mean(&pairs.iter().map(|pair| pair.data).collect::<Vec<_>>()));
        (found, pairs)
    }

    /// Pairs of areas whose correlation is defined on both sides.
    fn pairs(&self, drawn: &Drawn<'_>) -> Vec<Pair> {
        let n_areas = self.areas[drawn.session].len();
        let selected = |(trials, rows): &(&Trials, Vec<usize>)| -> (Vec<Array2<f64>>, Vec<usize>) {
            let areas = trials.areas.iter().map(|area| area.select(Axis(0), rows)).collect();
            (areas, rows.iter().map(|&k| trials.conditions[k]).collect())
        };
        if n_areas < 2 {
            return Vec::new();
        }
        let (model, data) = (selected(&drawn.model), selected(&drawn.data));
        let correlation = |(areas, conditions): &(Vec<Array2<f64>>, Vec<usize>), a: usize, b: usize| {
            let found = population_correlation(&areas[a].view(), &areas[b].view(), conditions);
            found.ok().flatten()
        };
        let of_pair = |(a, b): (usize, usize)| {
            Some(Pair {
                model: correlation(&model, a, b)?,
                data: correlation(&data, a, b)?,
            })
        };
        let all = (0..n_areas).flat_map(|b| (0..b).map(move |a| (a, b)));
        all.filter_map(of_pair).collect()
    }
}

/// Unbiased variance of each feature over some trials; NaN for fewer than two.
fn variances((trials, rows): &(&Trials, Vec<usize>)) -> Vec<f64> {
    let n_features = trials.features.ncols();
    if rows.len() < 2 {
        return vec![f64::NAN; n_features];
    }
    trials.features.select(Axis(0), rows).var_axis(Axis(0), 1.0).to_vec()
}
