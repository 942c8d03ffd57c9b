//! Promises of the program: its commands, its equations, its gradients and its engines.

mod bad_input;
mod bad_runs;
mod chunks;
mod cli;
mod config;
mod devices;
mod edges;
mod engines;
mod equations;
mod evaluation;
mod export;
mod few_spikes;
mod gradients;
mod import;
mod networks;
mod non_finite;
mod perturbation;
mod presence;
mod projections;
mod report;
mod resume;
mod runs;
mod shipped_configs;
mod six_area;
mod soft_matching;
mod tensorboard;
