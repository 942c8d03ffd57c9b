//! Promises of this crate, one module each.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, unreachable_pub)]

mod binning;
mod common;
mod file;
mod hostile_files;
mod hostile_nwb;
mod import;
mod inspect;
mod nwb;
mod sense;
mod split;
mod stitch;
mod synth;
