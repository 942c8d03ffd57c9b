//! Book-keeping of a check: takes each value from file, `--set`, preset or default, remembers where it came from, and
//! collects problems and warnings.

use std::ops::RangeInclusive;

use serde::Serialize;

use super::checked::Steps;
use super::error::Problem;
use super::parse::{Parsed, Written};
use super::raw::Preset;

/// Where a resolved value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The program's default.
    Default,
    /// The preset named in the configuration.
    Preset,
    /// The configuration file.
    File {
        /// Line, from 1.
        line: usize,
    },
    /// `--set` or `--seed`.
    Set,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset => f.write_str("preset"),
            Self::File { line } => write!(f, "file:{line}"),
            Self::Set => f.write_str("--set"),
        }
    }
}

/// One resolved value, for `snnfit config show`.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownValue {
    /// Dotted key, e.g. `train.max_steps`.
    pub key: String,
    /// The value; `None` when the recording or trial decides.
    pub value: Option<toml::Value>,
    /// Where it comes from.
    pub origin: Origin,
}

/// Range of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Finite,
    Positive,
    NonNegative,
    /// 0 ≤ x ≤ 1
    Unit,
    /// 0 < x < 1
    InsideUnit,
    /// 0 ≤ x < 1
    BelowOne,
}

impl Rule {
    fn holds(self, x: f64) -> bool {
        x.is_finite()
            && match self {
                Self::Finite => true,
                Self::Positive => x > 0.0,
                Self::NonNegative => x >= 0.0,
                Self::Unit => (0.0..=1.0).contains(&x),
                Self::InsideUnit => x > 0.0 && x < 1.0,
                Self::BelowOne => (0.0..1.0).contains(&x),
            }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Finite => "finite",
            Self::Positive => "finite and > 0",
            Self::NonNegative => "finite and ≥ 0",
            Self::Unit => "between 0 and 1",
            Self::InsideUnit => "between 0 and 1 (both excluded)",
            Self::BelowOne => "at least 0 and below 1",
        }
    }
}

/// State of one check.
pub(super) struct Resolver<'a> {
    parsed: &'a Parsed<'a>,
    preset: Option<Preset>,
    pub(super) values: Vec<ShownValue>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<String>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(parsed: &'a Parsed<'a>) -> Self {
        Self {
            parsed,
            preset: None,
            values: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(super) fn set_preset(&mut self, preset: Option<Preset>) {
        self.preset = preset;
    }

    pub(super) fn preset(&self) -> Option<Preset> {
        self.preset
    }

    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    pub(super) fn written(&self, key: &str) -> Option<Written> {
        self.parsed.written(key)
    }

    pub(super) fn warn(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
    }

    /// Reports a value that breaks a rule, at its place.
    pub(super) fn problem(&mut self, key: &str, message: &str, help: &str) {
        self.problems.push(Problem {
            code: "snnfit::config::value",
            message: message.to_owned(),
            label: None,
            help: Some(help.to_owned()),
            place: self.parsed.place(key),
        });
    }

    /// Reports a required key that is absent.
    pub(super) fn missing(&mut self, key: &str, help: &str) {
        self.problems.push(Problem {
            code: "snnfit::config::missing_key",
            message: format!("`{key}` is missing or empty"),
            label: None,
            help: Some(help.to_owned()),
            place: self.parsed.place(key),
        });
    }

    fn show<T: Serialize>(&mut self, key: &str, value: Option<&T>, origin: Origin) {
        // Every type passed in is a number, text, choice or list of these, which TOML can write.
        let value = value.and_then(|value| toml::Value::try_from(value).ok());
        self.values.push(ShownValue {
            key: key.to_owned(),
            value,
            origin,
        });
    }

    fn origin(&self, key: &str, has_preset: bool) -> Origin {
        match self.parsed.written(key) {
            Some(Written::Set) => Origin::Set,
            Some(Written::File { line }) => Origin::File { line },
            None if has_preset => Origin::Preset,
            None => Origin::Default,
        }
    }

    /// Remembers a value that must be given.
    pub(super) fn given<T: Serialize>(&mut self, key: &str, value: &T) {
        let origin = self.origin(key, false);
        self.show(key, Some(value), origin);
    }

    /// Remembers a value that can only be one.
    pub(super) fn fixed<T: Serialize>(&mut self, key: &str, value: &T) {
        self.given(key, value);
    }

    /// The given value, else the preset's, else the default.
    pub(super) fn value<T: Serialize>(&mut self, key: &str, given: Option<T>, preset: Option<T>, default: T) -> T {
        let origin = self.origin(key, preset.is_some());
        let value = given.or(preset).unwrap_or(default);
        self.show(key, Some(&value), origin);
        value
    }

    /// The given value, else the preset's, else nothing: the recording decides.
    pub(super) fn optional<T: Serialize>(&mut self, key: &str, given: Option<T>, preset: Option<T>) -> Option<T> {
        let origin = self.origin(key, preset.is_some());
        let value = given.or(preset);
        self.show(key, value.as_ref(), origin);
        value
    }

    pub(super) fn number(&mut self, key: &str, given: Option<f64>, default: f64, rule: Rule) -> f64 {
        let value = self.value(key, given, None, default);
        self.check_number(key, value, rule, Some(default));
        value
    }

    pub(super) fn check_number(&mut self, key: &str, value: f64, rule: Rule, default: Option<f64>) {
        if !rule.holds(value) {
            let help = match default {
                Some(default) if self.parsed.written(key).is_some() && rule.holds(default) => {
                    format!("the default is {default}")
                }
                _ => format!("write a number that is {}", rule.text()),
            };
            self.problem(key, &format!("`{key}` = {value} must be {}", rule.text()), &help);
        }
    }

    /// A seed: any integer that TOML can write.
    pub(super) fn seed(&mut self, key: &str, given: Option<u64>, default: u64) -> u64 {
        let value = self.value(key, given, None, default);
        self.check_count(key, value, &(0..=i64::MAX as u64));
        value
    }

    pub(super) fn count(&mut self, key: &str, given: Option<u64>, default: u64, range: RangeInclusive<u64>) -> usize {
        self.count_u64(key, given, default, range) as usize
    }

    pub(super) fn count_u64(&mut self, key: &str, given: Option<u64>, default: u64, range: RangeInclusive<u64>) -> u64 {
        let value = self.value(key, given, None, default);
        self.check_count(key, value, &range);
        value
    }

    pub(super) fn optional_count(
        &mut self,
        key: &str,
        given: Option<u64>,
        range: RangeInclusive<u64>,
    ) -> Option<usize> {
        let value = self.optional(key, given, None)?;
        self.check_count(key, value, &range);
        Some(value as usize)
    }

    pub(super) fn check_count(&mut self, key: &str, value: u64, range: &RangeInclusive<u64>) {
        if !range.contains(&value) {
            let help = format!("write an integer from {} to {}", range.start(), range.end());
            let message = format!("`{key}` = {value} must be from {} to {}", range.start(), range.end());
            self.problem(key, &message, &help);
        }
    }

    /// Lengths of windows in which spikes are counted, each at least a bin.
    pub(super) fn count_windows(&mut self, key: &str, lengths_ms: &[f64], bin_ms: f64) -> Vec<Steps> {
        let window = |ms: &f64| {
            let steps = (ms / bin_ms).round();
            let is_usable = ms.is_finite() && *ms > 0.0 && (bin_ms.is_nan() || (1.0..=1e6).contains(&steps));
            if !is_usable {
                let message = format!("`{key}` has {ms}; a window is at least one bin long");
                self.problem(key, &message, "write times in ms, e.g. [20.0, 33.3]");
            }
            Steps {
                ms: *ms,
                steps: (steps.max(1.0)) as usize,
            }
        };
        lengths_ms.iter().map(window).collect()
    }

    /// A time, rounded to bins: at least one where the time is > 0; warns when it does not fit.
    pub(super) fn steps(&mut self, key: &str, given: Option<f64>, default: f64, bin_ms: f64, rule: Rule) -> Steps {
        const MAX_STEPS: f64 = 1e9;
        let ms = self.number(key, given, default, rule);
        let bins = ms / bin_ms;
        if !rule.holds(ms) || !Rule::Positive.holds(bin_ms) {
            return Steps { ms, steps: 1 };
        }
        if bins > MAX_STEPS {
            let message =
                format!("`{key}` = {ms} ms is {bins:e} bins of {bin_ms} ms; at most {MAX_STEPS:e} are allowed");
            self.problem(key, &message, "times are in ms");
            return Steps { ms, steps: 1 };
        }
        let steps = if ms > 0.0 { (bins.round() as usize).max(1) } else { 0 };
        if (bins - steps as f64).abs() > 0.01 {
            let rounded = steps as f64 * bin_ms;
            self.warn(&format!(
                "{key} = {ms} ms is {bins:.3} bins of {bin_ms} ms; rounded to {steps} ({rounded:.3} ms)"
            ));
        }
        Steps { ms, steps }
    }

    /// Names in a list must be non-empty and occur once.
    pub(super) fn distinct(&mut self, key: &str, names: &[String]) {
        for (i, name) in names.iter().enumerate() {
            let entry = format!("{key}[{i}]");
            if name.trim().is_empty() {
                self.problem(
                    &entry,
                    &format!("`{key}` has an empty name"),
                    "remove it or write a name",
                );
            } else if names.iter().take(i).any(|earlier| earlier == name) {
                self.problem(&entry, &format!("`{key}` has '{name}' twice"), "remove one of them");
            }
        }
    }
}
