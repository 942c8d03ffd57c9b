//! The rules of `[[model.rsnn.projections]]`, from names to the areas and types of a network.

use snn_core::connectivity::{CellType, Projection, Sign};
use snn_core::models::rsnn::RsnnSpec;

use crate::config::checked::{self, Areas, InterArea, NeuronType, WeightSign};
use crate::config::closest;
use crate::fit_error::FitError;

const TYPES: [CellType; 3] = [CellType::Excitatory, CellType::Inhibitory, CellType::Unknown];

/// One rule for each area, type and area that the rules name, in their order.
///
/// # Errors
/// [`FitError::UnknownProjection`] for an area that the model lacks.
pub(crate) fn resolve(rules: &[checked::Projection], areas: &[String]) -> Result<Vec<Projection>, FitError> {
    let mut resolved = Vec::new();
    for (i, rule) in rules.iter().enumerate() {
        let from = places(&rule.from, areas).map_err(|area| unknown(i, "from", area, areas))?;
        let to = places(&rule.to, areas).map_err(|area| unknown(i, "to", area, areas))?;
        for &from in &from {
            for cell_type in types(rule) {
                for &to in to.iter().filter(|to| **to != from || rule.to != Areas::Others) {
                    resolved.push(Projection {
                        from,
                        cell_type,
                        to,
                        is_allowed: rule.allow,
                        sign: rule.sign.map(|sign| match sign {
                            WeightSign::Positive => Sign::Positive,
                            WeightSign::Negative => Sign::Negative,
                            WeightSign::Free => Sign::Free,
                        }),
                    });
                }
            }
        }
    }
    Ok(resolved)
}

/// A warning for each rule that no pair of the network's neurons is under.
pub(crate) fn without_effect(rules: &[checked::Projection], spec: &RsnnSpec) -> Vec<String> {
    let applies = |rule: &checked::Projection| {
        let single = resolve(std::slice::from_ref(rule), &spec.areas).unwrap_or_default();
        single.iter().any(|projection| {
            let mut from = spec.neurons.iter();
            from.any(|n| n.area == projection.from && n.cell_type == projection.cell_type)
                && spec.neurons.iter().any(|n| n.area == projection.to)
        })
    };
    let tell = |(i, rule): (usize, &checked::Projection)| {
        let of_type = rule.cell_type.map_or_else(String::new, |t| format!("{} ", name_of(t)));
        format!(
            "model.rsnn.projections[{i}] has no effect: the model has no {of_type}neuron in {} that could project to {}",
            in_list(&rule.from),
            in_list(&rule.to)
        )
    };
    let idle = rules.iter().enumerate().filter(|(_, rule)| !applies(rule));
    idle.map(tell).collect()
}

/// What may run between areas, for a reader: "excitatory neurons to every area; inhibitory of striatum → pallidum, SNr".
pub(crate) fn in_words(inter_area: InterArea, rules: &[checked::Projection]) -> String {
    let preset = match inter_area {
        InterArea::Excitatory => "excitatory and unknown neurons project",
        InterArea::All => "all neurons project",
        InterArea::None => "no neuron projects",
    };
    let word = |rule: &checked::Projection| {
        let who = rule.cell_type.map_or("neurons", name_of);
        let sign = match rule.sign {
            Some(WeightSign::Positive) => ", weights ≥ 0",
            Some(WeightSign::Negative) => ", weights ≤ 0",
            Some(WeightSign::Free) => ", weights of either sign",
            None => "",
        };
        let not = if rule.allow { "" } else { "no " };
        format!("; {not}{who} of {} → {}{sign}", in_list(&rule.from), in_list(&rule.to))
    };
    rules.iter().fold(preset.to_owned(), |text, rule| text + &word(rule))
}

fn unknown(rule: usize, key: &'static str, area: &str, areas: &[String]) -> FitError {
    FitError::UnknownProjection {
        rule,
        key,
        area: area.to_owned(),
        nearest: closest(area, areas.iter().map(String::as_str)),
        known: areas.join(", "),
    }
}

/// Indices of areas; an area that isn't there is the error.
fn places<'a>(wanted: &'a Areas, areas: &[String]) -> Result<Vec<usize>, &'a str> {
    match wanted {
        Areas::All | Areas::Others => Ok((0..areas.len()).collect()),
        Areas::Named(names) => {
            let place = |name: &'a String| areas.iter().position(|area| area == name).ok_or(name.as_str());
            names.iter().map(place).collect()
        }
    }
}

fn types(rule: &checked::Projection) -> Vec<CellType> {
    match rule.cell_type {
        None => TYPES.to_vec(),
        Some(NeuronType::Excitatory) => vec![CellType::Excitatory],
        Some(NeuronType::Inhibitory) => vec![CellType::Inhibitory],
        Some(NeuronType::Unknown) => vec![CellType::Unknown],
    }
}

fn name_of(cell_type: NeuronType) -> &'static str {
    match cell_type {
        NeuronType::Excitatory => "excitatory",
        NeuronType::Inhibitory => "inhibitory",
        NeuronType::Unknown => "unknown",
    }
}

fn in_list(areas: &Areas) -> String {
    match areas {
        Areas::All => "every area".to_owned(),
        Areas::Others => "other areas".to_owned(),
        Areas::Named(names) => names.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Areas {
        Areas::Named(names.iter().map(|&name| name.to_owned()).collect())
    }

    fn rule(from: Areas, cell_type: Option<NeuronType>, to: Areas) -> checked::Projection {
        checked::Projection {
            from,
            cell_type,
            to,
            allow: true,
            sign: None,
        }
    }

    fn areas() -> Vec<String> {
        ["ctx", "striatum", "pallidum"].map(str::to_owned).to_vec()
    }

    fn triples(rules: &[checked::Projection]) -> Vec<(usize, CellType, usize)> {
        let resolved = resolve(rules, &areas()).unwrap();
        resolved.iter().map(|p| (p.from, p.cell_type, p.to)).collect()
    }

    #[test]
    fn words_stand_for_the_areas_that_they_mean() {
        let inh = CellType::Inhibitory;
        let of = |from, to| triples(&[rule(from, Some(NeuronType::Inhibitory), to)]);
        assert_eq!(of(named(&["striatum"]), named(&["pallidum"])), [(1, inh, 2)]);
        assert_eq!(of(named(&["striatum"]), Areas::Others), [(1, inh, 0), (1, inh, 2)]);
        assert_eq!(of(named(&["striatum"]), Areas::All).len(), 3);
        let all = of(Areas::All, Areas::Others);
        assert!(all.len() == 6 && all.iter().all(|(from, _, to)| from != to));
        assert_eq!(triples(&[rule(Areas::All, None, Areas::All)]).len(), 27);
    }

    #[test]
    fn an_unknown_area_is_named_with_its_rule_and_the_nearest_one() {
        let rules = [
            rule(Areas::All, None, Areas::Others),
            rule(named(&["striatum"]), None, named(&["ctx", "palidum"])),
        ];
        assert_eq!(
            resolve(&rules, &areas()).unwrap_err().to_string(),
            "model.rsnn.projections[1].to names area 'palidum', which the model doesn't have (did you mean 'pallidum'?); its \
             areas are ctx, striatum, pallidum"
        );
    }

    #[test]
    fn the_rules_are_told_in_words() {
        let mut rules = vec![
            rule(
                named(&["striatum"]),
                Some(NeuronType::Inhibitory),
                named(&["pallidum", "ctx"]),
            ),
            rule(Areas::All, None, Areas::Others),
        ];
        rules[1].allow = false;
        assert_eq!(
            in_words(InterArea::Excitatory, &rules),
            "excitatory and unknown neurons project; inhibitory of striatum → pallidum, ctx; no neurons of every area → other \
             areas"
        );
    }
}
