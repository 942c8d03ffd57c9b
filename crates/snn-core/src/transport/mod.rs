//! Optimal transport with blur between clouds of points, for many pairs of clouds at once, on a wgpu device.
//!
//! Why here: the losses know no device, and kernels live where devices are opened. Nothing of a network is in it. What is
//! computed, and how the blur falls, is defined by `losses::sinkhorn`; the schedule is an argument.
//!
//! All points of a pair, n fixed and m moving ones, are one list. Two potentials of each point are enough for the four of
//! the definition: one *across*, of the costs to the points of the other cloud, and one *within*, of those to its own.
//! Costs are a square symmetric matrix per pair, made once. A launch makes one update of both potentials of every point of
//! every pair: a unit takes an eighth of a row, and neighbouring units neighbouring rows, so that reads are coalesced.
//! Pairs have schedules of different lengths; they end together, so the shorter ones start later. Each pair is computed
//! the same whatever others are with it.

// Kernels are written in CubeCL's part of Rust.
#![allow(clippy::manual_is_multiple_of)]

mod divergence;
mod kernels;

pub use divergence::{Pair, Settings, Solution, bytes};
