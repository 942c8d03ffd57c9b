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
    let (Some(first), Some(last)) = (found.first(), found.last()) else {
        return Ok(itself());
    };
    // They are sorted: what the first and the last have in common, all have.
    let n_common = first.iter().zip(*last).take_while(|(a, b)| a == b).count();
    let shown = |dirs: &[&[String]]| {
        let names: Vec<String> = dirs.iter().take(SHOWN).map(|dir| at_of(dir)).collect();
        let more = if dirs.len() > SHOWN { ", …" } else { "" };
        format!("{}{more}", names.join(", "))
    };
    let named: Vec<(&[String], Option<Name<'_>>)> = found
        .iter()
        .map(|dir| match found.len() {
            1 => (*dir, dir.iter().find_map(|name| probe_name(name))),
            _ => (*dir, dir.get(n_common).and_then(|name| probe_name(name))),
        })
        .collect();
    let unnamed = named.iter().filter(|(_, name)| name.is_none());
    let unnamed: Vec<&[String]> = unnamed.map(|(dir, _)| *dir).collect();
    let hint = "(hint: import the folder of each session; folders of the probes of one session lie side by side and are named such as probe00 or imec0)";
    if !unnamed.is_empty() {
        let message = match found.len() {
            1 => format!(
                "the one folder of Phy or Kilosort here is {} (hint: give that folder)",
                shown(&unnamed)
            ),
            n => format!(
                "{n} folders of Phy or Kilosort, of which those in {} are not named as probes are: are they sessions? {hint}",
                shown(&unnamed)
            ),
        };
        findings.problem("the folder", message);
        return Ok(Vec::new());
    }
    let named: Vec<(&[String], Name<'_>)> = named.into_iter().filter_map(|(dir, name)| Some((dir, name?))).collect();
    if named.windows(2).any(|pair| pair[0].1.before != pair[1].1.before) {
        let message = format!(
            "{} folders of Phy or Kilosort, whose names differ by more than the probe: {}: are they of several sessions? {hint}",
            found.len(),
            shown(&found)
        );
        findings.problem("the folder", message);
        return Ok(Vec::new());
    }
    let mut of_probe: BTreeMap<String, Vec<&[String]>> = BTreeMap::new();
    for (dir, name) in &named {
        of_probe.entry(name.label.to_lowercase()).or_default().push(dir);
    }
    for dirs in of_probe.values().filter(|dirs| dirs.len() > 1) {
        let message = format!(
            "several sets of spikes: {} (hint: move all but one, or put a dot before the names of their folders, which are then not looked at)",
            shown(dirs)
        );
        let label = named
            .iter()
            .find(|(dir, _)| dirs.contains(dir))
            .map_or("", |(_, name)| name.label);
        findings.problem(label.escape_debug().to_string(), message);
    }
    let probes: Vec<Probe> = named
        .iter()
        .map(|(dir, name)| Probe {
            label: name.label.to_owned(),
            at: at_of(dir),
            path: dir.iter().fold(folder.to_path_buf(), |path, name| path.join(name)),
        })
        .collect();
    if probes.len() > 1 && findings.problems.is_empty() {
        let labels: Vec<&str> = probes.iter().map(|probe| probe.label.as_str()).collect();
        let message = format!(
            "{} probes ({}) are put together, each with its sample_rate, as if sample 0 of all were at the same time: clocks of probes that \
             were not synchronised drift apart, by milliseconds an hour (hint: write spike_times of one clock, as TPrime or SpikeInterface do)",
            probes.len(),
            labels.join(", ").escape_debug()
        );
        findings.warning("the folder", message);
    }
    Ok(probes)
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
