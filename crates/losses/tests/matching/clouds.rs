//! Properties of the distances between clouds of trials, for any numbers of trials on both sides.

use losses::assignment::assign;
use losses::energy::energy_distance;
use losses::sinkhorn::{Blur, Cost, Divergence, Sinkhorn};
use ndarray::{Array1, Array2, Axis};
use proptest::prelude::*;
use rand::RngExt;
use rand::seq::SliceRandom;

use crate::common::rng;
use crate::{noise, random_rows};

fn costs() -> impl Strategy<Value = Cost> {
    prop_oneof![Just(Cost::Distance), Just(Cost::HalfSquare)]
}

/// Settings with an absolute blur: a relative one is that of the data, whose place the model takes here too.
fn settings() -> impl Strategy<Value = Sinkhorn> {
    (costs(), any::<bool>(), 0.05..2.0, 0.3..0.9, 1usize..12).prop_map(|(cost, debias, blur, scaling, updates)| {
        Sinkhorn {
            cost,
            blur: Blur::Absolute(blur),
            scaling,
            updates,
            debias,
        }
    })
}

/// The same, updated until nothing changes: with a smaller blur, half squares of up to 40 take thousands of updates.
fn converged() -> impl Strategy<Value = Sinkhorn> {
    (costs(), any::<bool>(), 1.5..3.0).prop_map(|(cost, debias, blur)| Sinkhorn {
        cost,
        blur: Blur::Absolute(blur),
        scaling: 0.7,
        updates: 400,
        debias,
    })
}

fn divergence(sinkhorn: &Sinkhorn, model: &Array2<f64>, data: &Array2<f64>) -> Divergence {
    sinkhorn.divergence(&model.view(), &data.view()).unwrap()
}

fn worst(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b).iter().fold(0.0, |w: f64, d| w.max(d.abs()))
}

fn order(n: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut rng(seed));
    order
}

/// A random turn of the space of `f` features: two reflections. `[F, F]`
fn rotation(f: usize, seed: u64) -> Array2<f64> {
    let mut rng = rng(seed);
    let mut reflection = || {
        let v = Array1::from_shape_simple_fn(f, || rng.random_range(-1.0..1.0) + 1e-3);
        let square = v.dot(&v);
        Array2::from_shape_fn((f, f), |(i, j)| {
            f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / square
        })
    };
    reflection().dot(&reflection())
}

/// Signs of features and their order: what leaves the box around the clouds as large as it is.
fn signed(x: &Array2<f64>, seed: u64) -> Array2<f64> {
    let mut rng = rng(seed);
    let signs = Array1::from_shape_simple_fn(x.ncols(), || if rng.random_bool(0.5) { 1.0 } else { -1.0 });
    (x * &signs).select(Axis(1), &order(x.ncols(), seed))
}

proptest! {
    #[test]
    fn sinkhorn_knows_neither_order_nor_place_nor_sign(
        sinkhorn in settings(), m in 1usize..9, n in 1usize..9, f in 1usize..6, seed in any::<u64>(), shift in -50.0..50.0,
    ) {
        let (y, x) = (random_rows(m, f, seed), random_rows(n, f, seed ^ 1));
        let whole = divergence(&sinkhorn, &y, &x);
        let scale = 1.0 + whole.value.abs();
        let (of_y, of_x) = (order(m, seed), order(n, seed ^ 2));
        let permuted = divergence(&sinkhorn, &y.select(Axis(0), &of_y), &x.select(Axis(0), &of_x));
        prop_assert!((permuted.value - whole.value).abs() < 1e-11 * scale);
        prop_assert!(worst(&permuted.d_model, &whole.d_model.select(Axis(0), &of_y)) < 1e-10);
        // Rounding of squares of 50 under a root, over a blur of 0.05.
        let moved = divergence(&sinkhorn, &(&y + shift), &(&x + shift));
        prop_assert!((moved.value - whole.value).abs() < 1e-7 * scale, "{} {}", moved.value, whole.value);
        let flipped = divergence(&sinkhorn, &signed(&y, seed), &signed(&x, seed));
        prop_assert!((flipped.value - whole.value).abs() < 1e-9 * scale);
        prop_assert!(worst(&flipped.d_model, &signed(&whole.d_model, seed)) < 1e-8);
    }

    #[test]
    fn sinkhorn_is_the_same_from_both_sides(
        sinkhorn in settings(), m in 1usize..9, n in 1usize..9, f in 1usize..6, seed in any::<u64>(),
    ) {
        let (y, x) = (random_rows(m, f, seed), random_rows(n, f, seed ^ 1));
        let (one, other) = (divergence(&sinkhorn, &y, &x).value, divergence(&sinkhorn, &x, &y).value);
        prop_assert!((one - other).abs() < 1e-10 * (1.0 + one.abs()), "{one} {other}");
    }

    #[test]
    fn a_converged_sinkhorn_divergence_knows_no_direction_and_is_at_least_zero(
        sinkhorn in converged(), m in 1usize..8, n in 1usize..8, f in 2usize..6, seed in any::<u64>(),
    ) {
        let (y, x) = (random_rows(m, f, seed), random_rows(n, f, seed ^ 1));
        let turn = rotation(f, seed);
        let whole = divergence(&sinkhorn, &y, &x);
        let turned = divergence(&sinkhorn, &y.dot(&turn), &x.dot(&turn));
        // The box around the clouds, where the annealing starts, turns with them not: equal where it has converged.
        prop_assert!((turned.value - whole.value).abs() < 1e-6 * (1.0 + whole.value.abs()), "{} {}", turned.value, whole.value);
        prop_assert!(worst(&turned.d_model, &whole.d_model.dot(&turn)) < 1e-5);
        if sinkhorn.debias {
            prop_assert!(whole.value > -1e-7, "{}", whole.value);
        }
    }

    #[test]
    fn a_debiased_sinkhorn_is_zero_for_equal_clouds_however_often_their_trials_are_repeated(
        sinkhorn in settings(), n in 1usize..7, repeats in 1usize..4, f in 1usize..6, seed in any::<u64>(),
    ) {
        let sinkhorn = Sinkhorn { debias: true, ..sinkhorn };
        let x = random_rows(n, f, seed);
        let all: Vec<usize> = (0..n * repeats).map(|i| i % n).collect();
        let y = x.select(Axis(0), &all).select(Axis(0), &order(n * repeats, seed));
        let found = divergence(&sinkhorn, &y, &x);
        prop_assert!(found.value.abs() < 1e-9, "{}", found.value);
        prop_assert!(found.d_model.iter().all(|d| d.abs() < 1e-7), "{:?}", found.d_model);
        // Without the correction it is not, but where there is nothing to blur.
        let biased = divergence(&Sinkhorn { debias: false, ..sinkhorn }, &y, &x);
        prop_assert!(n == 1 || biased.value > 1e-6, "{}", biased.value);
    }

    #[test]
    fn the_energy_distance_knows_neither_order_nor_place_nor_direction_nor_side(
        exponent in 0.3..1.7, m in 2usize..9, n in 2usize..9, f in 2usize..6, seed in any::<u64>(), shift in -50.0..50.0,
    ) {
        let (y, x) = (random_rows(m, f, seed), random_rows(n, f, seed ^ 1));
        let energy = |y: &Array2<f64>, x: &Array2<f64>| energy_distance(&y.view(), &x.view(), exponent).unwrap();
        let whole = energy(&y, &x);
        let (of_y, of_x) = (order(m, seed), order(n, seed ^ 2));
        let permuted = energy(&y.select(Axis(0), &of_y), &x.select(Axis(0), &of_x));
        prop_assert!((permuted.value - whole.value).abs() < 1e-12);
        prop_assert!(worst(&permuted.d_model, &whole.d_model.select(Axis(0), &of_y)) < 1e-11);
        let moved = energy(&(&y + shift), &(&x + shift));
        prop_assert!((moved.value - whole.value).abs() < 1e-9);
        let turn = rotation(f, seed);
        let turned = energy(&y.dot(&turn), &x.dot(&turn));
        prop_assert!((turned.value - whole.value).abs() < 1e-11);
        prop_assert!(worst(&turned.d_model, &whole.d_model.dot(&turn)) < 1e-10);
        let flipped = energy(&signed(&y, seed), &signed(&x, seed));
        prop_assert!((flipped.value - whole.value).abs() < 1e-12);
        prop_assert!((energy(&x, &y).value - whole.value).abs() < 1e-12);
    }

    #[test]
    fn the_energy_distance_of_equal_clouds_lies_below_zero_by_two_mean_distances_over_n(
        exponent in 0.3..1.7, n in 2usize..9, f in 1usize..6, seed in any::<u64>(),
    ) {
        // Unbiased: zero on average over clouds of one distribution, so less where the clouds are one and the same.
        let x = random_rows(n, f, seed);
        let found = energy_distance(&x.select(Axis(0), &order(n, seed)).view(), &x.view(), exponent).unwrap().value;
        let mut sum = 0.0;
        for (i, a) in x.outer_iter().enumerate() {
            for b in x.outer_iter().skip(i + 1) {
                sum += (&a - &b).mapv(|d| d * d).sum().powf(0.5 * exponent);
            }
        }
        let mean = sum / (n * (n - 1) / 2) as f64;
        prop_assert!((found + 2.0 * mean / n as f64).abs() < 1e-12, "{found} {mean}");
    }
}

#[test]
fn a_vanishing_blur_is_the_assignment_for_both_costs_and_for_twice_as_many_recorded_trials() {
    let mut rng = rng(28);
    for (m, n) in [(40, 40), (20, 40), (40, 20)] {
        let (y, x) = (noise(m, &mut rng), noise(n, &mut rng) * 1.3 + 0.4);
        let largest_n = m.max(n);
        // With equal weights on each side, transport is the assignment with the trials of the smaller side repeated.
        let repeated = |of: &Array2<f64>| {
            let rows: Vec<usize> = (0..largest_n).map(|i| i % of.nrows()).collect();
            of.select(Axis(0), &rows)
        };
        let (rows, columns) = (repeated(&y), repeated(&x));
        let squares = Array2::from_shape_fn((largest_n, largest_n), |(i, j)| {
            (&rows.row(i) - &columns.row(j)).mapv(|d| d * d).sum()
        });
        for cost in [Cost::Distance, Cost::HalfSquare] {
            let costs = match cost {
                Cost::Distance => squares.mapv(f64::sqrt),
                Cost::HalfSquare => &squares * 0.5,
            };
            let columns = assign(&costs.view()).unwrap();
            let total: f64 = columns.iter().enumerate().map(|(i, &j)| costs[[i, j]]).sum();
            let assignment = total / largest_n as f64;
            let epsilon = 1e-3 * costs.iter().copied().fold(0.0, f64::max);
            let blur = match cost {
                Cost::Distance => epsilon,
                Cost::HalfSquare => epsilon.sqrt(),
            };
            let sinkhorn = Sinkhorn {
                cost,
                blur: Blur::Absolute(blur),
                scaling: 0.8,
                updates: 20,
                debias: false,
            };
            let transport = divergence(&sinkhorn, &y, &x).value;
            assert!(
                (transport / assignment - 1.0).abs() < 0.01,
                "{cost:?} {m} {n}: {transport} {assignment}"
            );
        }
    }
}

#[test]
fn blurs_beyond_double_precision_have_the_values_and_gradients_of_the_limits() {
    let mut rng = rng(29);
    let (y, x) = (noise(12, &mut rng), noise(12, &mut rng));
    let of = |cost: Cost, epsilon: f64, debias: bool| {
        let sinkhorn = Sinkhorn {
            cost,
            blur: Blur::Absolute(epsilon.powf(1.0 / cost.exponent())),
            scaling: 0.5,
            updates: 3,
            debias,
        };
        divergence(&sinkhorn, &y, &x)
    };
    let distances = |a: &Array2<f64>, b: &Array2<f64>| {
        Array2::from_shape_fn((a.nrows(), b.nrows()), |(i, j)| {
            (&a.row(i) - &b.row(j)).mapv(|d| d * d).sum().sqrt()
        })
    };
    for cost in [Cost::Distance, Cost::HalfSquare] {
        let of_cost = |d: Array2<f64>| match cost {
            Cost::Distance => d,
            Cost::HalfSquare => d.mapv(|d| 0.5 * d * d),
        };
        // None: the assignment, whose gradient has no ε.
        let costs = of_cost(distances(&y, &x));
        let columns = assign(&costs.view()).unwrap();
        let total: f64 = columns.iter().enumerate().map(|(i, &j)| costs[[i, j]]).sum();
        let coarse = of(cost, 1e-6, false);
        for epsilon in [1e-9, 1e-17, 1e-100] {
            let fine = of(cost, epsilon, false);
            assert!(
                (fine.value / (total / 12.0) - 1.0).abs() < 1e-3,
                "{cost:?} {epsilon}: {}",
                fine.value
            );
            let off = worst(&fine.d_model, &coarse.d_model);
            assert!(off < 1e-4, "{cost:?} {epsilon}: {off}");
        }
        // An infinite one: the energy distance of the cost.
        let [xy, xx, yy] = [(&y, &x), (&x, &x), (&y, &y)].map(|(a, b)| of_cost(distances(a, b)).mean().unwrap());
        let limit = xy - 0.5 * (xx + yy);
        for epsilon in [1e9, 1e20, 1e100] {
            let wide = of(cost, epsilon, true).value;
            assert!(
                (wide / limit - 1.0).abs() < 1e-4,
                "{cost:?} {epsilon}: {wide} for {limit}"
            );
        }
    }
}
