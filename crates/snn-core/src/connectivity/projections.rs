//! Which populations may project to which areas, and with what sign: one table for initial weights and projection.

use serde::{Deserialize, Serialize};

use super::{CellType, Connectivity, InterArea, Neuron, Sign};

/// A rule on what neurons of one type in one area may send to one area; it replaces what [`InterArea`] or an earlier rule
/// said of the same three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// Index of the presynaptic area.
    pub from: usize,
    /// Type of the presynaptic neurons.
    pub cell_type: CellType,
    /// Index of the postsynaptic area; `from` itself for synapses inside the area.
    pub to: usize,
    /// Whether there may be synapses.
    pub is_allowed: bool,
    /// Sign of their weights; `None`: as the cell type has it.
    pub sign: Option<Sign>,
}

/// What may run from one population to one area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Sign that weights must keep; `None`: no synapse.
    pub sign: Option<Sign>,
    /// Sign that weights are drawn with; `None`: they start at 0.
    pub start: Option<Sign>,
}

/// The rules of a network as a table, area × type → area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectionTable {
    n_areas: usize,
    entries: Vec<Entry>,
}

impl ProjectionTable {
    /// Entries of a presynaptic neuron, by postsynaptic area.
    #[inline]
    pub fn row(&self, pre: Neuron) -> &[Entry] {
        let start = self.place(pre.area, pre.cell_type, 0);
        &self.entries[start..start + self.n_areas]
    }

    fn place(&self, from: usize, cell_type: CellType, to: usize) -> usize {
        (from * TYPES.len() + cell_type as usize) * self.n_areas + to
    }
}

/// In the order of their discriminants.
const TYPES: [CellType; 3] = [CellType::Excitatory, CellType::Inhibitory, CellType::Unknown];

impl CellType {
    /// Sign of what such a neuron does to its targets.
    pub(super) fn sign(self) -> Sign {
        match self {
            Self::Excitatory => Sign::Positive,
            Self::Inhibitory => Sign::Negative,
            Self::Unknown => Sign::Free,
        }
    }
}

impl Connectivity {
    /// The table of this network: [`Self::inter_area`] first, then [`Self::projections`] in order, the last one that
    /// names an area, type and area rules.
    ///
    /// Weights inside an area are drawn, those between areas under [`InterArea::All`] only, and start at 0 otherwise.
    pub fn table(&self) -> ProjectionTable {
        let of_neurons = self.neurons.iter().map(|neuron| neuron.area);
        let of_rules = self.projections.iter().map(|rule| rule.from.max(rule.to));
        let n_areas = of_neurons.chain(of_rules).max().map_or(0, |last| last + 1);
        let mut entries = Vec::with_capacity(n_areas * TYPES.len() * n_areas);
        for from in 0..n_areas {
            for cell_type in TYPES {
                let of_type = self.preset(cell_type);
                entries.extend((0..n_areas).map(|to| if from == to { of_type.0 } else { of_type.1 }));
            }
        }
        let mut table = ProjectionTable { n_areas, entries };
        for rule in &self.projections {
            let place = table.place(rule.from, rule.cell_type, rule.to);
            table.entries[place] = self.ruled(rule);
        }
        table
    }

    /// What [`Self::inter_area`] says of a type: inside its area, and between areas.
    fn preset(&self, cell_type: CellType) -> (Entry, Entry) {
        let inside = Entry {
            sign: Some(self.dale_sign(cell_type)),
            start: Some(cell_type.sign()),
        };
        let leaves = match self.inter_area {
            InterArea::Excitatory => cell_type != CellType::Inhibitory,
            InterArea::All => true,
            InterArea::None => false,
        };
        let between = Entry {
            sign: inside.sign.filter(|_| leaves),
            start: inside.start.filter(|_| self.inter_area == InterArea::All),
        };
        (inside, between)
    }

    fn ruled(&self, rule: &Projection) -> Entry {
        let is_drawn = rule.from == rule.to || self.inter_area == InterArea::All;
        let start = match rule.sign {
            None | Some(Sign::Free) => rule.cell_type.sign(),
            Some(sign) => sign,
        };
        let sign = rule.sign.unwrap_or_else(|| self.dale_sign(rule.cell_type));
        Entry {
            sign: rule.is_allowed.then_some(sign),
            start: (rule.is_allowed && is_drawn).then_some(start),
        }
    }

    fn dale_sign(&self, cell_type: CellType) -> Sign {
        if self.has_dale { cell_type.sign() } else { Sign::Free }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectivity::{DORMANT_WEIGHT, population_layout};
    use crate::rng::StreamRng;
    use proptest::prelude::*;
    use rand::RngExt;

    const SIGNS: [Option<Sign>; 4] = [None, Some(Sign::Positive), Some(Sign::Negative), Some(Sign::Free)];

    fn rule(from: usize, cell_type: CellType, to: usize) -> Projection {
        Projection {
            from,
            cell_type,
            to,
            is_allowed: true,
            sign: None,
        }
    }

    /// Two excitatory, one inhibitory and one unknown neuron in each of three areas.
    fn network(inter_area: InterArea, projections: Vec<Projection>) -> Connectivity {
        let mut neurons = Vec::new();
        for area in 0..3 {
            for cell_type in [TYPES[0], TYPES[0], TYPES[1], TYPES[2]] {
                neurons.push(Neuron { area, cell_type });
            }
        }
        Connectivity {
            neurons,
            inter_area,
            has_dale: true,
            projections,
        }
    }

    #[test]
    fn long_range_inhibition_is_allowed_where_a_rule_says_so_and_nowhere_else() {
        let long = rule(0, CellType::Inhibitory, 2);
        let with = network(InterArea::Excitatory, vec![long]);
        let without = network(InterArea::Excitatory, Vec::new());
        for pre in 0..12 {
            for post in 0..12 {
                let is_new = pre == 2 && (8..12).contains(&post);
                assert_eq!(with.is_allowed(pre, post), without.is_allowed(pre, post) || is_new);
            }
        }
        // Only the table, inside areas as ever.
        let only = network(InterArea::None, vec![long]);
        assert!(only.is_allowed(2, 8) && only.is_allowed(2, 0) && !only.is_allowed(0, 8) && !only.is_allowed(2, 4));
    }

    #[test]
    fn the_last_rule_wins_and_rules_can_take_away_inside_areas_too() {
        let away = |rule: Projection| Projection {
            is_allowed: false,
            ..rule
        };
        let exc = CellType::Excitatory;
        let c = network(
            InterArea::All,
            vec![
                away(rule(0, exc, 1)),
                away(rule(0, exc, 0)),
                rule(0, exc, 1),
                away(rule(1, exc, 0)),
            ],
        );
        assert!(c.is_allowed(0, 4) && !c.is_allowed(0, 1) && !c.is_allowed(4, 0) && c.is_allowed(4, 5));
        let w = c.initial_weights(1, &mut StreamRng::new(1, "init", 0));
        assert!(w[[0, 0, 4]] > 0.0 && w[[0, 0, 1]] == 0.0 && w[[0, 4, 0]] == 0.0);
    }

    #[test]
    fn unknown_neurons_start_with_and_keep_the_sign_of_their_projection() {
        let unknown = CellType::Unknown;
        let inside = Projection {
            sign: Some(Sign::Negative),
            ..rule(0, unknown, 0)
        };
        let c = network(InterArea::Excitatory, vec![inside, Projection { to: 1, ..inside }]);
        let mut w = c.initial_weights(1, &mut StreamRng::new(2, "init", 0));
        assert!((0..3).all(|post| w[[0, 3, post]] < 0.0), "drawn inside the area");
        assert!((4..12).all(|post| w[[0, 3, post]] == 0.0), "0 between areas");
        w.fill(0.5);
        c.project(w.view_mut(), 0.0, 0.0);
        assert!((0..12).filter(|post| *post != 3).all(|post| if post < 8 {
            w[[0, 3, post]] == -DORMANT_WEIGHT
        } else {
            w[[0, 3, post]] == 0.5
        }));
    }

    #[test]
    fn weights_without_a_table_are_those_of_the_published_rule() {
        // The rule as it was written before there was a table.
        for inter_area in [InterArea::Excitatory, InterArea::All, InterArea::None] {
            for has_dale in [true, false] {
                let mut c = network(inter_area, Vec::new());
                c.has_dale = has_dale;
                for (pre, neuron) in c.neurons.iter().enumerate() {
                    let leaves = match inter_area {
                        InterArea::Excitatory => neuron.cell_type != CellType::Inhibitory,
                        InterArea::All => true,
                        InterArea::None => false,
                    };
                    let sign = match neuron.cell_type {
                        CellType::Excitatory if has_dale => Sign::Positive,
                        CellType::Inhibitory if has_dale => Sign::Negative,
                        _ => Sign::Free,
                    };
                    for (post, other) in c.neurons.iter().enumerate() {
                        let is_allowed = pre != post && (neuron.area == other.area || leaves);
                        assert_eq!(c.is_allowed(pre, post), is_allowed);
                        if is_allowed {
                            assert_eq!(c.table().row(*neuron)[other.area].sign, Some(sign));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn rules_that_say_what_is_so_anyway_change_no_bit() {
        let neurons = population_layout(40, 3, 0.8).unwrap();
        let plain = Connectivity {
            neurons,
            inter_area: InterArea::Excitatory,
            has_dale: true,
            projections: Vec::new(),
        };
        let mut said = plain.clone();
        for from in 0..3 {
            for to in 0..3 {
                said.projections.push(rule(from, CellType::Excitatory, to));
                said.projections.push(Projection {
                    is_allowed: from == to,
                    ..rule(from, CellType::Inhibitory, to)
                });
            }
        }
        assert_eq!(plain.table().entries[..6], said.table().entries[..6]);
        let draw = |c: &Connectivity| c.initial_weights(2, &mut StreamRng::new(5, "init", 0));
        let (mut a, mut b) = (draw(&plain), draw(&said));
        assert_eq!(a, b);
        for (w, c) in [(&mut a, &plain), (&mut b, &said)] {
            w.mapv_inplace(|w| w - 0.01);
            c.project(w.view_mut(), 0.1, 0.05);
        }
        assert_eq!(a, b);
    }

    proptest! {
        #[test]
        fn every_weight_keeps_its_sign_and_place_under_random_rules_and_updates(seed in any::<u64>(), n_rules in 0usize..12, mode in 0usize..3) {
            let mut rng = StreamRng::new(seed, "test", 0);
            let mut pick = |n: usize| rng.random_range(0..n);
            let projections: Vec<Projection> = (0..n_rules).map(|_| Projection {
                from: pick(3), cell_type: TYPES[pick(3)], to: pick(3), is_allowed: pick(3) > 0, sign: SIGNS[pick(4)],
            }).collect();
            let mut c = network([InterArea::Excitatory, InterArea::All, InterArea::None][mode], projections.clone());
            c.has_dale = pick(2) == 0;
            let mut w = c.initial_weights(2, &mut rng);
            for update in 0..20 {
                for ((_, pre, post), w) in w.indexed_iter() {
                    let (from, to) = (c.neurons[pre], c.neurons[post]);
                    // The last rule of the triple, found by hand.
                    let last = projections.iter().rev().find(|r| (r.from, r.cell_type, r.to) == (from.area, from.cell_type, to.area));
                    let (is_allowed, sign) = match last {
                        Some(rule) => (rule.is_allowed, rule.sign),
                        None => (from.area == to.area || [from.cell_type != CellType::Inhibitory, true, false][mode], None),
                    };
                    let sign = sign.unwrap_or(if c.has_dale { from.cell_type.sign() } else { Sign::Free });
                    let is_legal = match sign {
                        Sign::Positive => *w >= 0.0,
                        Sign::Negative => *w <= 0.0,
                        Sign::Free => true,
                    };
                    prop_assert_eq!(c.is_allowed(pre, post), is_allowed && pre != post);
                    prop_assert!(if is_allowed && pre != post { is_legal } else { *w == 0.0 }, "update {}", update);
                }
                w.mapv_inplace(|w| w + 0.4 * (rng.random::<f32>() - 0.5));
                c.project(w.view_mut(), 0.1, 0.05);
            }
        }
    }
}
