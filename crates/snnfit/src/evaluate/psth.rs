//! Trial averages: PSTH correlations and the neuron loss.

use losses::LossError;
use losses::metrics::{MetricValue, NeuronCorrelation, PsthCorrelation, psth_correlation, psth_reliability};
use losses::psth::{ConditionWeights, PsthLoss};
use losses::statistics::{MovingMean, PSTH_STD_FLOOR, Psth, Recording, TrialSelection};
use rand::Rng;

use super::context::{Context, Each};
use super::interval;

/// `psth_pearson`, its reference-centred variant, and the value with all model trials.
pub(super) fn correlations(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let inputs = context.inputs;
    let filter = inputs.filters.spike();
    let reference = Psth::of_recording(inputs.recording, &context.test.all, filter)?;
    let correlate = |recording: &Recording, trials: &TrialSelection| {
        let psth = Psth::of_recording(recording, trials, filter)?;
        let min_rate_hz = inputs.settings.min_rate_hz;
        psth_correlation(&reference, &psth, &context.rates_hz, min_rate_hz, inputs.bin_ms)
    };
    let compared = context.each_average(|s| correlate(&s.recording, &s.for_averages(&s.compared)))?;
    let generated = context.each_average(|s| correlate(&s.recording, &s.for_averages(&s.generated)))?;
    if compared.model.neurons.is_empty() {
        return Err(LossError::NoData {
            what: "PSTH correlation",
            reason: format!(
                "{} neurons fire at most {} Hz in the training data, {} others have no test PSTH that varies{}",
                compared.model.n_below_rate,
                inputs.settings.min_rate_hz,
                compared.model.n_undefined,
                match context.few_spikes.len() {
                    0 => String::new(),
                    n => format!(", {n} have fewer than {} spikes", inputs.settings.min_spikes),
                }
            ),
        });
    }
    let ceiling = noiseless_ceiling(context, &compared.model, rng)?;
    let mut metric = |name: &str, of: &Each<PsthCorrelation>, value: fn(&NeuronCorrelation) -> f64| {
        let values = by_session(context, &of.model, value);
        let mean = |c: &PsthCorrelation| losses::statistics::mean(&c.neurons.iter().map(value).collect::<Vec<_>>());
        Ok::<_, LossError>(MetricValue {
            ci95: Some(interval::of_mean(&values, inputs.settings.n_resamples, rng)?),
            ..of.metric(name, of.model.neurons.len(), "1", mean)
        })
    };
    let pearson = metric("psth_pearson", &compared, |n| n.pearson)?;
    let centered = metric("psth_pearson_ref_centered", &compared, |n| n.ref_centered)?;
    let all = metric("psth_pearson_all_trials", &generated, |n| n.pearson)?;
    Ok(vec![
        MetricValue {
            ceiling_noiseless: ceiling,
            ..pearson
        },
        centered,
        MetricValue {
            ceiling_noiseless: ceiling,
            reference_train_test: None, // training data have no more trials
            ..all
        },
    ])
}

/// What a noiseless model would reach over the same neurons; `None` where no neuron has two trials of a condition.
fn noiseless_ceiling(
    context: &Context<'_>,
    neurons: &PsthCorrelation,
    rng: &mut dyn Rng,
) -> Result<Option<f64>, LossError> {
    let inputs = context.inputs;
    let neurons: Vec<usize> = neurons.neurons.iter().map(|n| n.neuron).collect();
    let n_splits = inputs.settings.n_reliability_splits;
    let filter = inputs.filters.spike();
    let reliability = psth_reliability(inputs.recording, &context.test.all, filter, &neurons, n_splits, rng);
    Ok(super::report::if_defined(reliability)?.map(|r| r.ceiling_noiseless))
}

fn by_session(
    context: &Context<'_>,
    correlation: &PsthCorrelation,
    value: fn(&NeuronCorrelation) -> f64,
) -> Vec<Vec<f64>> {
    let session_of = context.inputs.recording.session_of_neuron();
    let mut sessions = vec![Vec::new(); context.inputs.recording.sessions().len()];
    for neuron in &correlation.neurons {
        if let Some(s) = session_of[neuron.neuron] {
            sessions[s].push(value(neuron));
        }
    }
    sessions
}

/// The neuron loss without its coefficient: test trials as the data, scales of the training trials.
pub(super) fn neuron_loss(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let inputs = context.inputs;
    let filter = inputs.filters.spike();
    let loss = test_loss(context)?;
    let values = context
        .each_average(|s| loss.between(&Psth::of_recording(&s.recording, &s.for_averages(&s.compared), filter)?))?;

    let per_neuron = per_neuron_loss(&loss, context)?;
    let session_of = inputs.recording.session_of_neuron();
    let mut sessions = vec![Vec::new(); inputs.recording.sessions().len()];
    for (neuron, value) in per_neuron.iter().enumerate() {
        if let (Some(s), true) = (session_of[neuron], value.is_finite()) {
            sessions[s].push(*value);
        }
    }
    let n = sessions.iter().map(Vec::len).sum();
    Ok(vec![MetricValue {
        ci95: Some(interval::of_mean(&sessions, inputs.settings.n_resamples, rng)?),
        ..values.metric("neuron_loss", n, "1", |value| *value)
    }])
}

/// The loss with the test trials as the data and scales of the training trials, of neurons with spikes enough, all alike.
pub(super) fn test_loss(context: &Context<'_>) -> Result<PsthLoss, LossError> {
    let inputs = context.inputs;
    let filter = inputs.filters.spike();
    let scale = Psth::of_recording(inputs.recording, inputs.train, filter)?.scale(PSTH_STD_FLOOR);
    let mut data = Psth::of_recording(inputs.recording, &context.test.all, filter)?;
    data.leave_out(&context.few_spikes);
    let n_bins = inputs.recording.n_bins();
    PsthLoss::new(data, scale, ConditionWeights::TrialShare, filter, n_bins)
}

/// The model's loss of each neuron `[N]`, NaN for a neuron that is not compared.
pub(super) fn per_neuron_loss(loss: &PsthLoss, context: &Context<'_>) -> Result<Vec<f64>, LossError> {
    let model = &context.model;
    // The mean over a neuron's own trials in the place of the sum over one trial: sessions have different numbers.
    let mut means = Psth::of_recording(
        &model.recording,
        &model.for_averages(&model.compared),
        MovingMean::new(1, 1, 0)?,
    )?
    .values;
    means.mapv_inplace(|mean| if mean.is_nan() { 0.0 } else { mean });
    let one_each = vec![1; means.shape()[0]];
    Ok(loss.evaluate(&means.view(), &one_each)?.per_neuron)
}
