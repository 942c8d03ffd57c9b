//! Promises of the program: its commands, its equations, its gradients and its engines.

mod cli;
mod config;
mod engines;
mod equations;
mod gradients;
mod networks;
