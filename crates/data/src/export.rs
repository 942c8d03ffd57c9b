//! Recordings and networks as other programs read them: NWB 2, NumPy archives, SONATA, tables of text, annotated HDF5.
//!
//! What a format can't hold is refused or told; `docs/FORMATS.md` has the tables.

mod annotated;
mod csv;
mod npz;
mod nwb;
mod objects;
mod plain;
mod sonata;
mod synapses;
mod zip;

pub use annotated::{Annotated, Values, write_annotated};
pub use csv::write_csv;
pub use npz::write_npz;
pub use nwb::write_nwb;
pub use plain::n_units;
pub use sonata::write_sonata;
pub use synapses::{NetworkTables, NeuronColumn, VirtualInputs};
