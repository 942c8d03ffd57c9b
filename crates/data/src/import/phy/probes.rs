//! Which folders that Phy opens are the probes of one session, and how these are called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Findings};
use crate::import::alf::{Folder, PROBES};

/// So many folders are listed.
const SHOWN: usize = 20;

/// The folder of one probe, and what it is called; of a folder that is read by itself both names are empty.
pub(super) struct Probe {
    pub(super) label: String,
    /// Path from the folder that is read, for messages.
    pub(super) at: String,
    pub(super) path: PathBuf,
}

/// What to do with folders that may be sessions.
const HINT: &str = "(hint: import the folder of each session; folders of the probes of one session lie side by side and are named such as probe00 or \
                    imec0)";

/// The folder itself where Phy opens it, else those below that are named as probes of one session are; a problem where they aren't.
///
/// They are of one session if their paths part at folders that differ by the name of the probe alone, so that neither sessions,
/// whose clocks differ, nor several sortings of a probe are put together.
pub(super) fn find(folder: &Path, findings: &mut Findings) -> Result<Vec<Probe>, DataError> {
    let itself = || {
        vec![Probe {
            label: String::new(),
            at: String::new(),
            path: folder.to_path_buf(),
        }]
    };
    if folder.join("spike_times.npy").is_file() {
        return Ok(itself());
    }
    let files = Folder::walk(folder)?;
    let found: Vec<&[String]> = files.phy().iter().map(Vec::as_slice).collect();
    if found.is_empty() {
        return Ok(itself());
    }
    let named = match named(&found) {
        Ok(named) => named,
        Err(message) => {
            findings.problem("the folder", message);
            return Ok(Vec::new());
        }
    };
    refuse_sortings(&named, findings);
    if named.len() > 1 && findings.problems.is_empty() {
        let labels: Vec<&str> = named.iter().map(|(_, name)| name.label).collect();
        let message = format!(
            "{} probes ({}) are put together, each with its sample_rate, as if sample 0 of all were at the same time: clocks of probes that \
             were not synchronised drift apart, by milliseconds an hour (hint: write spike_times of one clock, as TPrime or SpikeInterface do)",
            named.len(),
            labels.join(", ").escape_debug()
        );
        findings.warning("the folder", message);
    }
    let probe = |(dir, name): &(&[String], Name<'_>)| Probe {
        label: name.label.to_owned(),
        at: at_of(dir),
        path: dir.iter().fold(folder.to_path_buf(), |path, name| path.join(name)),
    };
    Ok(named.iter().map(probe).collect())
}

/// Folders, in their order, and the names of their probes; a message where they are not those of one session.
fn named<'a>(found: &[&'a [String]]) -> Result<Vec<(&'a [String], Name<'a>)>, String> {
    let (Some(first), Some(last)) = (found.first(), found.last()) else {
        return Ok(Vec::new());
    };
    // They are sorted: what the first and the last have in common, all have.
    let n_common = first.iter().zip(*last).take_while(|(a, b)| a == b).count();
    let name_of = |dir: &'a [String]| match found.len() {
        1 => dir.iter().find_map(|name| probe_name(name)),
        _ => dir.get(n_common).and_then(|name| probe_name(name)),
    };
    let unnamed: Vec<&[String]> = found.iter().copied().filter(|dir| name_of(dir).is_none()).collect();
    if !unnamed.is_empty() {
        return Err(match found.len() {
            1 => format!(
                "the one folder of Phy or Kilosort here is {} (hint: give that folder)",
                listed(&unnamed)
            ),
            n => format!(
                "{n} folders of Phy or Kilosort, of which those in {} are not named as probes are: are they sessions? {HINT}",
                listed(&unnamed)
            ),
        });
    }
    let named: Vec<(&[String], Name<'_>)> = found.iter().filter_map(|dir| Some((*dir, name_of(dir)?))).collect();
    if named.windows(2).any(|pair| pair[0].1.before != pair[1].1.before) {
        return Err(format!(
            "{} folders of Phy or Kilosort, whose names differ by more than the probe: {}: are they of several sessions? {HINT}",
            found.len(),
            listed(found)
        ));
    }
    Ok(named)
}

/// Refuses several folders of one probe.
fn refuse_sortings(named: &[(&[String], Name<'_>)], findings: &mut Findings) {
    let mut of_probe: BTreeMap<String, (&str, Vec<&[String]>)> = BTreeMap::new();
    for (dir, name) in named {
        let entry = of_probe.entry(name.label.to_lowercase());
        entry.or_insert((name.label, Vec::new())).1.push(dir);
    }
    for (label, dirs) in of_probe.values().filter(|(_, dirs)| dirs.len() > 1) {
        let message = format!(
            "several sets of spikes: {} (hint: move all but one, or put a dot before the names of their folders, which are then not looked at)",
            listed(dirs)
        );
        findings.problem(label.escape_debug().to_string(), message);
    }
}

/// Paths for messages, up to [`SHOWN`].
fn listed(dirs: &[&[String]]) -> String {
    let names: Vec<String> = dirs.iter().take(SHOWN).map(|dir| at_of(dir)).collect();
    let more = if dirs.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", names.join(", "))
}

/// A path for messages.
fn at_of(dir: &[String]) -> String {
    dir.join("/").escape_debug().to_string()
}

/// The name of a probe in that of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name<'a> {
    /// What stands before it, such as the name of a run.
    before: &'a str,
    /// Such as `imec0` or `probe_left`.
    label: &'a str,
}

/// The first of [`PROBES`], and the letters and digits after it, perhaps after a sign; a folder `probes` is that of all.
fn probe_name(folder: &str) -> Option<Name<'_>> {
    let lower = folder.to_ascii_lowercase();
    let (start, word) = PROBES.iter().filter_map(|word| Some((lower.find(word)?, word))).min()?;
    let rest = folder.get(start + word.len()..)?;
    let sign = rest.strip_prefix(['_', '-', ' ']);
    let n_letters = |text: &str| text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    let n_after = match sign {
        Some(after) if n_letters(after) > 0 => rest.len() - after.len() + n_letters(after),
        _ => n_letters(rest),
    };
    let end = start + word.len() + n_after;
    let (before, label) = (folder.get(..start)?, folder.get(start..end)?);
    (!label.eq_ignore_ascii_case("probes")).then_some(Name { before, label })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_probes_are_found_in_those_of_folders() {
        for (folder, expected) in [
            ("imec0", Some(("", "imec0"))),
            ("run_g0_imec1", Some(("run_g0_", "imec1"))),
            ("imec0_ks2", Some(("", "imec0"))),
            ("probe_left", Some(("", "probe_left"))),
            ("Probe", Some(("", "Probe"))),
            ("probe_", Some(("", "probe"))),
            ("PXI-100.ProbeA-AP", Some(("PXI-100.", "ProbeA"))),
            ("sonde é probe é", Some(("sonde é ", "probe é"))),
            ("probes", None),
            ("session_a", None),
        ] {
            let found = probe_name(folder).map(|name| (name.before, name.label));
            assert_eq!(found, expected, "{folder}");
        }
    }
}
