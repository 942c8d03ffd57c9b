//! Whole distributions: peak population rates of trials, mean rates of neurons.

use std::collections::BTreeMap;

use losses::LossError;
use losses::bootstrap::{bootstrap_ci95, pooled_mean};
use losses::metrics::{MetricValue, fraction_above, peak_rates_hz, wasserstein1};
use losses::statistics::{Recording, TrialSelection, mean};
use rand::Rng;

use super::context::{Context, Each};
use super::interval;

/// Peak rates in Hz by population (the axis G), of each trial.
type Peaks = Vec<Vec<f64>>;

/// `peak_rate_wasserstein` (mean over areas, and of each area) and `peak_rate_above_threshold` of each area.
///
/// Distances are those of model and data over the same neurons of a session, averaged over sessions.
pub(super) fn peak_rates(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    super::matching::features(context, &context.test.stand_in)?; // populations there?
    let of = |recording: &Recording, trials: &TrialSelection| -> Result<Peaks, LossError> {
        let inputs = context.inputs;
        peak_rates_hz(
            recording,
            inputs.populations,
            trials,
            inputs.filters.spike(),
            inputs.bin_ms,
        )
    };
    let data = of(context.inputs.recording, &context.test.usable)?;
    let model = context.each(|s| of(&s.recording, &s.compared))?;
    let areas = areas(context, &data, &model.model);
    if areas.is_empty() {
        return Err(LossError::NoData {
            what: "peak rates",
            reason: "no population has complete trials of model and data".to_owned(),
        });
    }
    let mut metrics = vec![mean_distance(context, &areas, &model, &data, rng)?];
    for (name, groups) in &areas {
        metrics.push(area_distance(context, name, groups, &model, &data, rng)?);
    }
    for (name, groups) in &areas {
        metrics.extend(above_threshold(context, name, groups, &model, &data, rng)?);
    }
    Ok(metrics)
}

/// Populations of each area (by area index) with trials on both sides.
fn areas(context: &Context<'_>, data: &Peaks, model: &Peaks) -> Vec<(String, Vec<usize>)> {
    let mut areas = BTreeMap::<Option<usize>, Vec<usize>>::new();
    for (g, group) in context.inputs.populations.groups.iter().enumerate() {
        if !data[g].is_empty() && !model[g].is_empty() {
            areas.entry(group.area).or_default().push(g);
        }
    }
    let names = context.inputs.recording.area_names();
    let name = |area: Option<usize>| match area.and_then(|a| names.get(a)) {
        Some(name) => name.clone(),
        None => "all".to_owned(),
    };
    areas.into_iter().map(|(area, groups)| (name(area), groups)).collect()
}

/// Mean over populations of the distance; NaN if one has no trials.
fn distance(model: &[Vec<&f64>], data: &[Vec<&f64>]) -> f64 {
    let values = |list: &Vec<&f64>| list.iter().map(|v| **v).collect::<Vec<_>>();
    let distances = model
        .iter()
        .zip(data)
        .map(|(m, d)| wasserstein1(&values(m), &values(d)).unwrap_or(f64::NAN));
    mean(&distances.collect::<Vec<_>>())
}

fn distance_of(groups: &[usize], model: &Peaks, data: &Peaks) -> f64 {
    let pick = |peaks: &Peaks| -> Vec<Vec<f64>> { groups.iter().map(|&g| peaks[g].clone()).collect() };
    let (model, data) = (pick(model), pick(data));
    distance(&references(&model), &references(&data))
}

fn references(lists: &[Vec<f64>]) -> Vec<Vec<&f64>> {
    lists.iter().map(|list| list.iter().collect()).collect()
}

fn area_distance(
    context: &Context<'_>,
    name: &str,
    groups: &[usize],
    model: &Each<Peaks>,
    data: &Peaks,
    rng: &mut dyn Rng,
) -> Result<MetricValue, LossError> {
    let n = groups.iter().map(|&g| data[g].len()).sum();
    let metric = model.metric(&format!("peak_rate_wasserstein/{name}"), n, "Hz", |model| {
        distance_of(groups, model, data)
    });
    let first: Vec<Vec<f64>> = groups.iter().map(|&g| model.model[g].clone()).collect();
    let second: Vec<Vec<f64>> = groups.iter().map(|&g| data[g].clone()).collect();
    let n_resamples = context.inputs.settings.n_resamples;
    let ci95 = interval::of_distance(metric.value, &first, &second, n_resamples, rng, distance)?;
    Ok(MetricValue {
        ci95: Some(ci95),
        ..metric
    })
}

/// Mean over areas of [`area_distance`]; a resampled trial brings the peaks of all areas of its session.
fn mean_distance(
    context: &Context<'_>,
    areas: &[(String, Vec<usize>)],
    model: &Each<Peaks>,
    data: &Peaks,
    rng: &mut dyn Rng,
) -> Result<MetricValue, LossError> {
    let n = areas
        .iter()
        .flat_map(|(_, groups)| groups)
        .map(|&g| data[g].len())
        .sum();
    let metric = model.metric("peak_rate_wasserstein", n, "Hz", |model| {
        let distances = areas.iter().map(|(_, groups)| distance_of(groups, model, data));
        mean(&distances.collect::<Vec<_>>())
    });
    let n_resamples = context.inputs.settings.n_resamples;
    let (first, second) = (
        trials_by_session(context, areas, &model.model),
        trials_by_session(context, areas, data),
    );
    let ci95 = interval::of_distance(metric.value, &first, &second, n_resamples, rng, |model, data| {
        let of_area = |a: usize| {
            let peaks = |sessions: &[Vec<&Vec<Option<f64>>>]| -> Vec<Vec<f64>> {
                let of_session = |trials: &Vec<&Vec<Option<f64>>>| trials.iter().filter_map(|trial| trial[a]).collect();
                sessions.iter().map(of_session).collect()
            };
            let pairs = peaks(model).into_iter().zip(peaks(data));
            let (model, data): (Vec<_>, Vec<_>) = pairs.filter(|(m, d)| !m.is_empty() && !d.is_empty()).unzip();
            (!model.is_empty()).then(|| distance(&references(&model), &references(&data)))
        };
        mean(&(0..areas.len()).filter_map(of_area).collect::<Vec<_>>())
    })?;
    Ok(MetricValue {
        ci95: Some(ci95),
        ..metric
    })
}

/// For each session, its trials' peaks in each area (`None` where the session has no population of it).
fn trials_by_session(
    context: &Context<'_>,
    areas: &[(String, Vec<usize>)],
    peaks: &Peaks,
) -> Vec<Vec<Vec<Option<f64>>>> {
    let groups = &context.inputs.populations.groups;
    let of_session = |s: usize| {
        let own: Vec<Option<usize>> = areas
            .iter()
            .map(|(_, of_area)| of_area.iter().copied().find(|&g| groups[g].session == s))
            .collect();
        let n_trials = own.iter().flatten().map(|&g| peaks[g].len()).max().unwrap_or(0);
        let trial = |k: usize| own.iter().map(|g| g.and_then(|g| peaks[g].get(k).copied())).collect();
        (0..n_trials).map(trial).collect()
    };
    (0..context.inputs.recording.sessions().len()).map(of_session).collect()
}

/// Fraction of trials whose peak rate is above the threshold, of the model and of the data: means over sessions.
fn above_threshold(
    context: &Context<'_>,
    name: &str,
    groups: &[usize],
    model: &Each<Peaks>,
    data: &Peaks,
    rng: &mut dyn Rng,
) -> Result<[MetricValue; 2], LossError> {
    let settings = &context.inputs.settings;
    let threshold = settings.peak_threshold_hz;
    let of = |peaks: &Peaks| {
        mean(
            &groups
                .iter()
                .map(|&g| fraction_above(&peaks[g], threshold))
                .collect::<Vec<_>>(),
        )
    };
    let mut ci95 = |peaks: &Peaks| {
        let is_above = |g: &usize| peaks[*g].iter().map(|&p| f64::from(u8::from(p > threshold))).collect();
        let sessions: Vec<Vec<f64>> = groups.iter().map(is_above).collect();
        bootstrap_ci95(&sessions, settings.n_resamples, rng, |sessions| {
            let means = sessions
                .iter()
                .map(|session| pooled_mean(std::slice::from_ref(session)));
            mean(&means.collect::<Vec<_>>())
        })
    };
    let n = |peaks: &Peaks| groups.iter().map(|&g| peaks[g].len()).sum();
    Ok([
        MetricValue {
            ci95: Some(ci95(&model.model)?),
            ..model.metric(&format!("peak_rate_above_threshold/{name}"), n(&model.model), "1", of)
        },
        MetricValue {
            ci95: Some(ci95(data)?),
            ..MetricValue::new(format!("peak_rate_above_threshold_data/{name}"), of(data), n(data), "1")
        },
    ])
}

/// `firing_rate_wasserstein`: distributions of the mean rates of all recorded neurons.
pub(super) fn firing_rates(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let inputs = context.inputs;
    let data = inputs.recording.rates_hz(&context.test.all, inputs.bin_ms)?;
    let session_of = inputs.recording.session_of_neuron();
    let pairs = |rates: &[f64]| -> Vec<Vec<(f64, f64)>> {
        let mut sessions = vec![Vec::new(); inputs.recording.sessions().len()];
        for (neuron, session) in session_of.iter().enumerate() {
            if let Some(s) = session
                && rates[neuron].is_finite()
                && data[neuron].is_finite()
            {
                sessions[*s].push((rates[neuron], data[neuron]));
            }
        }
        sessions
    };
    let distance = |sessions: &[Vec<&(f64, f64)>]| {
        let (model, data): (Vec<f64>, Vec<f64>) = sessions.iter().flatten().copied().copied().unzip();
        wasserstein1(&model, &data).unwrap_or(f64::NAN)
    };
    let rates = context.each_average(|s| s.recording.rates_hz(&s.for_averages(&s.compared), inputs.bin_ms))?;
    let of_model = pairs(&rates.model);
    let n = of_model.iter().map(Vec::len).sum();
    let metric = rates.metric("firing_rate_wasserstein", n, "Hz", |rates| {
        let pairs = pairs(rates);
        distance(&pairs.iter().map(|session| session.iter().collect()).collect::<Vec<_>>())
    });
    let nothing: Vec<Vec<()>> = of_model.iter().map(|_| Vec::new()).collect();
    let n_resamples = inputs.settings.n_resamples;
    let ci95 = interval::of_distance(metric.value, &of_model, &nothing, n_resamples, rng, |pairs, _| {
        distance(pairs)
    })?;
    Ok(vec![MetricValue {
        ci95: Some(ci95),
        ..metric
    }])
}
