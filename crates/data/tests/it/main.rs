//! Promises of this crate, one module each.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, missing_docs, unreachable_pub)]

mod alf;
mod binning;
mod common;
mod csv;
mod detect;
mod events;
mod export;
mod file;
mod hostile_files;
mod hostile_nwb;
mod import;
mod import_plan;
mod inspect;
mod malformed;
mod npy;
mod npz;
mod nwb;
mod one_session;
mod other_tables;
mod phy;
mod plain_hdf5;
mod plausible;
mod presence;
mod relative;
mod sense;
mod silence;
mod split;
mod stitch;
mod synth;
mod tables_beside;
