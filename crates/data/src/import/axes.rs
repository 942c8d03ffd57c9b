//! Axis lists such as `trial,time,neuron`.

use crate::error::Finding;

/// Where each wanted axis is in the stored array.
///
/// `text` lists the stored axes; `wanted` is the order we need, each entry with its accepted names.
pub(super) fn parse<const N: usize>(text: &str, wanted: [&[&str]; N], at: &str) -> Result<[usize; N], Finding> {
    let stored: Vec<&str> = text.split(',').map(str::trim).collect();
    let fail = || {
        let names: Vec<&str> = wanted.iter().filter_map(|names| names.first().copied()).collect();
        let message = format!(
            "axes \"{}\"; expected {} in any order, separated by commas",
            text.escape_debug(),
            names.join(", ")
        );
        Finding::new(at, message)
    };
    if stored.len() != N {
        return Err(fail());
    }
    let mut order = [0; N];
    for (place, names) in order.iter_mut().zip(wanted) {
        let mut found = stored.iter().enumerate().filter(|(_, s)| names.contains(s));
        match (found.next(), found.next()) {
            (Some((axis, _)), None) => *place = axis,
            _ => return Err(fail()),
        }
    }
    Ok(order)
}

/// Number of axes in a list.
pub(super) fn count(text: &str) -> usize {
    text.split(',').count()
}

#[cfg(test)]
mod tests {
    use super::parse;

    const WANTED: [&[&str]; 3] = [&["trial"], &["time"], &["neuron", "unit"]];

    #[test]
    fn axes_are_found_in_any_order() {
        assert_eq!(parse("trial,time,neuron", WANTED, "x"), Ok([0, 1, 2]));
        assert_eq!(parse("unit, trial ,time", WANTED, "x"), Ok([1, 2, 0]));
    }

    #[test]
    fn missing_doubled_and_unknown_axes_are_refused() {
        for text in ["trial,time", "trial,trial,time", "trial,time,pixel", ""] {
            assert!(parse(text, WANTED, "x").is_err(), "{text}");
        }
    }
}
