//! Stretches in which no unit spikes, or none of a probe or area, where they should: what was not recorded then counts as silence.

use std::collections::{BTreeMap, BTreeSet};

use super::sense::EXPECTED;
use super::units::{AREA_COLUMNS, Taken};
use super::{ImportPlan, Told, trials};
use crate::import::source::Source;
use crate::import::table::Column;
use crate::presence;
use crate::recording::Trial;

/// A stretch (s) in which no unit spikes is a gap at this length, and where [`EXPECTED`] spikes are expected.
const GAP_S: usize = 5;
/// One in which no unit of a probe or area does: light, drugs and sleep silence areas for shorter.
const GROUP_GAP_S: f64 = 30.0;
/// So many times longer than its other ones …
const FAR_LONGER: f64 = 4.0;
/// … are at most so many of them.
const MOST_GAPS: usize = 10;
/// So many units of a probe or area have to be silent together …
const MANY_UNITS: usize = 3;
/// … of each of which so many spikes are expected, and there are as many: by chance three are once in 10⁹ (at half of the recording;
/// less often at other lengths).
const OF_EACH: f64 = 10.0;
/// They stop and begin at its edges, within the time of so many of their spikes: units that spike in bouts of their own hardly do together.
const AT_EDGE: f64 = 3.0;
/// Others go on where they have this share of the spikes that are expected of them.
const GO_ON: f64 = 0.5;
/// So many gaps are told.
const SHOWN_GAPS: usize = 3;
/// Far inside of a recording is this share of it from its end.
const FAR: f64 = 0.1;
/// More than that (s) is not a session of seconds.
const LONGEST_S: f64 = 1e7;
/// Columns of units that say their probe, the first that is there.
const PROBE_COLUMNS: [&str; 6] = [
    "probe",
    "probe_name",
    "probe_id",
    "electrode_group",
    "electrodes.group_name",
    "electrodes.probe_id",
];

/// Stretches (s) of at least so many seconds in which none of these units spikes, within a span; up to a second shorter than they are.
fn silences<'a>(
    trains: impl IntoIterator<Item = &'a Vec<f64>>,
    (first, last): (f64, f64),
    shortest: usize,
) -> Vec<(f64, f64)> {
    let mut spiked = vec![false; (last - first) as usize + 1];
    for time in trains.into_iter().flatten() {
        if let Some(second) = spiked.get_mut((time - first) as usize) {
            *second = true;
        }
    }
    let mut found: Vec<(f64, f64)> = Vec::new();
    let mut since = None;
    for (second, spiked) in spiked.iter().chain([&true]).enumerate() {
        match (spiked, since) {
            (false, None) => since = Some(second),
            (true, Some(from)) => {
                if second - from >= shortest {
                    found.push((first + from as f64, (first + second as f64).min(last)));
                }
                since = None;
            }
            _ => {}
        }
    }
    found
}

/// The first few stretches in words, and how many trials overlap one.
fn in_words(found: &[(f64, f64)], trials: &[Trial]) -> (String, usize) {
    let is_inside = |trial: &&Trial| {
        let mut found = found.iter();
        found.any(|(from, to)| trial.start_s < *to && trial.stop_s > *from)
    };
    let shown: Vec<String> = found
        .iter()
        .take(SHOWN_GAPS)
        .map(|(from, to)| format!("{from:.0} to {to:.0} s"))
        .collect();
    let more = if found.len() > SHOWN_GAPS { ", …" } else { "" };
    let n_trials = trials.iter().filter(is_inside).count();
    (format!("{}{more}", shown.join(", ")), n_trials)
}

/// Tells stretches without a spike of any unit in which many are expected.
pub(super) fn gaps(source: &Source, trials: &[Trial], (first, last): (f64, f64), told: &mut Told) {
    let n_spikes: usize = source.spikes_s.iter().map(Vec::len).sum();
    let length = last - first;
    if !(length > GAP_S as f64 && length < LONGEST_S) {
        return;
    }
    let shortest = GAP_S.max((EXPECTED * length / n_spikes as f64).ceil() as usize);
    let found = silences(&source.spikes_s, (first, last), shortest);
    if found.is_empty() {
        return;
    }
    let (shown, n_trials) = in_words(&found, trials);
    let gaps = if found.len() == 1 { "gap" } else { "gaps" };
    let (trials, hint) = match n_trials {
        0 => ("no trial lies in them".to_owned(), ""),
        n => (
            format!("{n} trials lie in them"),
            " (hint: a condition, --trials, leaves out trials)",
        ),
    };
    let message = format!(
        "no unit spikes from {shown} ({} {gaps}; {trials}): was the recording interrupted?{hint}",
        found.len()
    );
    told.warn("spike times", message);
}

/// Units of one probe or area, by their place among those that are taken.
struct Group {
    /// Such as `probe 'imec1'`.
    name: String,
    /// The condition that leaves them out, where one is known.
    condition: Option<String>,
    units: Vec<usize>,
}

/// How many times lie in a stretch.
fn count(times: &[f64], (from, to): (f64, f64)) -> usize {
    times.partition_point(|time| *time < to) - times.partition_point(|time| *time < from)
}

impl ImportPlan {
    /// Tells probes, or areas where no probe is known, whose units are silent together while others are not; and then units that are
    /// so by themselves at the beginning or the end.
    pub(super) fn uneven(&self, source: &Source, taken: &Taken, trials: &[Trial], told: &mut Told) {
        let of_all = taken
            .spikes_s
            .iter()
            .filter_map(|times| Some((*times.first()?, *times.last()?)));
        let Some(span) = of_all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))) else {
            return;
        };
        // One of ours, or a file that says when spikes were recorded.
        if source.observed_s.is_some() || span.1 - span.0 >= LONGEST_S {
            return;
        }
        let groups = self.groups(source, taken);
        let mut known = BTreeSet::new();
        for group in &groups {
            let found = silent_together(group, &groups, source, taken, span);
            if found.is_empty() {
                continue;
            }
            known.extend(group.units.iter().copied());
            let (shown, n_trials) = in_words(&found, trials);
            if n_trials == 0 {
                continue;
            }
            let message = format!(
                "the {} units of {} don't spike from {shown}, while others do ({n_trials} of {} trials lie in it): their silence counts as such \
                 (hint: {}; {}; units/obs_intervals, in NWB, HDF5 and recording files, say when each unit was observed)",
                group.units.len(),
                group.name,
                trials.len(),
                match &group.condition {
                    Some(condition) => format!("--units \"{condition}\" leaves them out"),
                    None => "a condition, --units, leaves them out".to_owned(),
                },
                self.without(&found, span, source),
            );
            told.warn("spike times", message);
        }
        // Of other units the file may say when they were observed.
        if source.unit_observed_s.is_none() {
            uneven_units(taken, &known, span, told);
        }
    }

    /// What leaves out the trials in some stretches.
    fn without(&self, found: &[(f64, f64)], (first, last): (f64, f64), source: &Source) -> String {
        match *found {
            [(from, to)] if from <= first => format!(
                "clock.observed_s = [{:.0}, {:.0}] in a TOML for --spec leaves out trials and spikes before it",
                to.ceil(),
                last.ceil()
            ),
            [(from, to)] if to >= last => format!(
                "clock.observed_s = [{:.0}, {:.0}] in a TOML for --spec leaves out trials and spikes after it",
                first.floor().max(0.0),
                from.floor()
            ),
            [(from, to)] if self.has_plain_starts(source) => format!(
                "--trials \"start_time < {:.0} || start_time > {:.0}\" leaves out trials",
                from.floor(),
                to.ceil()
            ),
            _ => "a condition, --trials, leaves out trials".to_owned(),
        }
    }

    /// Whether rows of trials have a start in s on the clock of the recording.
    fn has_plain_starts(&self, source: &Source) -> bool {
        let table = trials::table(&self.trials, source).ok().flatten();
        let has_starts = table.is_some_and(|table| matches!(table.get("start_time"), Some(Column::Numbers(_))));
        let is_plain = self.clock.trials_per_s.is_none() && self.clock.offset_s.is_none();
        has_starts && is_plain && self.trials.every_s.is_none()
    }

    /// Units by probe, or by area where no column says their probe or all are of one. None where all are of one area, too.
    fn groups(&self, source: &Source, taken: &Taken) -> Vec<Group> {
        let mut column = PROBE_COLUMNS
            .iter()
            .find_map(|name| Some((*name, source.units.get(name)?)));
        let by = |column: Option<(&str, &Column)>| {
            let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for (place, (unit, row)) in taken.units.iter().zip(&taken.rows).enumerate() {
                let name = match column {
                    Some((_, column)) => column.text(*row),
                    None => unit.area.clone(),
                };
                if !name.is_empty() {
                    groups.entry(name).or_default().push(place);
                }
            }
            groups
        };
        let mut groups = by(column);
        if groups.len() < 2 && column.is_some() {
            column = None;
            groups = by(None);
        }
        if groups.len() < 2 {
            return Vec::new();
        }
        let what = if column.is_some() { "probe" } else { "area" };
        let column = column.or_else(|| {
            let is_plain = self.units.area.is_none() && self.units.areas.is_empty();
            let mut usual = AREA_COLUMNS.iter().filter(|_| is_plain);
            usual.find_map(|name| Some((*name, source.units.get(name)?)))
        });
        let condition = |value: &str| {
            let (name, column) = column?;
            let is_text = match column {
                Column::Texts(_) => true,
                Column::Numbers(_) => false,
                Column::Flags(_) => return None,
            };
            if value.contains(['\'', '"', '\\', '`', '$', '!']) {
                return None;
            }
            Some(if is_text {
                format!("{name} != '{value}'")
            } else {
                format!("{name} != {value}")
            })
        };
        let groups = groups.into_iter();
        groups
            .map(|(name, units)| Group {
                condition: condition(&name),
                name: format!("{what} '{}'", name.escape_debug()),
                units,
            })
            .collect()
    }
}

/// Those of at least [`GROUP_GAP_S`] that are far longer than all others: units that spike in bouts are silent for long again and again.
fn stand_out(mut found: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut lengths: Vec<f64> = found.iter().map(|(from, to)| to - from).collect();
    lengths.sort_by(|a, b| b.total_cmp(a));
    let is_far_longer = |n: &usize| {
        let next = lengths.get(*n).copied().unwrap_or(1.0).max(1.0);
        lengths[n - 1] >= FAR_LONGER * next
    };
    let n = (1..=MOST_GAPS.min(lengths.len())).rev().find(is_far_longer);
    let Some(shortest) = n.map(|n| lengths[n - 1].max(GROUP_GAP_S)) else {
        return Vec::new();
    };
    found.retain(|(from, to)| to - from >= shortest);
    found
}

/// Stretches (s) in which a group is silent though several of its units should spike, which stop and begin together, and those of another
/// group go on. Those that the file says a unit was not observed in are known.
fn silent_together(
    group: &Group,
    groups: &[Group],
    source: &Source,
    taken: &Taken,
    span: (f64, f64),
) -> Vec<(f64, f64)> {
    if group.units.len() < MANY_UNITS {
        return Vec::new();
    }
    let trains = |group: &Group| -> Vec<&Vec<f64>> { group.units.iter().map(|&n| &taken.spikes_s[n]).collect() };
    let own = trains(group);
    let mut found = stand_out(silences(own.iter().copied(), span, 1));
    found.retain(|&(from, to)| {
        // Of n spikes outside of it, as many more would be in it.
        let outside_s = (span.1 - span.0 - (to - from)).max(1.0);
        let share = (to - from) / outside_s;
        let stops = |times: &&&Vec<f64>| {
            let n = times.len() as f64;
            // Its edges are known to a second.
            let slack_s = 1.0 + AT_EDGE * outside_s / n;
            let next = times.partition_point(|time| *time < from);
            let before = next.checked_sub(1).and_then(|last| times.get(last));
            let is_before = from <= span.0 || before.is_some_and(|time| from - time <= slack_s);
            let is_after = to >= span.1 || times.get(next).is_some_and(|time| time - to <= slack_s);
            n >= OF_EACH && n * share >= OF_EACH && is_before && is_after
        };
        let goes_on = |other: &Group| {
            let other = trains(other);
            let n_all: usize = other.iter().map(|times| times.len()).sum();
            let n_in: usize = other.iter().map(|times| count(times, (from, to))).sum();
            n_in as f64 >= EXPECTED && n_in as f64 >= GO_ON * (n_all - n_in) as f64 * share
        };
        let is_known = || {
            let observed = source.unit_observed_s.as_ref();
            let of_unit = |&n: &usize| observed.and_then(|all| all.get(*taken.rows.get(n)?));
            let mut known = group.units.iter().filter_map(of_unit);
            known.any(|own| !own.is_empty() && !presence::holds(own, from, to, 1.0))
        };
        own.iter().filter(stops).count() >= MANY_UNITS && groups.iter().any(goes_on) && !is_known()
    });
    found
}

/// Tells units whose first or last spike is far inside of the recording, though they spike often enough: their probe stopped, or
/// they drifted away. `known` are those of groups that are told already.
fn uneven_units(taken: &Taken, known: &BTreeSet<usize>, (first, last): (f64, f64), told: &mut Told) {
    let (units, spikes_s) = (&taken.units, &taken.spikes_s);
    let is_uneven = |times: &Vec<f64>| {
        let (Some(own_first), Some(own_last)) = (times.first(), times.last()) else {
            return false;
        };
        let rate_hz = times.len() as f64 / (own_last - own_first);
        [own_first - first, last - own_last]
            .iter()
            .any(|silence| *silence > FAR * (last - first) && silence * rate_hz > EXPECTED && rate_hz.is_finite())
    };
    let uneven = (0..spikes_s.len()).filter(|n| !known.contains(n) && is_uneven(&spikes_s[*n]));
    let uneven: Vec<usize> = uneven.collect();
    let Some((n, unit)) = uneven.first().and_then(|&n| Some((n, units.get(n)?))) else {
        return;
    };
    let of_area = |area: &str| units.iter().filter(|unit| unit.area == area).count();
    let is_whole = |area: &str| uneven.iter().filter(|&&n| units[n].area == area).count() == of_area(area);
    let mut areas: Vec<&str> = uneven.iter().map(|&n| units[n].area.as_str()).collect();
    areas.sort_unstable();
    areas.dedup();
    areas.retain(|area| is_whole(area));
    let whole = match areas[..] {
        [] => String::new(),
        _ if uneven.len() == units.len() => String::new(),
        _ => format!("; all units of '{}' are among them", areas.join("', '")),
    };
    let times = &spikes_s[n];
    let message = format!(
        "{} of {} units begin or end to spike far inside of the recording ({first:.0} to {last:.0} s), first '{}' ({:.0} to {:.0} \
         s){whole}: their silence counts as such (hint: a condition, --units, leaves them out; clock.observed_s in a TOML for --spec, such as [{:.0}, \
         {:.0}], leaves out trials and spikes outside of it; units/obs_intervals, in NWB, HDF5 and recording files, say when each unit was observed)",
        uneven.len(),
        units.len(),
        unit.id.escape_debug(),
        times.first().copied().unwrap_or(f64::NAN),
        times.last().copied().unwrap_or(f64::NAN),
        times.first().copied().unwrap_or(f64::NAN).floor().max(0.0),
        times.last().copied().unwrap_or(f64::NAN).ceil(),
    );
    told.warn("spike times", message);
}
