//! The part of the check that concerns `[[model.rsnn.projections]]`.

use super::checked::Projection;
use super::parse::closest;
use super::raw::{self, Areas, NeuronType, WeightSign};
use super::resolver::Resolver;

/// Rules in the order of the file. Areas are compared with `model.rsnn.areas`, where these are written; with the
/// recording's later on.
pub(super) fn check_projections(
    r: &mut Resolver<'_>,
    raw: Vec<raw::Projection>,
    dale: bool,
    areas: Option<&[String]>,
) -> Vec<Projection> {
    let check = |(i, rule)| check_rule(r, &format!("model.rsnn.projections[{i}]"), rule, dale, areas);
    raw.into_iter().enumerate().map(check).collect()
}

fn check_rule(
    r: &mut Resolver<'_>,
    at: &str,
    raw: raw::Projection,
    dale: bool,
    areas: Option<&[String]>,
) -> Projection {
    let key = |name: &str| format!("{at}.{name}");
    let from = check_areas(r, at, "from", raw.from, areas);
    if from == Areas::Others {
        let message = format!("`{}` = \"others\" is others than nothing", key("from"));
        r.problem(
            &key("from"),
            &message,
            "write \"*\" for all areas, and to = \"others\"; an area of that name is [\"others\"]",
        );
    }
    let cell_type = r.optional(&key("type"), raw.cell_type, None);
    let to = check_areas(r, at, "to", raw.to, areas);
    let allow = r.value(&key("allow"), raw.allow, None, true);
    let sign = r.optional(&key("sign"), raw.sign, None);
    if let (Some(_), false) = (sign, allow) {
        let message = format!("`{}` is the sign of synapses that the rule doesn't allow", key("sign"));
        r.problem(&key("sign"), &message, "remove it, or allow = false");
    }
    if let (Some(sign), true) = (sign, dale) {
        check_dale(r, &key("sign"), sign, cell_type);
    }
    Projection {
        from,
        cell_type,
        to,
        allow,
        sign,
    }
}

/// Dale's law leaves a choice for neurons of unknown type only.
fn check_dale(r: &mut Resolver<'_>, key: &str, sign: WeightSign, cell_type: Option<NeuronType>) {
    let (neurons, own) = match cell_type {
        Some(NeuronType::Unknown) => return,
        Some(NeuronType::Excitatory) if sign == WeightSign::Positive => return,
        Some(NeuronType::Inhibitory) if sign == WeightSign::Negative => return,
        Some(NeuronType::Excitatory) => ("excitatory neurons", "positive"),
        Some(NeuronType::Inhibitory) => ("inhibitory neurons", "negative"),
        None => ("neurons of every type", "that of their type"),
    };
    let message = format!("`{key}` contradicts Dale's law: the rule is for {neurons}, whose sign is {own}");
    let help = match cell_type {
        None => "add type = \"unknown\": a sign is for neurons whose type is not known; or set model.rsnn.dale = false",
        Some(_) => "leave the sign out, change the type, or set model.rsnn.dale = false",
    };
    r.problem(key, &message, help);
}

fn check_areas(r: &mut Resolver<'_>, at: &str, name: &str, given: Option<Areas>, areas: Option<&[String]>) -> Areas {
    let key = format!("{at}.{name}");
    let Some(given) = given else {
        r.missing(
            &key,
            "write an area, a list of areas, \"*\" for all, or (with to) \"others\" for all but their own",
        );
        return Areas::Named(Vec::new());
    };
    r.given(&key, &given);
    if let Areas::Named(names) = &given {
        if names.is_empty() {
            let message = format!("`{key}` is an empty list");
            r.problem(&key, &message, "write \"*\" for all areas, or remove the rule");
        }
        r.distinct(&key, names);
        let unknown = |name: &&String| areas.is_some_and(|areas| !areas.contains(name));
        for name in names.iter().filter(unknown) {
            let known = areas.unwrap_or_default();
            let message = format!("`{key}`: area '{name}' is not one of `model.rsnn.areas`");
            let near = closest(name, known.iter().map(String::as_str));
            let help = match near {
                Some(near) => format!("did you mean '{near}'? The areas are {}", known.join(", ")),
                None => format!("the areas are {}", known.join(", ")),
            };
            r.problem(&key, &message, &help);
        }
    }
    given
}
