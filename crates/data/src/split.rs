//! Test, validation and training trials.
//!
//! The outer split sets test trials aside, which only the final evaluation may open; a validation part
//! for early stopping is carved out of what is left. Both are stratified by trial type, per session.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::binned::{BinnedSession, TrialInfo};
use crate::error::DataError;
use crate::fs::hex;

/// Version of the JSON form.
const SCHEMA: u32 = 1;

/// How to split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitOptions {
    /// Fraction of the trials that only the final evaluation sees.
    pub test_fraction: f64,
    /// Fraction of the remaining trials that early stopping sees.
    pub validation_fraction: f64,
    /// Trial types with fewer trials in a session go wholly to training.
    pub min_trials_per_type: usize,
    /// Sessions whose parts are named instead, by session.
    pub sessions: BTreeMap<String, NamedParts>,
}

/// Parts of a session that are named; trials in neither are fitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedParts {
    /// Trials that only the final evaluation sees.
    pub test: NamedTrials,
    /// Trials that early stopping sees.
    pub validation: NamedTrials,
}

/// Trials of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedTrials {
    /// Every one.
    All,
    /// These rows of the recording's table of trials.
    These(Vec<usize>),
}

impl Default for NamedTrials {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Default for SplitOptions {
    fn default() -> Self {
        Self {
            // Sourmpis et al. 2023, program: StratifiedShuffleSplit(test_size=0.25).
            test_fraction: 0.25,
            validation_fraction: 0.15,
            min_trials_per_type: 4,
            sessions: BTreeMap::new(),
        }
    }
}

/// Which trials of which session are for what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Splits {
    /// Version of this form.
    pub schema: u32,
    /// Per session, in the order of the data.
    pub sessions: Vec<SessionSplit>,
    /// What should be looked at.
    pub warnings: Vec<String>,
}

/// The trials of one session; positions along the trial axis, increasing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSplit {
    /// Name of the session.
    pub id: String,
    /// Number of trials of the session.
    pub n_trials: usize,
    /// SHA-256 of the trial table (row, stimulus, movie and type of each trial), hexadecimal.
    pub trials_sha256: String,
    /// Trials to fit.
    pub train: Vec<usize>,
    /// Trials for early stopping.
    pub validation: Vec<usize>,
    /// Trials for the final evaluation.
    pub test: Vec<usize>,
}

/// Splits the trials of each session, stratified by trial type.
///
/// The number of test trials is the fraction of the trials that take part, rounded; trial types share it
/// by largest remainders, and each keeps at least one trial for training.
///
/// # Errors
/// [`DataError::BadOption`] if a fraction isn't in [0, 1), or a session or trial is named that isn't there or is in two parts.
///
/// # Departures
/// The published program rounds the number of test trials up and has no validation part.
pub fn split(
    sessions: &[BinnedSession],
    options: &SplitOptions,
    rng: &mut (impl Rng + ?Sized),
) -> Result<Splits, DataError> {
    check_fraction("test_fraction", options.test_fraction)?;
    check_fraction("validation_fraction", options.validation_fraction)?;
    if let Some(name) = options
        .sessions
        .keys()
        .find(|name| sessions.iter().all(|s| s.id != **name))
    {
        let ids: Vec<String> = sessions.iter().map(|session| format!("'{}'", session.id)).collect();
        return Err(DataError::BadOption {
            name: "split.sessions",
            found: format!("session '{name}' (there are {})", ids.join(", ")),
            expected: "names of sessions in use",
        });
    }
    let mut warnings = Vec::new();
    let sessions: Result<Vec<SessionSplit>, DataError> = sessions
        .iter()
        .map(|session| match options.sessions.get(&session.id) {
            Some(parts) => named_session(session, parts),
            None => Ok(split_session(session, options, rng, &mut warnings)),
        })
        .collect();
    Ok(Splits {
        schema: SCHEMA,
        sessions: sessions?,
        warnings,
    })
}

/// A session whose parts are named.
fn named_session(session: &BinnedSession, parts: &NamedParts) -> Result<SessionSplit, DataError> {
    let fail = |found: String, expected: &'static str| DataError::BadOption {
        name: "split.sessions",
        found: format!("session '{}': {found}", session.id),
        expected,
    };
    let positions = |trials: &NamedTrials| -> Result<Vec<usize>, DataError> {
        let NamedTrials::These(rows) = trials else {
            return Ok((0..session.trials.len()).collect());
        };
        let place = |row: &usize| {
            let found = session.trials.iter().position(|trial| trial.index == *row);
            found.ok_or_else(|| {
                fail(
                    format!("trial {row}"),
                    "a row of the recording's table of trials, from 0",
                )
            })
        };
        let mut positions = rows.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        positions.sort_unstable();
        match positions.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(fail(
                format!("trial {} twice in a part", session.trials[pair[0]].index),
                "each trial once",
            )),
            None => Ok(positions),
        }
    };
    let (test, validation) = (positions(&parts.test)?, positions(&parts.validation)?);
    if let Some(both) = validation.iter().find(|k| test.contains(k)) {
        return Err(fail(
            format!("trial {} in `test` and `validation`", session.trials[*both].index),
            "each trial in one part",
        ));
    }
    let is_free = |k: &usize| !test.contains(k) && !validation.contains(k);
    Ok(SessionSplit {
        id: session.id.clone(),
        n_trials: session.trials.len(),
        trials_sha256: fingerprint(&session.trials),
        train: (0..session.trials.len()).filter(is_free).collect(),
        validation,
        test,
    })
}

fn check_fraction(name: &'static str, value: f64) -> Result<(), DataError> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(DataError::BadOption {
        name,
        found: value.to_string(),
        expected: "a number from 0 to 1, without 1",
    })
}

fn split_session(
    session: &BinnedSession,
    options: &SplitOptions,
    rng: &mut (impl Rng + ?Sized),
    warnings: &mut Vec<String>,
) -> SessionSplit {
    let mut strata: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (k, trial) in session.trials.iter().enumerate() {
        strata.entry(&trial.trial_type).or_default().push(k);
    }
    let mut train = Vec::new();
    strata.retain(|trial_type, trials| {
        let is_large = trials.len() >= options.min_trials_per_type.max(2);
        if !is_large {
            warnings.push(format!(
                "session '{}': trial type '{trial_type}' has {} trials, fewer than {}; all go to training",
                session.id,
                trials.len(),
                options.min_trials_per_type.max(2)
            ));
            train.append(trials);
        }
        is_large
    });
    for trials in strata.values_mut() {
        trials.shuffle(rng);
    }
    let mut test = take_fraction(&mut strata, options.test_fraction);
    let mut validation = take_fraction(&mut strata, options.validation_fraction);
    train.extend(strata.into_values().flatten());
    for (name, part, fraction) in [
        ("test", &test, options.test_fraction),
        ("validation", &validation, options.validation_fraction),
    ] {
        if part.is_empty() && fraction > 0.0 {
            warnings.push(format!("session '{}': too few trials for a {name} part", session.id));
        }
    }
    for part in [&mut train, &mut validation, &mut test] {
        part.sort_unstable();
    }
    SessionSplit {
        id: session.id.clone(),
        n_trials: session.trials.len(),
        trials_sha256: fingerprint(&session.trials),
        train,
        validation,
        test,
    }
}

/// Takes the last trials of each (shuffled) stratum.
fn take_fraction(strata: &mut BTreeMap<&str, Vec<usize>>, fraction: f64) -> Vec<usize> {
    let sizes: Vec<usize> = strata.values().map(Vec::len).collect();
    let quotas = apportion(&sizes, fraction);
    let mut taken = Vec::new();
    for (trials, quota) in strata.values_mut().zip(quotas) {
        taken.extend(trials.drain(trials.len().saturating_sub(quota)..));
    }
    taken
}

/// Shares round(fraction · Σ sizes) among strata by largest remainders (ties: the earlier stratum);
/// no stratum gives its last trial.
fn apportion(sizes: &[usize], fraction: f64) -> Vec<usize> {
    let total = (sizes.iter().sum::<usize>() as f64 * fraction).round() as usize;
    let exact = |size: usize| size as f64 * fraction;
    let cap = |size: usize| size.saturating_sub(1);
    let mut quotas: Vec<usize> = sizes
        .iter()
        .map(|&size| (exact(size).floor() as usize).min(cap(size)))
        .collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|&a, &b| {
        let remainder = |i: usize| exact(sizes[i]).fract();
        remainder(b).total_cmp(&remainder(a)).then(a.cmp(&b))
    });
    let mut missing = total.saturating_sub(quotas.iter().sum());
    for &i in order.iter().cycle().take(2 * sizes.len()) {
        if missing > 0 && quotas[i] < cap(sizes[i]) {
            quotas[i] += 1;
            missing -= 1;
        }
    }
    quotas
}

/// SHA-256 of what identifies the trials of a session.
fn fingerprint(trials: &[TrialInfo]) -> String {
    let mut hasher = Sha256::new();
    for trial in trials {
        hasher.update((trial.index as u64).to_le_bytes());
        hasher.update(trial.stimulus.to_le_bytes());
        let movie = trial.movie.map_or(u64::MAX, |movie| movie as u64);
        hasher.update(movie.to_le_bytes());
        hasher.update((trial.trial_type.len() as u64).to_le_bytes());
        hasher.update(trial.trial_type.as_bytes());
    }
    hex(&hasher.finalize())
}

impl Splits {
    /// The JSON form, ending in a newline.
    ///
    /// # Errors
    /// [`DataError::Parse`] if serialisation fails, which these types don't.
    pub fn to_json(&self) -> Result<String, DataError> {
        let json = serde_json::to_string_pretty(self).map_err(|error| DataError::Parse {
            subject: "splits".to_owned(),
            message: error.to_string(),
        })?;
        Ok(json + "\n")
    }

    /// Reads the JSON form; `subject` names it in errors, usually a path.
    ///
    /// # Errors
    /// [`DataError::Parse`] if it isn't JSON of this form, is of a newer version, or holds a trial
    /// twice, not at all, or beyond the session.
    pub fn from_json(subject: &str, json: &str) -> Result<Self, DataError> {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        let fail = |message: String| DataError::Parse {
            subject: subject.to_owned(),
            message,
        };
        let version: Version = serde_json::from_str(json).map_err(|e| fail(e.to_string()))?;
        if version.schema > SCHEMA {
            return Err(fail(format!(
                "splits of version {}; this program reads up to version {SCHEMA} (hint: use a newer snnfit)",
                version.schema
            )));
        }
        let splits: Self = serde_json::from_str(json).map_err(|e| fail(e.to_string()))?;
        for session in &splits.sessions {
            session.check_complete().map_err(fail)?;
        }
        Ok(splits)
    }

    /// Do these splits belong to this data?
    ///
    /// # Errors
    /// [`DataError::SplitsMismatch`] naming each session that is missing, superfluous or different.
    pub fn check_matches(&self, sessions: &[BinnedSession]) -> Result<(), DataError> {
        let mut problems = Vec::new();
        if self.sessions.len() != sessions.len() {
            problems.push(format!(
                "{} sessions in the splits, {} in the data",
                self.sessions.len(),
                sessions.len()
            ));
        }
        for (split, session) in self.sessions.iter().zip(sessions) {
            if split.id != session.id {
                problems.push(format!(
                    "session '{}' in the splits is '{}' in the data",
                    split.id, session.id
                ));
            } else if split.n_trials != session.trials.len() {
                problems.push(format!(
                    "session '{}': {} trials in the splits, {} in the data",
                    split.id,
                    split.n_trials,
                    session.trials.len()
                ));
            } else if split.trials_sha256 != fingerprint(&session.trials) {
                problems.push(format!(
                    "session '{}': the trial table (stimuli, movies, types) differs",
                    split.id
                ));
            }
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(DataError::SplitsMismatch { problems })
        }
    }
}

impl SessionSplit {
    fn check_complete(&self) -> Result<(), String> {
        let parts = [&self.train, &self.validation, &self.test];
        let mut trials: Vec<usize> = parts.into_iter().flatten().copied().collect();
        trials.sort_unstable();
        if trials.into_iter().eq(0..self.n_trials) {
            return Ok(());
        }
        Err(format!(
            "session '{}': training, validation and test trials are not each trial of 0 to {} once",
            self.id,
            self.n_trials.saturating_sub(1)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::apportion;

    #[test]
    fn quotas_add_up_and_follow_the_largest_remainders() {
        // 25 % of 7 + 6 + 6 = 19 trials is 4.75 → 5; shares 1.75, 1.5, 1.5 → 2, 2, 1.
        assert_eq!(apportion(&[7, 6, 6], 0.25), [2, 2, 1]);
        assert_eq!(apportion(&[160, 40], 0.25), [40, 10]);
        assert_eq!(apportion(&[4, 4, 4], 0.25), [1, 1, 1]);
        // No stratum gives its last trial.
        assert_eq!(apportion(&[2, 2], 0.9), [1, 1]);
        assert_eq!(apportion(&[], 0.25), [0; 0]);
    }
}
