//! Which of a model's neurons are meant: by area, type, id or a file of ids.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use snn_core::connectivity::CellType;

use super::Neurons;
use crate::config::closest;
use crate::error::Error;

const MAX_FILE_BYTES: u64 = 16 << 20;
const KEYS: [&str; 4] = ["area", "type", "neuron", "file"];

/// Neurons that fulfil every one of its terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Term {
    Area(String),
    Type(CellType),
    Neuron(String),
    File(PathBuf),
}

impl FromStr for Selection {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let terms = split(text).into_iter().map(Term::parse).collect::<Result<_, _>>()?;
        Ok(Self { terms })
    }
}

/// Cuts at each `+` that a key and a colon follow, so that names may contain a `+`.
fn split(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    for (i, _) in text.match_indices('+') {
        let rest = text.get(i + 1..).unwrap_or_default();
        let is_term = rest.split_once(':').is_some_and(|(key, _)| {
            // An unknown key is cut off too, so that it is named as such.
            !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase())
        });
        if is_term {
            terms.extend(text.get(start..i));
            start = i + 1;
        }
    }
    terms.extend(text.get(start..));
    terms
}

impl Term {
    fn parse(text: &str) -> Result<Self, String> {
        let forms = "expected area:NAME, type:exc, type:inh, neuron:SESSION/UNIT or file:PATH, joined by +";
        let Some((key, value)) = text.split_once(':') else {
            return Err(format!("'{text}' selects nothing; {forms}"));
        };
        if value.is_empty() {
            return Err(format!("nothing follows '{key}:'; {forms}"));
        }
        match (key, value) {
            ("area", _) => Ok(Self::Area(value.to_owned())),
            ("type", "exc") => Ok(Self::Type(CellType::Excitatory)),
            ("type", "inh") => Ok(Self::Type(CellType::Inhibitory)),
            ("type", _) => Err(format!("'{value}' is no cell type; expected exc or inh")),
            ("neuron", _) => Ok(Self::Neuron(value.to_owned())),
            ("file", _) => Ok(Self::File(PathBuf::from(value))),
            _ => {
                let hint =
                    closest(key, KEYS.into_iter()).map_or(String::new(), |near| format!(" (did you mean {near}?)"));
                Err(format!("'{key}:' is unknown{hint}; {forms}"))
            }
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { "+" })?;
            match term {
                Term::Area(name) => write!(f, "area:{name}")?,
                Term::Type(CellType::Inhibitory) => f.write_str("type:inh")?,
                Term::Type(_) => f.write_str("type:exc")?,
                Term::Neuron(id) => write!(f, "neuron:{id}")?,
                Term::File(path) => write!(f, "file:{}", path.display())?,
            }
        }
        Ok(())
    }
}

impl Selection {
    /// The neurons that it means, indices in model order.
    ///
    /// # Errors
    /// An area or id that the model doesn't have, a file that can't be read, no neuron that fulfils every term.
    pub(super) fn resolve(&self, neurons: &Neurons<'_>) -> Result<BTreeSet<usize>, Error> {
        let mut found: BTreeSet<usize> = (0..neurons.ids.len()).collect();
        for term in &self.terms {
            let of_term = term.resolve(neurons)?;
            found.retain(|n| of_term.contains(n));
        }
        if found.is_empty() {
            return Err(Error::Usage {
                message: format!("no neuron of the model is '{self}'"),
                help: format!(
                    "+ means \"and\", a repeated option \"or\"; the model has: {}",
                    neurons.populations()
                ),
            });
        }
        Ok(found)
    }
}

impl Term {
    fn resolve(&self, neurons: &Neurons<'_>) -> Result<BTreeSet<usize>, Error> {
        match self {
            Self::Area(name) => match neurons.areas.iter().position(|area| area == name) {
                Some(wanted) => Ok(neurons.that_are(|neuron| neuron.area == wanted)),
                None => Err(Error::Usage {
                    message: format!("the model has no area '{name}'"),
                    help: match closest(name, neurons.areas.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean area:{near}?"),
                        None => format!("its areas are: {}", neurons.areas.join(", ")),
                    },
                }),
            },
            Self::Type(wanted) => Ok(neurons.that_are(|neuron| neuron.cell_type == *wanted)),
            Self::Neuron(id) => neuron(neurons, id, "").map(|n| BTreeSet::from([n])),
            Self::File(path) => of_file(neurons, path),
        }
    }
}

/// Ids, one a line; empty lines and lines that start with # are passed over.
fn of_file(neurons: &Neurons<'_>, path: &Path) -> Result<BTreeSet<usize>, Error> {
    let text = data::fs::read_text(path, MAX_FILE_BYTES).map_err(|error| Error::Data(error.into()))?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, id)| !id.is_empty() && !id.starts_with('#'))
        .map(|(i, id)| neuron(neurons, id, &format!("{}:{}: ", path.display(), i + 1)))
        .collect()
}

fn neuron(neurons: &Neurons<'_>, id: &str, place: &str) -> Result<usize, Error> {
    neurons
        .ids
        .iter()
        .position(|known| known == id)
        .ok_or_else(|| Error::Usage {
            message: format!("{place}the model has no neuron '{id}'"),
            help: match closest(id, neurons.ids.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "neurons are called SESSION/UNIT, or hidden/N; the units of a recording of `snnfit simulate` \
                         have these ids"
                    .to_owned(),
            },
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_joins_terms_and_may_stand_in_a_name() {
        let parse = |text: &str| text.parse::<Selection>();
        let both = parse("area:wS2+type:inh").unwrap();
        assert_eq!(both.terms, [Term::Area("wS2".into()), Term::Type(CellType::Inhibitory)]);
        assert_eq!(parse("area:a+b").unwrap().terms, [Term::Area("a+b".into())]);
        assert_eq!(parse("neuron:s/u:1+2").unwrap().terms, [Term::Neuron("s/u:1+2".into())]);
        for text in ["area:wS2+type:inh", "neuron:s/u", "file:a/b", "type:exc"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        for (text, part) in [
            ("wS2", "selects nothing"),
            ("area:", "nothing follows"),
            ("type:pv", "no cell type"),
            ("aera:wS2", "did you mean area?"),
            ("area:wS2+typ:inh", "did you mean type?"),
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
