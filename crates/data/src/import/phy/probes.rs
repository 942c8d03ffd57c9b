//! Which folders that Phy opens are the probes of one session, and how these are called.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{DataError, Findings};
use crate::import::alf::{Folder, PROBES};
use crate::import::units::SHANK;

/// So many folders are listed.
const SHOWN: usize = 20;

/// The folder of one probe, or of one of its shanks, and what it is called; of a folder that is read by itself all names are empty.
pub(super) struct Probe {
    /// Such as `imec0`, or `imec0_shank1`, which the names of units begin with.
    pub(super) label: String,
    /// The probe alone.
    pub(super) device: String,
    /// Such as `shank1`, where shanks were sorted apart.
    pub(super) shank: String,
    /// Path from the folder that is read, for messages.
    pub(super) at: String,
    pub(super) path: PathBuf,
}

/// What to do with folders that may be sessions.
const HINT: &str = "(hint: import the folder of each session; folders of the probes of one session lie side by side and are named such as probe00 or \
                    imec0)";

/// The folder itself where Phy opens it, else those below that are named as probes of one session are; a problem where they aren't.
///
/// They are of one session if their paths part at folders that differ by the name of the probe, or shank, alone, so that neither sessions,
/// whose clocks differ, nor several sortings of a probe are put together.
pub(super) fn find(folder: &Path, findings: &mut Findings) -> Result<Vec<Probe>, DataError> {
    let itself = || {
        vec![Probe {
            label: String::new(),
            device: String::new(),
            shank: String::new(),
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
        let mut labels: Vec<&str> = named.iter().map(|(_, name)| name.label).collect();
        labels.dedup();
        let message = format!(
            "{} probes ({}) are put together, each with its sample_rate, as if sample 0 of all were at the same time: clocks of probes that \
             were not synchronised drift apart, by milliseconds an hour (hint: write spike_times of one clock, as TPrime or SpikeInterface do)",
            labels.len(),
            labels.join(", ").escape_debug()
        );
        // Shanks of one probe have one clock.
        if labels.len() > 1 {
            findings.warning("the folder", message);
        }
    }
    let probe = |(dir, name): &(&[String], Name<'_>)| Probe {
        label: name.full(),
        device: name.label.to_owned(),
        shank: name.shank.unwrap_or_default().to_owned(),
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
    // Folders of shanks may lie in that of their probe, which differs or not.
    let name_of = |dir: &'a [String]| {
        let name = name_of(dir)?;
        let mut below = dir.iter().skip(if found.len() == 1 { 0 } else { n_common + 1 });
        let shank = name.shank.or_else(|| below.find_map(|name| shank_name(name)));
        let mut above = dir.iter().take(n_common).rev().filter_map(|name| probe_name(name));
        let label = match name.label {
            "" => above.find(|name| !name.label.is_empty()).map_or("", |name| name.label),
            label => label,
        };
        Some(Name { label, shank, ..name })
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
    let mut of_probe: BTreeMap<String, (String, Vec<&[String]>)> = BTreeMap::new();
    for (dir, name) in named {
        let entry = of_probe.entry(name.full().to_lowercase());
        entry.or_insert((name.full(), Vec::new())).1.push(dir);
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
    /// Such as `imec0` or `probe_left`; empty where only the shank is named.
    label: &'a str,
    /// Such as `shank0`, where it follows the probe.
    shank: Option<&'a str>,
}

impl Name<'_> {
    /// Probe and shank.
    fn full(&self) -> String {
        match self.shank {
            Some(shank) if self.label.is_empty() => shank.to_owned(),
            Some(shank) => format!("{}_{shank}", self.label),
            None => self.label.to_owned(),
        }
    }
}

/// The letters of [`SHANK`] and what number or letter follows them, in the name of a folder.
fn shank_name(folder: &str) -> Option<&str> {
    let start = folder.to_ascii_lowercase().find(SHANK)?;
    let rest = folder.get(start + SHANK.len()..)?;
    let sign = usize::from(rest.starts_with(['_', '-', ' ']));
    let n_after = rest
        .get(sign..)?
        .find(|c: char| !c.is_alphanumeric())
        .unwrap_or(rest.len() - sign);
    let is_of_all = sign == 0 && rest.eq_ignore_ascii_case("s");
    (n_after > 0 && !is_of_all).then(|| folder.get(start..start + SHANK.len() + sign + n_after))?
}

/// The first of [`PROBES`], and the letters and digits after it, perhaps after a sign; a folder `probes` is that of all.
fn probe_name(folder: &str) -> Option<Name<'_>> {
    let lower = folder.to_ascii_lowercase();
    let Some((start, word)) = PROBES.iter().filter_map(|word| Some((lower.find(word)?, word))).min() else {
        let before = folder.get(..lower.find(SHANK)?)?;
        let shank = Some(shank_name(folder)?);
        return Some(Name {
            before,
            label: "",
            shank,
        });
    };
    let rest = folder.get(start + word.len()..)?;
    let sign = rest.strip_prefix(['_', '-', ' ']);
    let n_letters = |text: &str| text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
    let n_after = match sign {
        Some(after) if n_letters(after) > 0 => rest.len() - after.len() + n_letters(after),
        _ => n_letters(rest),
    };
    let end = start + word.len() + n_after;
    let (before, label) = (folder.get(..start)?, folder.get(start..end)?);
    let shank = shank_name(folder.get(end..)?);
    (!label.eq_ignore_ascii_case("probes")).then_some(Name { before, label, shank })
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
        for (folder, expected) in [
            ("probe1_shank0", Some(("", "probe1_shank0"))),
            ("run_imec0-Shank_2_ks", Some(("run_", "imec0_Shank_2"))),
            ("ks_shank3", Some(("ks_", "shank3"))),
            ("shanks", None),
            ("shank", None),
        ] {
            let found = probe_name(folder).map(|name| (name.before, name.full()));
            let found = found.as_ref().map(|(before, full)| (*before, full.as_str()));
            assert_eq!(found, expected, "{folder}");
        }
    }
}
