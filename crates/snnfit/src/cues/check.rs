//! Whether trials have what channels take from them: columns that are missing, events outside of the window.

use std::collections::BTreeMap;

use data::BinnedSession;
use losses::statistics::median;

use super::{SessionCues, Sources};
use crate::config::checked::{ChannelAmplitude, ChannelOnset, PoissonInput as Inputs};
use crate::fit_error::FitError;

/// What a channel asks for and trials don't have.
pub(super) fn channel_error(channel: usize, key: Option<&'static str>, reason: String) -> FitError {
    let key = key.map_or_else(String::new, |key| format!(".{key}"));
    FitError::Channel {
        key: format!("model.rsnn.input.poisson.channels[{channel}]{key}"),
        reason,
    }
}

/// Sessions in use that lack an event or value; an error where all of them do.
pub(super) fn missing_columns(
    input: &Inputs,
    sources: &Sources<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<usize>, FitError> {
    let mut missing = Vec::new();
    let used: Vec<usize> = (0..sources.sessions.len()).filter(|s| sources.used[*s]).collect();
    let mut told = Vec::new();
    for (c, channel) in input.channels.iter().enumerate() {
        let event = match &channel.onset {
            ChannelOnset::Event(name) => Some(("event", "events", name)),
            ChannelOnset::Ms(_) => None,
        };
        let value = match &channel.amplitude {
            ChannelAmplitude::Value(name) => Some(("amplitude", "values", name)),
            ChannelAmplitude::One | ChannelAmplitude::Stimulus => None,
        };
        for (key, kind, name) in event.into_iter().chain(value) {
            let columns = |s: usize| match kind {
                "events" => &sources.sessions[s].event_ms,
                _ => &sources.sessions[s].values,
            };
            let lacking: Vec<usize> = used
                .iter()
                .copied()
                .filter(|&s| !columns(s).contains_key(name))
                .collect();
            if lacking.len() == used.len() {
                let mut known: Vec<&str> = used
                    .iter()
                    .flat_map(|&s| columns(s).keys().map(String::as_str))
                    .collect();
                known.sort_unstable();
                known.dedup();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                let reason = format!("no session has trials/{kind}/{name}; there are: {known}");
                return Err(channel_error(c, Some(key), reason));
            }
            if !lacking.is_empty() && !told.contains(&(kind, name)) {
                told.push((kind, name));
                let names: Vec<&str> = lacking.iter().map(|&s| sources.sessions[s].id.as_str()).collect();
                warnings.push(format!(
                    "model.rsnn.input.poisson.channels[{c}].{key}: sessions {} have no trials/{kind}/{name}; model trials with their \
                     stimuli take events of other sessions' trials",
                    names.join(", ")
                ));
            }
            missing.extend(lacking);
        }
    }
    Ok(missing)
}

/// Events that lie in no training trial's window can't be answered to; those that lie outside in some are told.
pub(super) fn check_windows(
    input: &Inputs,
    sessions: &[Option<SessionCues>],
    training: &BTreeMap<usize, Vec<(usize, usize)>>,
    binned: &[BinnedSession],
    warnings: &mut Vec<String>,
) -> Result<(), FitError> {
    for (c, channel) in input.channels.iter().enumerate() {
        let ChannelOnset::Event(name) = &channel.onset else {
            continue;
        };
        let (mut times, mut n_outside) = (Vec::new(), 0);
        let (mut window, mut n_trials) = ([0.0, 0.0], 0);
        for &(s, k) in training.values().flatten() {
            n_trials += 1;
            let session = &binned[s];
            window = window_ms(session);
            let happened = sessions[s].as_ref().and(session.event_ms[name][k]);
            if let Some(ms) = happened {
                times.push(ms);
                n_outside += usize::from(!(window[0]..window[1]).contains(&ms));
            }
        }
        let [start, stop] = window;
        if times.is_empty() {
            let reason = format!("trials/events/{name} happens in none of {n_trials} training trials");
            return Err(channel_error(c, Some("event"), reason));
        }
        let median_ms = median(&times).unwrap_or(f64::NAN);
        if n_outside == times.len() {
            let reason = format!(
                "trials/events/{name} lies in the window [{start}, {stop}) ms in none of {} training trials that have it (median {median_ms} ms)",
                times.len()
            );
            return Err(channel_error(c, Some("event"), reason));
        }
        if n_outside > 0 {
            warnings.push(format!(
                "model.rsnn.input.poisson.channels[{c}].event: trials/events/{name} lies outside the window [{start}, {stop}) ms in {n_outside} of \
                 {} training trials that have it, and has no effect there",
                times.len()
            ));
        }
    }
    Ok(())
}

/// Times of the bins of a session (ms).
fn window_ms(session: &BinnedSession) -> [f64; 2] {
    let stop = session.start_ms + session.n_bins() as f64 * session.bin_ms;
    [session.start_ms, stop]
}
