//! From text to [`raw::Config`]: reading, TOML syntax, `--set`, unknown keys and wrong types, each with its place.
//!
//! Overrides are parsed as TOML behind as many spaces as the texts before them have bytes. So every span of the
//! merged tree tells which text it belongs to, and errors of an override point into the override.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use miette::NamedSource;
use serde::Deserialize;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::{ConfigError, Place, Problem};
use super::raw;

/// Largest configuration that is read, bytes.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Version of the format that this program reads and writes.
pub const SCHEMA: u64 = 1;

/// Where a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// In the file, at this line.
    File {
        /// Line, from 1.
        line: usize,
    },
    /// On the command line.
    Set,
}

/// The texts of a configuration: file, then overrides, each behind as many spaces as the texts before it.
#[derive(Debug)]
pub(crate) struct Texts {
    padded: Vec<String>,
    texts: Vec<Text>,
}

impl Texts {
    /// The text called `name` and its overrides, in order.
    pub(crate) fn new(name: &str, text: &str, overrides: &[String]) -> Self {
        let source = |name: &str, text: &str| Arc::new(NamedSource::new(name, printable(text)).with_language("toml"));
        let mut padded = vec![text.to_owned()];
        let mut texts = vec![Text {
            source: source(name, text),
            start: 0,
            is_override: false,
        }];
        let mut start = text.len();
        for assignment in overrides {
            texts.push(Text {
                source: source("--set", assignment),
                start,
                is_override: true,
            });
            padded.push(" ".repeat(start) + assignment);
            start += assignment.len();
        }
        Self { padded, texts }
    }
}

/// The text as shown in errors: without control characters, and of the same length in bytes.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\n' | '\t' => c,
        '\r' => ' ',
        // One and two bytes long, as the ASCII and other control characters of Unicode.
        _ if c.is_ascii_control() => '?',
        _ if c.is_control() => '¿',
        _ => c,
    };
    text.chars().map(shown).collect()
}

/// A parsed configuration that still knows where each value stands.
#[derive(Debug)]
pub(crate) struct Parsed<'a> {
    pub(crate) config: raw::Config,
    tree: DeTable<'a>,
    texts: &'a [Text],
}

#[derive(Debug)]
struct Text {
    source: Arc<NamedSource<String>>,
    start: usize,
    is_override: bool,
}

/// Reads a configuration file as text without its byte order mark.
pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let cannot_read = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(cannot_read)?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() {
            "a directory"
        } else {
            "a pipe or device"
        };
        return Err(ConfigError::NotAFile {
            path: path.to_owned(),
            found,
        });
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_CONFIG_BYTES + 1).read_to_end(&mut bytes))
        .map_err(cannot_read)?;
    if bytes.len() as u64 > MAX_CONFIG_BYTES {
        let bytes = metadata.len().max(bytes.len() as u64);
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            bytes,
            limit: MAX_CONFIG_BYTES,
        });
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        let line_start = valid.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        ConfigError::NotUtf8 {
            path: path.to_owned(),
            line: valid.split(|&b| b == b'\n').count(),
            column: valid.len() - line_start + 1,
        }
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Parses the file's text, then the overrides in order (later ones win).
pub(crate) fn parse(input: &Texts) -> Result<Parsed<'_>, ConfigError> {
    let mut tree = DeTable::new();
    for (text, padded) in input.texts.iter().zip(&input.padded) {
        let mut part = parse_tree(padded, text)?;
        if text.is_override && part.is_empty() {
            return Err(one_problem(Problem {
                code: "snnfit::config::override",
                message: format!("--set '{}' assigns nothing", text.source.inner()),
                label: Some("expected `key = value`".to_owned()),
                help: Some(OVERRIDE_HELP.to_owned()),
                place: Some(Place::new(Arc::clone(&text.source), 0..text.source.inner().len())),
            }));
        }
        check_schema(&part, &input.texts)?;
        if text.is_override {
            merge_losses(&mut tree, &mut part, &input.texts)?;
        }
        merge(&mut tree, part);
    }
    let deserializer = toml::de::Deserializer::from(toml::Spanned::new(0..0, tree.clone()));
    let config = raw::Config::deserialize(deserializer).map_err(|error| shape_error(&error, &input.texts))?;
    Ok(Parsed {
        config,
        tree,
        texts: &input.texts,
    })
}

const OVERRIDE_HELP: &str =
    "write TOML: --set 'train.max_steps = 10', and strings in quotes: --set 'train.engine = \"reference\"'";

fn parse_tree<'a>(padded: &'a str, text: &Text) -> Result<DeTable<'a>, ConfigError> {
    let tree = DeTable::parse(padded).map_err(|error| {
        one_problem(Problem {
            code: if text.is_override {
                "snnfit::config::override"
            } else {
                "snnfit::config::syntax"
            },
            message: format!("not valid TOML: {}", error.message()),
            label: None,
            help: text.is_override.then(|| OVERRIDE_HELP.to_owned()),
            place: error.span().and_then(|span| place(std::slice::from_ref(text), span)),
        })
    })?;
    Ok(tree.into_inner())
}

fn check_schema(tree: &DeTable<'_>, texts: &[Text]) -> Result<(), ConfigError> {
    let Some(value) = tree.get("schema") else { return Ok(()) };
    let Some(integer) = value.get_ref().as_integer() else {
        return Ok(());
    };
    let found = u64::from_str_radix(integer.as_str(), integer.radix());
    if found == Ok(SCHEMA) {
        return Ok(());
    }
    let is_newer = found.is_ok_and(|version| version > SCHEMA);
    Err(one_problem(Problem {
        code: "snnfit::config::schema",
        message: format!(
            "the configuration has schema {integer}; this program (snnfit {}) reads schema {SCHEMA}",
            env!("CARGO_PKG_VERSION")
        ),
        label: Some(format!("expected {SCHEMA}")),
        help: Some(if is_newer {
            "use a newer snnfit, or rewrite the file for this one (`snnfit config schema`)".to_owned()
        } else {
            format!("write `schema = {SCHEMA}`")
        }),
        place: place(texts, value.span()),
    }))
}

fn merge<'a>(base: &mut DeTable<'a>, over: DeTable<'a>) {
    for (key, value) in over {
        match (base.get_mut(key.get_ref().as_ref()).map(toml::Spanned::get_mut), value) {
            (Some(DeValue::Table(old)), value) if value.get_ref().is_table() => {
                if let DeValue::Table(new) = value.into_inner() {
                    merge(old, new);
                }
            }
            (_, value) => {
                base.remove(key.get_ref().as_ref());
                base.insert(key, value);
            }
        }
    }
}

const LOSS_HELP: &str = "change one by its name: --set 'loss.psth.weight = 20.0'; a new list replaces all losses: --set 'loss = \
                         [{ psth = { weight = 10.0 } }]'";

/// Overrides such as `loss.psth.weight = 3.0`: `loss` is a list, of which each entry is found by its name.
fn merge_losses<'a>(tree: &mut DeTable<'a>, part: &mut DeTable<'a>, texts: &[Text]) -> Result<(), ConfigError> {
    if !part.get("loss").is_some_and(|value| value.get_ref().is_table()) {
        return Ok(());
    }
    let given = part.remove("loss");
    let span = given.as_ref().map(toml::Spanned::span);
    let Some(DeValue::Table(changes)) = given.map(toml::Spanned::into_inner) else {
        return Ok(());
    };
    if changes.is_empty() {
        return Err(one_problem(Problem {
            code: "snnfit::config::override",
            message: "`loss = {}` changes no loss".to_owned(),
            label: None,
            help: Some(LOSS_HELP.to_owned()),
            place: span.and_then(|span| place(texts, span)),
        }));
    }
    let mut none = DeArray::new();
    let losses = match tree.get_mut("loss").map(toml::Spanned::get_mut) {
        Some(DeValue::Array(losses)) => losses,
        _ => &mut none,
    };
    for (name, change) in changes {
        let has_name = |loss: &&mut toml::Spanned<DeValue<'_>>| loss.get_ref().get(name.get_ref().as_ref()).is_some();
        let listed = losses.iter_mut().find(has_name).map(toml::Spanned::get_mut);
        if let Some(DeValue::Table(loss)) = listed {
            let mut over = DeTable::new();
            over.insert(name, change);
            merge(loss, over);
            continue;
        }
        let names: Vec<String> = losses
            .iter()
            .filter_map(|loss| {
                loss.get_ref()
                    .as_table()?
                    .keys()
                    .next()
                    .map(|name| format!("`{}`", name.get_ref()))
            })
            .collect();
        return Err(one_problem(Problem {
            code: "snnfit::config::override",
            message: if names.is_empty() {
                format!(
                    "the configuration lists no loss that `loss.{}` could change",
                    name.get_ref()
                )
            } else {
                format!(
                    "the configuration has no loss `{}`; it lists {}",
                    name.get_ref(),
                    names.join(", ")
                )
            },
            label: None,
            help: Some(LOSS_HELP.to_owned()),
            place: place(texts, name.span()),
        }));
    }
    Ok(())
}

fn place(texts: &[Text], span: std::ops::Range<usize>) -> Option<Place> {
    let text = texts
        .iter()
        .rev()
        .find(|text| span.start >= text.start && span.end > text.start)
        .or(texts.first())?;
    let shifted = span.start.saturating_sub(text.start)..span.end.saturating_sub(text.start);
    Some(Place::new(Arc::clone(&text.source), shifted))
}

fn one_problem(problem: Problem) -> ConfigError {
    ConfigError::Invalid {
        problems: vec![problem],
    }
}

/// An unknown key, a wrong type or an unknown variant, as serde words it, with a suggestion.
fn shape_error(error: &toml::de::Error, texts: &[Text]) -> ConfigError {
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let is_unknown_key = message.starts_with("unknown field");
    let is_unknown = is_unknown_key || message.starts_with("unknown variant");
    let suggestion = if is_unknown {
        quoted.next().and_then(|unknown| closest(unknown, quoted))
    } else {
        None
    };
    let code = if is_unknown_key {
        "snnfit::config::unknown_key"
    } else if is_unknown {
        "snnfit::config::unknown_choice"
    } else {
        "snnfit::config::wrong_type"
    };
    let message = plain_words(message);
    let schema_hint = "run `snnfit config schema` for every key, its unit and default";
    one_problem(Problem {
        code,
        message,
        label: suggestion.as_ref().map(|known| format!("did you mean `{known}`?")),
        help: Some(match suggestion {
            Some(known) => format!("did you mean `{known}`? {schema_hint}"),
            None => schema_hint.to_owned(),
        }),
        place: error.span().and_then(|span| place(texts, span)),
    })
}

/// The message in the words of the file format instead of those of the deserializer.
fn plain_words(message: &str) -> String {
    const WORDS: [(&str, &str); 8] = [
        ("unknown field", "unknown key"),
        ("unknown variant", "unknown choice"),
        ("invalid type: map", "wrong type: table"),
        ("invalid type: sequence", "wrong type: list"),
        ("invalid type", "wrong type"),
        ("expected a sequence", "expected a list"),
        ("expected u64", "expected an integer ≥ 0"),
        ("expected f64", "expected a number"),
    ];
    if message.starts_with("wanted exactly 1 element") {
        let found = if message.contains("more than") {
            "several are"
        } else {
            "none is"
        };
        return format!("exactly one choice is expected in this table, {found} written");
    }
    WORDS
        .iter()
        .fold(message.to_owned(), |text, (from, to)| text.replacen(from, to, 1))
}

/// The candidate with the smallest edit distance, if that is at most a third of the longer word (at least 1).
pub(crate) fn closest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    candidates
        .map(|candidate| (edit_distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.to_owned())
}

/// Edit distance with insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(200).collect(), b.chars().take(200).collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let substitution = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = substitution.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

impl Parsed<'_> {
    /// Place of the value with a dotted path such as `loss[0].psth.weight`.
    pub(crate) fn place(&self, key: &str) -> Option<Place> {
        place(self.texts, self.span(key)?)
    }

    /// Where the value was written; `None` when it was not.
    pub(crate) fn written(&self, key: &str) -> Option<Written> {
        let span = self.span(key)?;
        let text = self
            .texts
            .iter()
            .rev()
            .find(|text| span.start >= text.start && span.end > text.start);
        if text.is_some_and(|text| text.is_override) {
            return Some(Written::Set);
        }
        place(self.texts, span).map(|place| Written::File { line: place.line })
    }

    fn span(&self, key: &str) -> Option<std::ops::Range<usize>> {
        let mut found: Option<&toml::Spanned<DeValue<'_>>> = None;
        for part in key.split('.') {
            let (name, index) = match part.split_once('[') {
                Some((name, rest)) => (
                    name,
                    rest.strip_suffix(']').and_then(|digits| digits.parse::<usize>().ok()),
                ),
                None => (part, None),
            };
            found = match found {
                None => self.tree.get(name),
                Some(value) => value.get_ref().get(name),
            };
            if let Some(index) = index {
                found = found.and_then(|value| value.get_ref().get(index));
            }
            found?;
        }
        found.map(toml::Spanned::span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_single_edits() {
        assert_eq!(edit_distance("tau_mem_ms", "tau_m_ms"), 2);
        assert_eq!(edit_distance("lr", "lr"), 0);
        assert_eq!(edit_distance("setps", "steps"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
    }

    #[test]
    fn a_far_word_has_no_suggestion() {
        assert_eq!(closest("zebra", ["lr", "beta1"].into_iter()), None);
        assert_eq!(closest("beta", ["lr", "beta1"].into_iter()), Some("beta1".to_owned()));
    }

    #[test]
    fn a_later_override_wins_and_keeps_its_place() {
        let sets = ["train.max_steps = 5".to_owned(), "train.max_steps = 7".to_owned()];
        let texts = Texts::new("x.toml", "schema = 1\n[train]\nmax_steps = 3\nlog_every = 2\n", &sets);
        let parsed = parse(&texts).unwrap();
        let train = parsed.config.train.as_ref().unwrap();
        assert_eq!((train.max_steps, train.log_every), (Some(7), Some(2)));
        assert_eq!(parsed.written("train.max_steps"), Some(Written::Set));
        assert_eq!(parsed.written("train.log_every"), Some(Written::File { line: 4 }));
        assert_eq!(parsed.written("train.patience"), None);
        let place = parsed.place("train.max_steps").unwrap();
        assert_eq!((place.line, place.column), (1, 19));
    }
}
