//! Trials of a session: all of them, or numbers and ranges of numbers.

use std::fmt;

use serde::de::{Error, SeqAccess, Unexpected, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most trials of a list: far more than a session has, and still little memory.
const MOST_TRIALS: u64 = 1_000_000;

/// Numbers in a row from which they are written as a range.
const SHORTEST_RANGE: u64 = 3;

/// Trials of a session: `"all"`, or a list of their numbers in the recording, from 0, and of ranges of them such as `"80-119"`, which has
/// both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrialList {
    /// Every trial.
    All,
    /// These, in the order in which they were written.
    These(Vec<u64>),
}

impl Serialize for TrialList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self::These(trials) = self else {
            return serializer.serialize_str("all");
        };
        let mut list = serializer.serialize_seq(None)?;
        for run in trials.chunk_by(|trial, next| trial.checked_add(1) == Some(*next)) {
            match run {
                [first, .., last] if last - first >= SHORTEST_RANGE - 1 => {
                    list.serialize_element(&format!("{first}-{last}"))?;
                }
                _ => {
                    for trial in run {
                        list.serialize_element(trial)?;
                    }
                }
            }
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for TrialList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TrialListVisitor;
        impl<'de> Visitor<'de> for TrialListVisitor {
            type Value = TrialList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"all\", or a list of trial numbers from 0 and of ranges such as \"80-119\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<TrialList, E> {
                match text {
                    "all" => Ok(TrialList::All),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TrialList, A::Error> {
                let mut trials = Vec::new();
                while let Some(Trials { first, last }) = list.next_element()? {
                    trials.extend(first..=last);
                    if trials.len() as u64 > MOST_TRIALS {
                        return Err(A::Error::custom(format!("more than {MOST_TRIALS} trials")));
                    }
                }
                Ok(TrialList::These(trials))
            }
        }
        deserializer.deserialize_any(TrialListVisitor)
    }
}

/// An element of the list; a single trial has the same ends.
struct Trials {
    first: u64,
    last: u64,
}

impl<'de> Deserialize<'de> for Trials {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TrialsVisitor;
        impl Visitor<'_> for TrialsVisitor {
            type Value = Trials;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a trial number from 0, or a range \"first-last\" of at most {MOST_TRIALS} trials, first not above last"
                )
            }
            fn visit_u64<E: Error>(self, trial: u64) -> Result<Trials, E> {
                Ok(Trials {
                    first: trial,
                    last: trial,
                })
            }
            fn visit_i64<E: Error>(self, trial: i64) -> Result<Trials, E> {
                match u64::try_from(trial) {
                    Ok(trial) => self.visit_u64(trial),
                    Err(_) => Err(E::invalid_value(Unexpected::Signed(trial), &self)),
                }
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Trials, E> {
                let ends = text
                    .split_once('-')
                    .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
                match ends {
                    Some((first, last)) if first <= last && last - first < MOST_TRIALS => Ok(Trials { first, last }),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(TrialsVisitor)
    }
}
