//! How far fitted weights are those of a known network: mean couplings between areas, and single pairs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use data::{CellType, Connectivity};
use losses::LossError;
use losses::bootstrap::{N_RESAMPLES, OfPair, bootstrap_ci95, bootstrap_ci95_of_pairs};
use losses::metrics::{pearson, pearson_weighted};
use losses::statistics::quantile_sorted;
use ndarray::{Array2, ArrayView2, Axis};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use snn_core::rng::StreamRng;

use super::report::{number, write_rows};
use super::{EvaluateError, LeftOutMetric};

/// Version of `couplings.json`.
const SCHEMA: u32 = 1;
/// Resamples and permutations of neurons that intervals over pairs of neurons are from.
const N_RESAMPLED: u64 = 200;
/// Fewest areas that change places: of four, one in 24 changes is none.
const LEAST_AREAS: usize = 5;
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
    /// What couldn't be compared.
    pub left_out: Vec<LeftOutMetric>,
}

/// A correlation of fitted with true weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CouplingCorrelation {
    /// What is correlated: mean weights of pairs of areas (`areas`), or weights of pairs of neurons (`neurons`).
    pub level: String,
    /// Type of the presynaptic neurons (`excitatory`, `inhibitory`, `unknown`).
    pub from_type: String,
    /// Pairs of neurons `between` areas or `within` them.
    pub areas: String,
    /// Pairs of neurons of the `same` session, of `different` ones, or `all`.
    pub sessions: String,
    /// Pearson's coefficient.
    pub pearson: f64,
    /// 95 % interval: bootstrap over areas, or over neurons; none where it is undefined in many resamples.
    pub ci95: Option<[f64; 2]>,
    /// Where 95 % of the coefficients are when the truth's areas, or its neurons within area and type, change places; none
    /// for fewer than five areas.
    pub null95: Option<[f64; 2]>,
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

/// Kinds of pairs: by type of the presynaptic neuron, by whether the areas and whether the sessions differ.
const N_CELLS: usize = 4 * KINDS.len();

/// A pair that isn't one: a neuron with itself.
const NO_CELL: u8 = u8::MAX;

/// Sums over pairs of weights, by kind of pair.
type Cells = [Moments; N_CELLS];

fn cell(kind: usize, areas_differ: bool, sessions_differ: bool) -> usize {
    4 * kind + 2 * usize::from(areas_differ) + usize::from(sessions_differ)
}

/// Weights of the neurons that both networks have.
struct Pairs {
    matched: Vec<Matched>,
    /// `[M, M]`, to and from.
    fitted: Array2<f32>,
    truth: Array2<f32>,
    cells: Array2<u8>,
}

/// Weighted sums over pairs.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

/// Which pairs a correlation is over.
struct Scope {
    kind: usize,
    are_between: bool,
    sessions: (&'static str, &'static [bool]),
}

/// Compares fitted weights with the true ones. Neurons are matched by session and unit, or by the unit alone where the
/// truth names no session. A neuron's synapse to itself is left out, also where two sessions recorded the neuron.
///
/// # Shapes
/// Fitted weights `[N, N]`. Allocates both networks' weights between the M neurons that are matched, `[M, M]`.
///
/// # Errors
/// [`EvaluateError::Inputs`] for weights that aren't those of the neurons, [`EvaluateError::NotComparable`] for networks
/// without a neuron in common, or whose neurons differ in area or type.
pub fn compare_couplings(inputs: &CouplingInputs<'_>, rng: &mut dyn Rng) -> Result<CouplingReport, EvaluateError> {
    let n = inputs.neurons.len();
    if inputs.fitted.dim() != (n, n) {
        return Err(EvaluateError::Inputs {
            what: "shape of the fitted weights",
            found: format!("{:?}", inputs.fitted.dim()),
            expected: format!("{:?}", (n, n)),
        });
    }
    let mut areas = Vec::new();
    let matched = matched(inputs, &mut areas)?;
    let pairs = Pairs::new(inputs, matched);
    let blocks = pairs.blocks();
    let total = pairs.sums(&vec![1; pairs.len()]);
    let (resampled, null) = (pairs.resampled(rng.random()), pairs.permuted(rng.random()));
    let mut report = CouplingReport {
        schema: SCHEMA,
        run: inputs.run.clone(),
        checkpoint_step: inputs.checkpoint_step,
        truth: inputs.truth_name.clone(),
        n_neurons: n,
        n_compared: pairs.len(),
        correlations: Vec::new(),
        blocks: Vec::new(),
        left_out: Vec::new(),
    };
    if pairs.len() < n {
        report.left_out.push(LeftOutMetric {
            name: "neurons".to_owned(),
            reason: format!(
                "{} of {n} stand for no unit, or for one that {} hasn't",
                n - pairs.len(),
                inputs.truth_name
            ),
        });
    }
    for scope in scopes() {
        if scope.sums(&total).n > 0.0 {
            let found = of_blocks(&scope, &blocks, areas.len(), rng)?;
            report.add("areas", &scope, found);
            report.add("neurons", &scope, of_neurons(&scope, &total, &resampled, &null));
        }
    }
    report.blocks = blocks
        .iter()
        .map(|(&(kind, to, from, differ), sums)| CouplingBlock {
            from: areas[from].clone(),
            from_type: KINDS[kind].name().to_owned(),
            to: areas[to].clone(),
            sessions: if differ { "different" } else { "same" }.to_owned(),
            n_pairs: sums.n as usize,
            fitted: sums.x / sums.n,
            truth: sums.y / sums.n,
        })
        .collect();
    Ok(report)
}

/// Neurons of both networks, in the order of the fitted one; `areas` gets the names of their areas.
fn matched(inputs: &CouplingInputs<'_>, areas: &mut Vec<String>) -> Result<Vec<Matched>, EvaluateError> {
    let fail = |reason: String| EvaluateError::NotComparable {
        file: inputs.truth_name.clone(),
        reason,
    };
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
            return Err(fail(format!(
                "unit '{unit}' is {} of {} there, but {} of {} (session '{session}') in the run",
                expected.cell_type.name(),
                expected.area,
                neuron.cell_type.name(),
                neuron.area,
            )));
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
        let name = |session: &str, unit: &str| format!("unit '{unit}' of session '{session}'");
        let of_truth = inputs
            .truth
            .neurons
            .first()
            .map(|neuron| name(&neuron.session, &neuron.unit));
        let of_model = inputs.neurons.iter().find_map(|neuron| neuron.unit.as_ref());
        return Err(fail(format!(
            "no neuron of the run is there: the run has {}, the file {}",
            of_model.map_or("none that stands for a unit".to_owned(), |(session, unit)| name(
                session, unit
            )),
            of_truth.unwrap_or("none".to_owned()),
        )));
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

/// Sums over the pairs of each block: type of the presynaptic neuron, area to, area from, whether the sessions differ.
type Blocks = BTreeMap<(usize, usize, usize, bool), Moments>;

impl Pairs {
    fn new(inputs: &CouplingInputs<'_>, matched: Vec<Matched>) -> Self {
        let truth = inputs.truth.weights.sum_axis(Axis(0));
        let n = matched.len();
        let gather = |weight: &dyn Fn(&Matched, &Matched) -> f32| {
            Array2::from_shape_fn((n, n), |(to, from)| weight(&matched[to], &matched[from]))
        };
        let fitted = gather(&|to, from| inputs.fitted[[to.fitted, from.fitted]]);
        let truth = gather(&|to, from| truth[[to.truth, from.truth]]);
        let cells = Array2::from_shape_fn((n, n), |(to, from)| {
            let (to, from) = (&matched[to], &matched[from]);
            if to.truth == from.truth {
                return NO_CELL;
            }
            cell(from.kind, to.area != from.area, to.session != from.session) as u8
        });
        Self {
            matched,
            fitted,
            truth,
            cells,
        }
    }

    fn len(&self) -> usize {
        self.matched.len()
    }

    /// Sums over all pairs, each as often as the product of the numbers of times that its neurons were drawn.
    fn sums(&self, drawn: &[u32]) -> Cells {
        self.sums_with(drawn, |to, from| self.truth[[to, from]])
    }

    fn sums_with(&self, drawn: &[u32], truth: impl Fn(usize, usize) -> f32) -> Cells {
        let mut sums = Cells::default();
        for (to, &n_to) in drawn.iter().enumerate().filter(|(_, n)| **n > 0) {
            let (cells, fitted) = (self.cells.row(to), self.fitted.row(to));
            for (from, ((&cell, &x), &n_from)) in cells.iter().zip(&fitted).zip(drawn).enumerate() {
                if let Some(sums) = sums.get_mut(usize::from(cell)).filter(|_| n_from > 0) {
                    sums.add(f64::from(n_to) * f64::from(n_from), x, truth(to, from));
                }
            }
        }
        sums
    }

    /// Sums over the pairs of neurons drawn with replacement.
    fn resampled(&self, seed: u64) -> Vec<Cells> {
        // A neuron that two sessions recorded is drawn for both.
        let distinct: BTreeSet<usize> = self.matched.iter().map(|neuron| neuron.truth).collect();
        let distinct: Vec<usize> = distinct.into_iter().collect();
        let of_resample = |r: u64| {
            let mut rng = StreamRng::new(seed, "couplings.resample", r);
            let mut drawn = vec![0; distinct.len()];
            for _ in 0..distinct.len() {
                drawn[rng.random_range(0..distinct.len())] += 1;
            }
            let of_neuron = |neuron: &Matched| drawn[distinct.partition_point(|&truth| truth < neuron.truth)];
            self.sums(&self.matched.iter().map(of_neuron).collect::<Vec<u32>>())
        };
        (0..N_RESAMPLED).into_par_iter().map(of_resample).collect()
    }

    /// Sums over all pairs with the truth's neurons permuted within area and type.
    fn permuted(&self, seed: u64) -> Vec<Cells> {
        // Neurons that two sessions recorded stay one: distinct ones change places.
        let mut populations = BTreeMap::<(usize, usize), BTreeMap<usize, usize>>::new();
        for (i, neuron) in self.matched.iter().enumerate() {
            populations
                .entry((neuron.area, neuron.kind))
                .or_default()
                .insert(neuron.truth, i);
        }
        let all = vec![1; self.len()];
        let of_permutation = |p: u64| {
            let mut rng = StreamRng::new(seed, "couplings.permute", p);
            let mut place_of = HashMap::new();
            for members in populations.values() {
                let mut places: Vec<usize> = members.values().copied().collect();
                places.shuffle(&mut rng);
                place_of.extend(members.keys().copied().zip(places));
            }
            let places: Vec<usize> = self.matched.iter().map(|neuron| place_of[&neuron.truth]).collect();
            self.sums_with(&all, |to, from| self.truth[[places[to], places[from]]])
        };
        (0..N_RESAMPLED).into_par_iter().map(of_permutation).collect()
    }

    fn blocks(&self) -> Blocks {
        let mut blocks = Blocks::new();
        for (to, of_to) in self.matched.iter().enumerate() {
            for (from, of_from) in self.matched.iter().enumerate() {
                if self.cells[[to, from]] != NO_CELL {
                    let key = (of_from.kind, of_to.area, of_from.area, of_to.session != of_from.session);
                    let sums = blocks.entry(key).or_default();
                    sums.add(1.0, self.fitted[[to, from]], self.truth[[to, from]]);
                }
            }
        }
        blocks
    }
}

fn scopes() -> Vec<Scope> {
    let mut scopes = Vec::new();
    for kind in 0..KINDS.len() {
        for are_between in [true, false] {
            for sessions in [("same", &[false][..]), ("different", &[true]), ("all", &[false, true])] {
                scopes.push(Scope {
                    kind,
                    are_between,
                    sessions,
                });
            }
        }
    }
    scopes
}

impl Scope {
    fn name(&self) -> &'static str {
        if self.are_between { "between" } else { "within" }
    }

    /// Sums of each pair of areas of this scope.
    fn blocks(&self, blocks: &Blocks, sessions: &[bool]) -> BTreeMap<(usize, usize), Moments> {
        let mut of_areas = BTreeMap::<(usize, usize), Moments>::new();
        for (&(kind, to, from, differ), sums) in blocks {
            if kind == self.kind && (to != from) == self.are_between && sessions.contains(&differ) {
                of_areas.entry((to, from)).or_default().merge(sums);
            }
        }
        of_areas
    }

    fn sums(&self, cells: &Cells) -> Moments {
        let mut total = Moments::default();
        for &differ in self.sessions.1 {
            total.merge(&cells[cell(self.kind, self.are_between, differ)]);
        }
        total
    }
}

/// A coefficient with its intervals.
struct Found {
    pearson: f64,
    ci95: Option<[f64; 2]>,
    null95: Option<[f64; 2]>,
    n: usize,
}

/// Correlation over pairs of areas; or why there is none.
fn of_blocks(
    scope: &Scope,
    blocks: &Blocks,
    n_areas: usize,
    rng: &mut dyn Rng,
) -> Result<Result<Found, String>, LossError> {
    let points = scope.blocks(blocks, scope.sessions.1);
    let means = |sums: &Moments| (sums.x / sums.n, sums.y / sums.n);
    if points.len() < LEAST_POINTS {
        return Ok(Err(format!(
            "{} pairs of areas, fewer than {LEAST_POINTS}",
            points.len()
        )));
    }
    let (fitted, truth): (Vec<f64>, Vec<f64>) = points.values().map(means).unzip();
    let Some(r) = pearson(&fitted, &truth) else {
        return Ok(Err("all the same on one side".to_owned()));
    };
    let ci95 = if scope.are_between {
        let pairs = points.iter().map(|(&(first, second), sums)| OfPair {
            first,
            second,
            value: means(sums),
        });
        let weighted = |pairs: &[(f64, &(f64, f64))]| pearson_weighted(pairs).unwrap_or(f64::NAN);
        bootstrap_ci95_of_pairs(&[pairs.collect()], N_RESAMPLES, rng, weighted)?
    } else {
        let points: Vec<(f64, f64)> = points.values().map(means).collect();
        let of_drawn = |points: &[Vec<&(f64, f64)>]| {
            let (x, y): (Vec<f64>, Vec<f64>) = points.iter().flatten().map(|point| **point).unzip();
            let distinct: BTreeSet<u64> = x.iter().map(|x| x.to_bits()).collect();
            // Through two points there is always a line.
            pearson(&x, &y).filter(|_| distinct.len() > 2).unwrap_or(f64::NAN)
        };
        match bootstrap_ci95(&[points], N_RESAMPLES, rng, of_drawn) {
            Err(LossError::NoData { .. }) => None,
            found => Some(found?),
        }
    };
    // Areas change places as a whole: what an area sends and gets stays together. Those that have no neurons of the type
    // change places with each other.
    let everywhere = scope.blocks(blocks, &[false, true]);
    let senders: BTreeSet<usize> = everywhere.keys().map(|(_, from)| *from).collect();
    let (senders, others): (Vec<usize>, Vec<usize>) = (0..n_areas).partition(|area| senders.contains(area));
    let mut null = Vec::new();
    for _ in 0..N_RESAMPLES {
        let mut place = vec![0; n_areas];
        for group in [&senders, &others] {
            let mut shuffled = group.clone();
            shuffled.shuffle(rng);
            for (&area, to) in group.iter().zip(shuffled) {
                place[area] = to;
            }
        }
        let moved = points.iter().filter_map(|(&(to, from), sums)| {
            let there = everywhere.get(&(place[to], place[from]))?;
            Some((sums.x / sums.n, there.y / there.n))
        });
        let (x, y): (Vec<f64>, Vec<f64>) = moved.unzip();
        null.extend(pearson(&x, &y).filter(|_| x.len() == points.len()));
    }
    Ok(Ok(Found {
        pearson: r,
        ci95,
        null95: middle(null, N_RESAMPLES).filter(|_| senders.len() >= LEAST_AREAS),
        n: points.len(),
    }))
}

/// Correlation over pairs of neurons; or why there is none.
fn of_neurons(scope: &Scope, total: &Cells, resampled: &[Cells], null: &[Cells]) -> Result<Found, String> {
    let total = scope.sums(total);
    if total.n < LEAST_POINTS as f64 {
        return Err(format!("{} pairs of neurons, fewer than {LEAST_POINTS}", total.n));
    }
    let Some(r) = total.pearson() else {
        return Err("all the same on one side".to_owned());
    };
    let of = |cells: &[Cells]| cells.iter().filter_map(|cells| scope.sums(cells).pearson()).collect();
    Ok(Found {
        pearson: r,
        ci95: middle(of(resampled), resampled.len()),
        null95: middle(of(null), null.len()),
        n: total.n as usize,
    })
}

/// Where the middle 95 % of some values are; none if they are fewer than half of what was drawn.
fn middle(mut values: Vec<f64>, drawn: usize) -> Option<[f64; 2]> {
    if values.len() < drawn / 2 {
        return None;
    }
    values.sort_unstable_by(f64::total_cmp);
    Some([quantile_sorted(&values, 0.025)?, quantile_sorted(&values, 0.975)?])
}

impl Moments {
    fn add(&mut self, weight: f64, x: f32, y: f32) {
        let (x, y) = (f64::from(x), f64::from(y));
        self.n += weight;
        self.x += weight * x;
        self.y += weight * y;
        self.xx += weight * x * x;
        self.yy += weight * y * y;
        self.xy += weight * x * y;
    }

    fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.x += other.x;
        self.y += other.y;
        self.xx += other.xx;
        self.yy += other.yy;
        self.xy += other.xy;
    }

    /// None where either side is constant.
    fn pearson(&self) -> Option<f64> {
        let variance = |square: f64, sum: f64| {
            let variance = square - sum * sum / self.n;
            (variance > 1e-12 * square).then_some(variance)
        };
        let covariance = self.xy - self.x * self.y / self.n;
        let r = covariance / (variance(self.xx, self.x)? * variance(self.yy, self.y)?).sqrt();
        r.is_finite().then(|| r.clamp(-1.0, 1.0))
    }
}

impl CouplingReport {
    fn add(&mut self, level: &str, scope: &Scope, found: Result<Found, String>) {
        let kind = KINDS[scope.kind].name();
        match found {
            Ok(found) => self.correlations.push(CouplingCorrelation {
                level: level.to_owned(),
                from_type: kind.to_owned(),
                areas: scope.name().to_owned(),
                sessions: scope.sessions.0.to_owned(),
                pearson: found.pearson,
                ci95: found.ci95,
                null95: found.null95,
                n: found.n,
            }),
            Err(reason) => self.left_out.push(LeftOutMetric {
                name: format!(
                    "{level}: {kind}, {} areas, sessions: {}",
                    scope.name(),
                    scope.sessions.0
                ),
                reason,
            }),
        }
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
                let range = |range: Option<[f64; 2]>| {
                    range.map_or("–".to_owned(), |[low, high]| {
                        format!("[{}, {}]", number(low), number(high))
                    })
                };
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
            write_rows(&mut text, &rows);
        }
        if !self.left_out.is_empty() {
            text.push('\n');
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "left out: {}: {}", left_out.name, left_out.reason);
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
            weight_unit: String::new(),
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
            // There are four areas, too few to change places.
            let is_few = found.level == "areas";
            assert_eq!(found.null95.is_none(), is_few, "{found:?}");
            assert!(found.null95.is_none_or(|[_, high]| high < 0.99), "{found:?}");
        }
        assert_eq!(report.left_out.len(), 1, "the hidden neuron: {:?}", report.left_out);
        for sessions in ["same", "different", "all"] {
            assert_eq!(find(&report, "areas", "within", sessions).n, 4);
        }
        // 12 pairs of areas; 24 excitatory neurons reach 24 neurons of other areas each.
        assert_eq!(find(&report, "areas", "between", "all").n, 12);
        assert_eq!(find(&report, "neurons", "between", "all").n, 24 * 24);
        assert_eq!(find(&report, "neurons", "within", "all").n, 24 * 7);
        let of = |sessions| find(&report, "neurons", "between", sessions).n;
        assert_eq!(of("same") + of("different"), of("all"));
    }

    /// The correlations are those of a plain loop over pairs, in a recovery that is right within sessions alone.
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
        // Means of areas apart, nothing is recovered between sessions, and the intervals say so.
        let [[low, high], [null_low, null_high]] = [found.ci95.unwrap(), found.null95.unwrap()];
        assert!(low < found.pearson && found.pearson < high, "{found:?}");
        assert!(null_low < found.pearson && found.pearson < null_high, "{found:?}");
        let recovered = find(&report, "neurons", "between", "same");
        assert!(recovered.null95.unwrap()[1] < 0.95, "{recovered:?}");
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
        let expected = "t.h5: unit 'u3' is inhibitory of A0 there, but excitatory of A0 (session 'c') in the run";
        assert_eq!(message, expected);
    }

    #[test]
    fn units_are_told_by_their_session_and_a_unit_of_two_sessions_is_one_neuron() {
        // Two sessions that number their units alike, in the other order in the truth.
        let neuron = |session: &str, unit: &str| FittedNeuron {
            unit: Some((session.to_owned(), unit.to_owned())),
            area: "A".to_owned(),
            cell_type: CellType::Excitatory,
        };
        let of_truth = |session: &str, unit: &str| ConnectivityNeuron {
            session: session.to_owned(),
            unit: unit.to_owned(),
            area: "A".to_owned(),
            cell_type: CellType::Excitatory,
        };
        let neurons = [neuron("a", "1"), neuron("a", "2"), neuron("b", "1"), neuron("b", "2")];
        let mut truth = Connectivity {
            weights: Array3::from_shape_fn((1, 4, 4), |(_, to, from)| (4 * to + from * from) as f32),
            weight_unit: String::new(),
            delays_ms: vec![2.0],
            neurons: vec![
                of_truth("b", "2"),
                of_truth("b", "1"),
                of_truth("a", "2"),
                of_truth("a", "1"),
            ],
        };
        let fitted = Array2::from_shape_fn((4, 4), |(to, from)| truth.weights[[0, 3 - to, 3 - from]]);
        let found = report(&fitted, &neurons, &truth);
        assert!((find(&found, "neurons", "within", "all").pearson - 1.0).abs() < 1e-9);
        // The same units without sessions: "1" and "2" of both are one neuron each, with four pairs of different ones in
        // the same session, and as many in different ones.
        truth.weights = truth.weights.slice(ndarray::s![.., ..2, ..2]).to_owned();
        truth.neurons = vec![of_truth("", "1"), of_truth("", "2")];
        let found = report(&fitted, &neurons, &truth);
        assert_eq!(find(&found, "neurons", "within", "same").n, 4);
        assert_eq!(find(&found, "neurons", "within", "different").n, 4);
    }
}
