//! The part of the check that concerns onsets of Poisson inputs: `onsets_ms`, or `[[model.rsnn.input.poisson.channels]]`.

use super::checked::{ChannelAmplitude, ChannelOnset, Data, InputChannel, PoissonInput};
use super::defaults as d;
use super::raw;
use super::resolver::{Resolver, Rule};

/// Table of the inputs.
const TABLE: &str = "model.rsnn.input.poisson";
/// The amplitude that is the stimulus value of a trial.
const STIMULUS: &str = "stimulus";

/// Onsets where there are no channels: the short form.
pub(super) fn check_onsets_ms(r: &mut Resolver<'_>, given: Option<Vec<f64>>, has_channels: bool) -> Vec<f64> {
    let key = format!("{TABLE}.onsets_ms");
    if !has_channels {
        return r.value(&key, given, None, vec![d::ONSET_MS]);
    }
    if given.is_some() {
        let message = format!("`{key}` and `{TABLE}.channels` both say when inputs answer");
        r.problem(
            &key,
            &message,
            "remove onsets_ms; a fixed onset is a channel with onset_ms",
        );
    }
    Vec::new()
}

/// Channels in the order of the file; `input` is what else is known of the inputs.
pub(super) fn check_channels(
    r: &mut Resolver<'_>,
    given: Vec<raw::InputChannel>,
    input: &PoissonInput,
    data: &Data,
) -> Vec<InputChannel> {
    if given.is_empty() {
        return Vec::new();
    }
    let shares = shares(r, &given);
    let channels = given.into_iter().zip(shares).enumerate();
    let checked = channels.map(|(i, (raw, share))| check_channel(r, &at(i), raw, share, input, data));
    let checked: Vec<InputChannel> = checked.collect();
    let driven = (input.n as f64 * input.p_stim) as usize;
    for (i, channel) in checked.iter().enumerate() {
        if input.p_stim > 0.0 && (input.n as f64 * input.p_stim * channel.share + 1e-9) < 1.0 {
            let message = format!("`{}` has none of {driven} stimulus-driven inputs", at(i));
            r.problem(&at(i), &message, "raise its share, n or p_stim");
        }
    }
    if input.p_stim == 0.0 {
        let message = format!("`{TABLE}.channels` are there but `{TABLE}.p_stim` = 0 drives no input");
        r.problem(
            &format!("{TABLE}.p_stim"),
            &message,
            "raise p_stim, or remove the channels",
        );
    }
    checked
}

fn at(i: usize) -> String {
    format!("{TABLE}.channels[{i}]")
}

/// The share of each channel: as given, or an equal part of what the others leave.
fn shares(r: &mut Resolver<'_>, channels: &[raw::InputChannel]) -> Vec<f64> {
    for (i, channel) in channels.iter().enumerate() {
        if let Some(share) = channel.share {
            r.check_number(&format!("{}.share", at(i)), share, Rule::Unit, None);
        }
    }
    let given: f64 = channels.iter().filter_map(|channel| channel.share).sum();
    let n_open = channels.iter().filter(|channel| channel.share.is_none()).count();
    // Shares of thirds and the like don't add up to 1 exactly.
    let is_over = given > 1.0 + 1e-9 || (n_open > 0 && given > 1.0 - 1e-9);
    if is_over {
        let message = if n_open > 0 {
            format!("the shares of `{TABLE}.channels` add up to {given}, which leaves nothing for those without one")
        } else {
            format!("the shares of `{TABLE}.channels` add up to {given}")
        };
        r.problem(&format!("{TABLE}.channels"), &message, "together they are at most 1");
    }
    let rest = (1.0 - given).max(0.0) / n_open.max(1) as f64;
    channels.iter().map(|channel| channel.share.unwrap_or(rest)).collect()
}

fn check_channel(
    r: &mut Resolver<'_>,
    at: &str,
    raw: raw::InputChannel,
    share: f64,
    input: &PoissonInput,
    data: &Data,
) -> InputChannel {
    let key = |name: &str| format!("{at}.{name}");
    let share = r.value(&key("share"), raw.share, None, share);
    let onset = match (raw.event, raw.onset_ms) {
        (Some(_), Some(_)) => {
            let message = format!(
                "`{}` and `{}` both say when inputs answer",
                key("event"),
                key("onset_ms")
            );
            r.problem(&key("onset_ms"), &message, "remove one of them");
            ChannelOnset::Ms(d::ONSET_MS)
        }
        (Some(event), None) => {
            name(r, &key("event"), &event, "an event of the recording's trials");
            r.given(&key("event"), &event);
            ChannelOnset::Event(event)
        }
        (None, Some(onset)) => {
            r.given(&key("onset_ms"), &onset);
            r.check_number(&key("onset_ms"), onset, Rule::Finite, None);
            warn_outside(r, &key("onset_ms"), onset, data);
            ChannelOnset::Ms(onset)
        }
        (None, None) => {
            let message = format!("`{at}` doesn't say when its inputs answer");
            r.problem(
                at,
                &message,
                "write event = \"NAME\", an event of the recording's trials, or onset_ms = 0.0",
            );
            ChannelOnset::Ms(d::ONSET_MS)
        }
    };
    let amplitude = r.optional(&key("amplitude"), raw.amplitude, None);
    let amplitude = match amplitude {
        None => ChannelAmplitude::One,
        Some(column) if column == STIMULUS => ChannelAmplitude::Stimulus,
        Some(column) => {
            let what = "a value of the recording's trials, or \"stimulus\"";
            name(r, &key("amplitude"), &column, what);
            ChannelAmplitude::Value(column)
        }
    };
    InputChannel {
        share,
        onset,
        amplitude,
        duration: r.steps(
            &key("duration_ms"),
            raw.duration_ms,
            input.duration.ms,
            data.bin_ms,
            Rule::Positive,
        ),
        gain: r.number(&key("gain"), raw.gain, input.gain, Rule::NonNegative),
    }
}

fn name(r: &mut Resolver<'_>, key: &str, name: &str, what: &str) {
    if name.trim().is_empty() {
        r.problem(key, &format!("`{key}` is empty"), &format!("name {what}"));
    }
}

/// Says of an onset that lies outside of the window that nothing answers to it.
pub(super) fn warn_outside(r: &mut Resolver<'_>, key: &str, onset: f64, data: &Data) {
    if let Some([start, stop]) = data.window_ms
        && !(start..stop).contains(&onset)
    {
        r.warn(&format!(
            "{key}: onset {onset} ms lies outside the window [{start}, {stop}) ms and has no effect"
        ));
    }
}
