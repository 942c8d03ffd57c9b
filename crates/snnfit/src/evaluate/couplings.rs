//! How far fitted weights are those of a known network: mean couplings between areas, and single pairs.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use data::{CellType, Connectivity};
use losses::LossError;
use losses::bootstrap::{N_RESAMPLES, bootstrap_ci95};
use losses::metrics::pearson;
use losses::statistics::quantile_sorted;
use ndarray::{Array2, ArrayView2, Axis};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use snn_core::rng::StreamRng;

use super::EvaluateError;
use super::report::{number, write_rows};

/// Version of `couplings.json`.
const SCHEMA: u32 = 1;
/// Permutations of the truth that the null intervals are from.
const N_PERMUTATIONS: usize = 200;
/// Fewest points of a correlation.
const LEAST_POINTS: usize = 4;

/// A fitted network and what it should be.
#[derive(Debug, Clone)]
pub struct CouplingInputs<'a> {
    /// Name of the run, for the report.
    pub run: String,
    /// Step of the checkpoint.
    pub checkpoint_step: u64,
    /// Name of the file with the truth.
    pub truth_name: String,
    /// Fitted weights, summed over delays `[to, from]`.
    pub fitted: ArrayView2<'a, f32>,
    /// The fitted neurons, `[N]`.
    pub neurons: &'a [FittedNeuron],
    /// The network that was recorded.
    pub truth: &'a Connectivity,
}

/// A neuron of the fitted network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FittedNeuron {
    /// Session and id of the unit that it stands for; none for a hidden neuron.
    pub unit: Option<(String, String)>,
    /// Area.
    pub area: String,
    /// Cell type.
    pub cell_type: CellType,
}

/// `couplings.json`: fitted weights beside those of the network that was recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CouplingReport {
    /// Version of this format.
    pub schema: u32,
    /// The run.
    pub run: String,
    /// Step of the checkpoint.
    pub checkpoint_step: u64,
    /// The file with the true weights.
    pub truth: String,
    /// Neurons of the fitted network.
    pub n_neurons: usize,
    /// Those that the file has too.
    pub n_compared: usize,
    /// Correlations of fitted with true weights.
    pub correlations: Vec<CouplingCorrelation>,
    /// Mean weights between areas.
    pub blocks: Vec<CouplingBlock>,
}

/// A correlation of fitted with true weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CouplingCorrelation {
    /// What is correlated: mean weights of pairs of areas (`areas`), or weights of pairs of neurons (`neurons`).
    pub level: String,
    /// Type of the presynaptic neurons (`excitatory`, `inhibitory`, `unknown`).
    pub from_type: String,
    /// Pairs of neurons `between` areas, `within` areas, or `all`.
    pub areas: String,
    /// Pairs of neurons of the `same` session, of `different` ones, or `all`.
    pub sessions: String,
    /// Pearson's coefficient.
    pub pearson: f64,
    /// 95 % interval: bootstrap over pairs of areas, or over postsynaptic neurons.
    pub ci95: [f64; 2],
    /// Where 95 % of the coefficients are when the truth is permuted: pairs of areas, or neurons within area and type.
    pub null95: [f64; 2],
    /// Number of pairs of areas, or of neurons.
    pub n: usize,
}

/// Mean weights from one area and type to another area.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CouplingBlock {
    /// Presynaptic area.
    pub from: String,
    /// Type of the presynaptic neurons.
    pub from_type: String,
    /// Postsynaptic area.
    pub to: String,
    /// Pairs of neurons of the `same` session, or of `different` ones.
    pub sessions: String,
    /// Pairs of neurons.
    pub n_pairs: usize,
    /// Mean fitted weight over pairs, absent synapses included.
    pub fitted: f64,
    /// Mean true weight.
    pub truth: f64,
}

/// A neuron in both networks.
struct Matched {
    fitted: usize,
    truth: usize,
    /// Numbers of session, area and type.
    session: usize,
    area: usize,
    kind: usize,
}

/// Types of presynaptic neurons, by number.
const KINDS: [CellType; CellType::ALL.len()] = CellType::ALL;

/// Sums over pairs of weights.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: usize,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

/// Sums by type of the presynaptic neuron, by whether the areas and whether the sessions differ.
type Cells = [[[Moments; 2]; 2]; KINDS.len()];

/// Which cells a correlation is over.
struct Scope {
    kind: usize,
    areas: (&'static str, &'static [usize]),
    sessions: (&'static str, &'static [usize]),
}

/// Compares fitted weights with the true ones. Neurons are matched by session and unit, or by the unit alone where the
/// truth names no session; a neuron's synapse to itself is left out.
///
/// # Shapes
/// Fitted weights `[N, N]`. Allocates the true weights summed over delays `[M, M]`.
///
/// # Errors
/// [`EvaluateError::Inputs`] for networks without a neuron in common, or whose neurons differ in area or type.
pub fn compare_couplings(inputs: &CouplingInputs<'_>, rng: &mut dyn Rng) -> Result<CouplingReport, EvaluateError> {
    let mut areas = Vec::new();
    let matched = matched(inputs, &mut areas)?;
    let truth = inputs.truth.weights.sum_axis(Axis(0));
    let own: Vec<usize> = matched.iter().map(|neuron| neuron.truth).collect();
    let by_target = sums(inputs, &matched, &truth, &own);
    let blocks = blocks(inputs, &matched, &truth);
    let null = permuted(inputs, &matched, &truth, rng.random());
    let mut report = CouplingReport {
        schema: SCHEMA,
        run: inputs.run.clone(),
        checkpoint_step: inputs.checkpoint_step,
        truth: inputs.truth_name.clone(),
        n_neurons: inputs.neurons.len(),
        n_compared: matched.len(),
        correlations: Vec::new(),
        blocks: Vec::new(),
    };
    for scope in scopes() {
        let of_areas = scope.blocks(&blocks);
        report.correlations.extend(of_blocks(&scope, &of_areas, rng)?);
    }
    for scope in scopes() {
        report.correlations.extend(of_neurons(&scope, &by_target, &null, rng)?);
    }
    report.blocks = blocks
        .iter()
        .map(|(&(kind, to, from, session), sums)| CouplingBlock {
            from: areas[from].clone(),
            from_type: KINDS[kind].name().to_owned(),
            to: areas[to].clone(),
            sessions: ["same", "different"][session].to_owned(),
            n_pairs: sums.n,
            fitted: sums.x / sums.n as f64,
            truth: sums.y / sums.n as f64,
        })
        .collect();
    Ok(report)
}

/// Neurons of both networks, in the order of the fitted one; `areas` gets the names of their areas.
fn matched(inputs: &CouplingInputs<'_>, areas: &mut Vec<String>) -> Result<Vec<Matched>, EvaluateError> {
    let mut places = HashMap::new();
    for (place, neuron) in inputs.truth.neurons.iter().enumerate() {
        if !neuron.unit.is_empty() {
            places.insert((neuron.session.as_str(), neuron.unit.as_str()), place);
        }
    }
    let mut sessions = Vec::new();
    let mut matched = Vec::new();
    for (n, neuron) in inputs.neurons.iter().enumerate() {
        let Some((session, unit)) = &neuron.unit else { continue };
        let place = places.get(&(session.as_str(), unit.as_str()));
        let Some(&truth) = place.or_else(|| places.get(&("", unit.as_str()))) else {
            continue;
        };
        let expected = &inputs.truth.neurons[truth];
        if (&expected.area, expected.cell_type) != (&neuron.area, neuron.cell_type) {
            return Err(EvaluateError::Inputs {
                what: "area and type of a neuron",
                found: format!("{session}/{unit} {} {}", neuron.area, neuron.cell_type.name()),
                expected: format!(
                    "{} {}, as in {}",
                    expected.area,
                    expected.cell_type.name(),
                    inputs.truth_name
                ),
            });
        }
        matched.push(Matched {
            fitted: n,
            truth,
            session: number_of(&mut sessions, session),
            area: number_of(areas, &neuron.area),
            kind: KINDS.iter().position(|kind| *kind == neuron.cell_type).unwrap_or(0),
        });
    }
    if matched.is_empty() {
        let of_truth = inputs.truth.neurons.first();
        let of_model = inputs.neurons.iter().find_map(|neuron| neuron.unit.as_ref());
        return Err(EvaluateError::Inputs {
            what: "neurons of the true network",
            found: format!(
                "none of the run's {} (such as {})",
                inputs.neurons.len(),
                of_model.map_or("none with a unit".to_owned(), |(session, unit)| format!(
                    "unit '{unit}' of session '{session}'"
                ))
            ),
            expected: format!(
                "units of the recording, by session and unit; {} has {} (such as {})",
                inputs.truth_name,
                inputs.truth.neurons.len(),
                of_truth.map_or("none".to_owned(), |neuron| format!(
                    "unit '{}' of session '{}'",
                    neuron.unit, neuron.session
                ))
            ),
        });
    }
    Ok(matched)
}

/// Place of a name, which is added if it is new.
fn number_of(names: &mut Vec<String>, name: &str) -> usize {
    names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    })
}

/// Sums of each postsynaptic neuron. `places` are the rows of the truth that the neurons are compared with.
fn sums(inputs: &CouplingInputs<'_>, matched: &[Matched], truth: &Array2<f32>, places: &[usize]) -> Vec<Cells> {
    let of_target = |(i, to): (usize, &Matched)| {
        let mut cells = Cells::default();
        let (fitted, truth) = (inputs.fitted.row(to.fitted), truth.row(places[i]));
        for (j, from) in matched.iter().enumerate() {
            if i != j {
                let area = usize::from(to.area != from.area);
                let session = usize::from(to.session != from.session);
                cells[from.kind][area][session].add(fitted[from.fitted], truth[places[j]]);
            }
        }
        cells
    };
    matched.par_iter().enumerate().map(of_target).collect()
}

/// Sums over all pairs with the truth's neurons permuted within area and type, of each permutation.
fn permuted(inputs: &CouplingInputs<'_>, matched: &[Matched], truth: &Array2<f32>, seed: u64) -> Vec<Cells> {
    let mut populations = BTreeMap::<(usize, usize), Vec<usize>>::new();
    for (i, neuron) in matched.iter().enumerate() {
        populations.entry((neuron.area, neuron.kind)).or_default().push(i);
    }
    let permutations = 0..N_PERMUTATIONS as u64;
    let of_permutation = |p: u64| {
        let mut rng = StreamRng::new(seed, "couplings", p);
        let mut places = vec![0; matched.len()];
        for members in populations.values() {
            let mut shuffled: Vec<usize> = members.iter().map(|&i| matched[i].truth).collect();
            shuffled.shuffle(&mut rng);
            for (&i, place) in members.iter().zip(shuffled) {
                places[i] = place;
            }
        }
        let mut total = Cells::default();
        for cells in sums(inputs, matched, truth, &places) {
            for (total, sums) in total
                .iter_mut()
                .flatten()
                .flatten()
                .zip(cells.iter().flatten().flatten())
            {
                total.merge(sums);
            }
        }
        total
    };
    permutations.map(of_permutation).collect()
}

/// Sums over the pairs of each block: type of the presynaptic neuron, area to, area from, whether the sessions differ.
type Blocks = BTreeMap<(usize, usize, usize, usize), Moments>;

fn blocks(inputs: &CouplingInputs<'_>, matched: &[Matched], truth: &Array2<f32>) -> Blocks {
    let mut blocks = Blocks::new();
    for (i, to) in matched.iter().enumerate() {
        for (j, from) in matched.iter().enumerate() {
            if i != j {
                let key = (from.kind, to.area, from.area, usize::from(to.session != from.session));
                let weights = (inputs.fitted[[to.fitted, from.fitted]], truth[[to.truth, from.truth]]);
                blocks.entry(key).or_default().add(weights.0, weights.1);
            }
        }
    }
    blocks
}

fn scopes() -> Vec<Scope> {
    let mut scopes = Vec::new();
    for kind in 0..KINDS.len() {
        for areas in [("between", &[1][..]), ("within", &[0]), ("all", &[0, 1])] {
            for sessions in [("same", &[0][..]), ("different", &[1]), ("all", &[0, 1])] {
                scopes.push(Scope { kind, areas, sessions });
            }
        }
    }
    scopes
}

impl Scope {
    /// Mean fitted and true weight of each block of this scope.
    fn blocks(&self, blocks: &Blocks) -> Vec<(f64, f64)> {
        let mut means = BTreeMap::<(usize, usize), Moments>::new();
        for (&(kind, to, from, session), sums) in blocks {
            let area = usize::from(to != from);
            if kind == self.kind && self.areas.1.contains(&area) && self.sessions.1.contains(&session) {
                means.entry((to, from)).or_default().merge(sums);
            }
        }
        let of = |sums: &Moments| (sums.x / sums.n as f64, sums.y / sums.n as f64);
        means.values().map(of).collect()
    }

    /// Sums of the cells of this scope.
    fn of(&self, cells: &Cells) -> Moments {
        let mut total = Moments::default();
        for &area in self.areas.1 {
            for &session in self.sessions.1 {
                total.merge(&cells[self.kind][area][session]);
            }
        }
        total
    }

    fn correlation(
        &self,
        level: &str,
        pearson: f64,
        ci95: [f64; 2],
        null95: [f64; 2],
        n: usize,
    ) -> CouplingCorrelation {
        CouplingCorrelation {
            level: level.to_owned(),
            from_type: KINDS[self.kind].name().to_owned(),
            areas: self.areas.0.to_owned(),
            sessions: self.sessions.0.to_owned(),
            pearson,
            ci95,
            null95,
            n,
        }
    }
}

/// Correlation over pairs of areas; none for fewer than four, or where either side is constant.
fn of_blocks(
    scope: &Scope,
    points: &[(f64, f64)],
    rng: &mut dyn Rng,
) -> Result<Option<CouplingCorrelation>, LossError> {
    let (fitted, mut truth): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let Some(r) = pearson(&fitted, &truth).filter(|_| points.len() >= LEAST_POINTS) else {
        return Ok(None);
    };
    let ci95 = bootstrap_ci95(&[points.to_vec()], N_RESAMPLES, rng, |points| {
        let (x, y): (Vec<f64>, Vec<f64>) = points.iter().flatten().map(|point| **point).unzip();
        pearson(&x, &y).unwrap_or(f64::NAN)
    })?;
    let mut null = Vec::with_capacity(N_RESAMPLES);
    for _ in 0..N_RESAMPLES {
        truth.shuffle(rng);
        null.extend(pearson(&fitted, &truth));
    }
    Ok(Some(scope.correlation("areas", r, ci95, middle(null), points.len())))
}

/// Correlation over pairs of neurons.
fn of_neurons(
    scope: &Scope,
    by_target: &[Cells],
    null: &[Cells],
    rng: &mut dyn Rng,
) -> Result<Option<CouplingCorrelation>, LossError> {
    let targets: Vec<Moments> = by_target
        .iter()
        .map(|cells| scope.of(cells))
        .filter(|sums| sums.n > 0)
        .collect();
    let total = Moments::sum(&targets);
    let Some(r) = total.pearson().filter(|_| total.n >= LEAST_POINTS) else {
        return Ok(None);
    };
    let ci95 = bootstrap_ci95(&[targets], N_RESAMPLES, rng, |targets| {
        Moments::sum(targets.iter().flatten().copied())
            .pearson()
            .unwrap_or(f64::NAN)
    })?;
    let null = null.iter().filter_map(|cells| scope.of(cells).pearson()).collect();
    Ok(Some(scope.correlation("neurons", r, ci95, middle(null), total.n)))
}

/// Where the middle 95 % of some values are.
fn middle(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_unstable_by(f64::total_cmp);
    [0.025, 0.975].map(|q| quantile_sorted(&values, q).unwrap_or(0.0))
}

impl Moments {
    fn add(&mut self, x: f32, y: f32) {
        let (x, y) = (f64::from(x), f64::from(y));
        self.n += 1;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.yy += y * y;
        self.xy += x * y;
    }

    fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.x += other.x;
        self.y += other.y;
        self.xx += other.xx;
        self.yy += other.yy;
        self.xy += other.xy;
    }

    fn sum<'m>(all: impl IntoIterator<Item = &'m Self>) -> Self {
        let mut total = Self::default();
        for sums in all {
            total.merge(sums);
        }
        total
    }

    /// None where either side is constant.
    fn pearson(&self) -> Option<f64> {
        let n = self.n as f64;
        let variance = |square: f64, sum: f64| {
            let variance = square - sum * sum / n;
            (variance > 1e-12 * square).then_some(variance)
        };
        let r = (self.xy - self.x * self.y / n) / (variance(self.xx, self.x)? * variance(self.yy, self.y)?).sqrt();
        r.is_finite().then(|| r.clamp(-1.0, 1.0))
    }
}

impl CouplingReport {
    /// The table for the terminal.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{} · checkpoint step {} · {} of {} neurons are in {}\n",
            self.run, self.checkpoint_step, self.n_compared, self.n_neurons, self.truth
        );
        let head = [
            "from",
            "areas",
            "sessions",
            "pearson",
            "95 % interval",
            "permuted, 95 %",
            "n",
        ];
        for (level, title) in [
            ("areas", "mean weights of pairs of areas"),
            ("neurons", "weights of pairs of neurons"),
        ] {
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            for found in self.correlations.iter().filter(|found| found.level == level) {
                let range = |[low, high]: [f64; 2]| format!("[{}, {}]", number(low), number(high));
                rows.push(vec![
                    found.from_type.clone(),
                    found.areas.clone(),
                    found.sessions.clone(),
                    number(found.pearson),
                    range(found.ci95),
                    range(found.null95),
                    found.n.to_string(),
                ]);
            }
            let _ = writeln!(text, "\n{title}, fitted against true");
            if rows.len() > 1 {
                write_rows(&mut text, &rows);
            } else {
                text.push_str("none: fewer than four, or all the same\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data::ConnectivityNeuron;
    use ndarray::Array3;

    /// Four areas of six excitatory and two inhibitory neurons, in two sessions of two areas each and one of all.
    fn network() -> (Vec<FittedNeuron>, Connectivity) {
        let mut fitted = Vec::new();
        for n in 0..32 {
            let area = n / 8;
            let is_inhibitory = n % 8 >= 6;
            let session = if n % 3 == 0 { "c" } else { ["a", "b"][area / 2] };
            fitted.push(FittedNeuron {
                unit: Some((session.to_owned(), format!("u{n}"))),
                area: format!("A{area}"),
                cell_type: if is_inhibitory {
                    CellType::Inhibitory
                } else {
                    CellType::Excitatory
                },
            });
        }
        let mut rng = StreamRng::new(1, "test", 0);
        let weights = Array3::from_shape_fn((2, 32, 32), |(_, to, from)| {
            let sign = if from % 8 >= 6 { -1.0 } else { 1.0 };
            let of_areas = ((to / 8) * 4 + from / 8) as f32;
            if to == from {
                5.0
            } else {
                sign * (0.1 * of_areas + rng.random::<f32>())
            }
        });
        let of = |neuron: &FittedNeuron| ConnectivityNeuron {
            session: String::new(),
            unit: neuron.unit.clone().unwrap().1,
            area: neuron.area.clone(),
            cell_type: neuron.cell_type,
        };
        let truth = Connectivity {
            weights,
            delays_ms: vec![2.0, 4.0],
            neurons: fitted.iter().map(of).collect(),
        };
        (fitted, truth)
    }

    fn report(fitted: &Array2<f32>, neurons: &[FittedNeuron], truth: &Connectivity) -> CouplingReport {
        let inputs = CouplingInputs {
            run: "r".to_owned(),
            checkpoint_step: 3,
            truth_name: "t.h5".to_owned(),
            fitted: fitted.view(),
            neurons,
            truth,
        };
        compare_couplings(&inputs, &mut StreamRng::new(0, "test", 0)).unwrap()
    }

    fn find<'r>(report: &'r CouplingReport, level: &str, areas: &str, sessions: &str) -> &'r CouplingCorrelation {
        let is = |c: &&CouplingCorrelation| {
            (
                c.level.as_str(),
                c.from_type.as_str(),
                c.areas.as_str(),
                c.sessions.as_str(),
            ) == (level, "excitatory", areas, sessions)
        };
        report.correlations.iter().find(is).unwrap()
    }

    #[test]
    fn the_true_weights_correlate_fully_whatever_their_scale_and_order() {
        let (mut neurons, truth) = network();
        // The fitted network has its neurons the other way round, and a hidden one.
        neurons.reverse();
        let summed = truth.weights.sum_axis(Axis(0));
        let mut fitted = Array2::from_elem((33, 33), 9.0);
        for to in 0..32 {
            for from in 0..32 {
                fitted[[to, from]] = 0.25 * summed[[31 - to, 31 - from]];
            }
        }
        neurons.push(FittedNeuron {
            unit: None,
            area: "A0".to_owned(),
            cell_type: CellType::Excitatory,
        });
        let report = report(&fitted, &neurons, &truth);
        assert_eq!((report.n_neurons, report.n_compared), (33, 32));
        for found in &report.correlations {
            assert!((found.pearson - 1.0).abs() < 1e-6, "{found:?}");
            // Of four pairs of areas, one in 24 permutations is the identity.
            assert!(found.n == 4 || found.null95[1] < 0.999, "{found:?}");
        }
        // 12 pairs of areas; 24 excitatory neurons reach 24 neurons of other areas each.
        assert_eq!(find(&report, "areas", "between", "all").n, 12);
        assert_eq!(find(&report, "neurons", "between", "all").n, 24 * 24);
        assert_eq!(find(&report, "neurons", "within", "all").n, 24 * 7);
        let of = |sessions| find(&report, "neurons", "all", sessions).n;
        assert_eq!(of("same") + of("different"), of("all"));
    }

    /// The correlations are those of a plain loop over pairs, in a recovery that is right between areas alone.
    #[test]
    fn sessions_and_areas_are_told_apart() {
        let (neurons, truth) = network();
        let summed = truth.weights.sum_axis(Axis(0));
        let mut rng = StreamRng::new(2, "test", 0);
        // Right for pairs of one session, noise for the others.
        let session = |n: usize| &neurons[n].unit.as_ref().unwrap().0;
        let fitted = Array2::from_shape_fn((32, 32), |(to, from)| {
            if session(to) == session(from) {
                summed[[to, from]]
            } else {
                rng.random()
            }
        });
        let report = report(&fitted, &neurons, &truth);
        assert!((find(&report, "neurons", "between", "same").pearson - 1.0).abs() < 1e-6);
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for to in 0..32 {
            for from in (0..32).filter(|from| from % 8 < 6 && from / 8 != to / 8) {
                if session(to) != session(from) {
                    x.push(f64::from(fitted[[to, from]]));
                    y.push(f64::from(summed[[to, from]]));
                }
            }
        }
        let found = find(&report, "neurons", "between", "different");
        assert_eq!(found.n, x.len());
        assert!((found.pearson - pearson(&x, &y).unwrap()).abs() < 1e-6);
        let [low, high] = found.null95;
        assert!(low < 0.0 && 0.0 < high && found.pearson < high + 0.1, "{found:?}");
        let block = report.blocks.iter().find(|block| {
            (block.from.as_str(), block.to.as_str(), block.from_type.as_str()) == ("A2", "A1", "excitatory")
                && block.sessions == "different"
        });
        let block = block.unwrap();
        let mut weights = Vec::new();
        for to in 8..16 {
            for from in (16..22).filter(|&from| session(to) != session(from)) {
                weights.push(f64::from(summed[[to, from]]));
            }
        }
        assert_eq!(block.n_pairs, weights.len());
        assert!((block.truth - losses::statistics::mean(&weights)).abs() < 1e-6);
    }

    #[test]
    fn networks_without_a_neuron_in_common_or_of_other_types_are_refused() {
        let (neurons, truth) = network();
        let fitted = Array2::zeros((32, 32));
        let refused = |truth: &Connectivity| {
            let inputs = CouplingInputs {
                run: "r".to_owned(),
                checkpoint_step: 3,
                truth_name: "t.h5".to_owned(),
                fitted: fitted.view(),
                neurons: &neurons,
                truth,
            };
            let error = compare_couplings(&inputs, &mut StreamRng::new(0, "test", 0)).unwrap_err();
            error.to_string()
        };
        let mut other = truth.clone();
        for neuron in &mut other.neurons {
            neuron.session = "z".to_owned();
        }
        let message = refused(&other);
        assert!(
            message.contains("unit 'u0' of session 'c'") && message.contains("session 'z'"),
            "{message}"
        );
        let mut other = truth;
        other.neurons[3].cell_type = CellType::Inhibitory;
        let message = refused(&other);
        assert!(
            message.contains("c/u3 A0 excitatory") && message.contains("A0 inhibitory, as in t.h5"),
            "{message}"
        );
    }
}
