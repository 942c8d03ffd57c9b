//! SONATA networks (Allen Institute and Blue Brain Project): nodes and edges in HDF5, their types in tables of text.
//!
//! # Source
//! SONATA Developer Guide, version 0.1.

use std::io::{self, Write};
use std::path::Path;

use hdf5::{File, Group, H5Type};
use ndarray::{Array2, ArrayView};

use super::synapses::{NetworkTables, Synapse};
use crate::error::DataError;
use crate::file::{write_attribute, write_contiguous, write_text_attribute, write_texts};
use crate::fs::{Sibling, write_new};
use crate::h5::file_error;
use crate::recording::CellType;

/// Attribute `magic` of every SONATA file.
const MAGIC: u32 = 0x0A7A;
/// Attribute `version`.
const VERSION: [u32; 2] = [0, 1];
/// Population of the network's neurons.
const NETWORK: &str = "network";
/// Population of the inputs.
const INPUT: &str = "input";

/// Edges between two populations.
struct Edges<'a> {
    from: &'static str,
    n_from: usize,
    n_to: usize,
    /// By target, then source.
    synapses: &'a [Synapse],
    /// Edge type of each source.
    types: Vec<i64>,
}

/// Writes `nodes.h5`, `node_types.csv`, `edges.h5`, `edge_types.csv` and `circuit_config.json` into a new folder, in one step.
/// Never replaces anything. Returns how many weights that aren't 0 were left out.
///
/// Population `network` has the neurons, `input` the spiking inputs as virtual nodes; edges are `network_to_network` and
/// `input_to_network`, indexed in both directions.
///
/// # Errors
/// [`DataError::Fs`] if the folder exists or can't be written, [`DataError::Hdf5`] if the library fails,
/// [`DataError::Invalid`] for tables that don't fit the neurons.
pub fn write_sonata(folder: &Path, network: &NetworkTables<'_>) -> Result<usize, DataError> {
    network.check(&folder.display().to_string())?;
    let (synapses, n_left_out) = network.synapses();
    let input_synapses = network.input_synapses();
    let neurons = &network.connectivity.neurons;
    let mut edges = vec![Edges {
        from: NETWORK,
        n_from: neurons.len(),
        n_to: neurons.len(),
        synapses: &synapses,
        types: neurons.iter().map(|neuron| edge_type(neuron.cell_type)).collect(),
    }];
    if let Some(inputs) = &network.inputs {
        edges.push(Edges {
            from: INPUT,
            n_from: inputs.cell_types.len(),
            n_to: neurons.len(),
            synapses: &input_synapses,
            types: inputs.cell_types.iter().map(|&kind| edge_type(kind)).collect(),
        });
    }
    let target = Sibling::create_folder(folder)?;
    hdf5::silence_errors(true);
    let failed = |name: &'static str| {
        let (shown, path) = (folder.join(name), target.path().join(name));
        move |error: hdf5::Error| file_error(&shown, &path, "write", &error)
    };
    write_nodes(&target.path().join("nodes.h5"), network).map_err(failed("nodes.h5"))?;
    write_edges(&target.path().join("edges.h5"), &edges).map_err(failed("edges.h5"))?;
    write_new(&target.path().join("node_types.csv"), |file| {
        write_node_types(file, network)
    })?;
    write_new(&target.path().join("edge_types.csv"), |file| {
        write_edge_types(file, &edges)
    })?;
    write_new(&target.path().join("circuit_config.json"), |file| {
        file.write_all(CIRCUIT.as_bytes())
    })?;
    target.commit()?;
    Ok(n_left_out)
}

/// Which files belong together.
const CIRCUIT: &str = r#"{
  "manifest": {"$BASE_DIR": "."},
  "networks": {
    "nodes": [{"nodes_file": "$BASE_DIR/nodes.h5", "node_types_file": "$BASE_DIR/node_types.csv"}],
    "edges": [{"edges_file": "$BASE_DIR/edges.h5", "edge_types_file": "$BASE_DIR/edge_types.csv"}]
  }
}
"#;

fn edge_type(kind: CellType) -> i64 {
    match kind {
        CellType::Excitatory => 0,
        CellType::Inhibitory => 1,
        CellType::Unknown => 2,
    }
}

/// A dataset without filters, which some readers (libsonata's wheels among them) are built without.
fn write_list<T: H5Type + Clone>(group: &Group, name: &str, values: &[T]) -> hdf5::Result<()> {
    write_contiguous(group, name, &ArrayView::from(values))
}

/// Areas and types of the network's neurons in the order in which they appear: the node types.
fn node_types<'a>(network: &'a NetworkTables<'_>) -> (Vec<(&'a str, CellType)>, Vec<i64>) {
    let mut kinds: Vec<(&str, CellType)> = Vec::new();
    let mut of_neurons = Vec::new();
    for neuron in &network.connectivity.neurons {
        let kind = (neuron.area.as_str(), neuron.cell_type);
        let place = kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            kinds.push(kind);
            kinds.len() - 1
        });
        of_neurons.push(place as i64);
    }
    (kinds, of_neurons)
}

fn create(path: &Path) -> hdf5::Result<File> {
    let file = File::create(path)?;
    write_attribute(&file, "magic", &MAGIC)?;
    file.new_attr::<u32>()
        .shape(VERSION.len())
        .create("version")?
        .write_raw(&VERSION)?;
    Ok(file)
}

fn write_nodes(path: &Path, network: &NetworkTables<'_>) -> hdf5::Result<()> {
    let file = create(path)?;
    let nodes = file.create_group("nodes")?;
    let group = write_population(&nodes, NETWORK, &node_types(network).1)?;
    let neurons = &network.connectivity.neurons;
    write_texts(&group, "session", neurons.iter().map(|neuron| neuron.session.as_str()))?;
    write_texts(&group, "unit", neurons.iter().map(|neuron| neuron.unit.as_str()))?;
    let parameters = group.create_group("dynamics_params")?;
    for column in &network.columns {
        write_list(&parameters, column.name, &column.values)?;
    }
    if let Some(inputs) = &network.inputs {
        let kinds: Vec<i64> = inputs.cell_types.iter().map(|&kind| edge_type(kind)).collect();
        write_population(&nodes, INPUT, &kinds)?;
    }
    file.flush()?;
    file.close()
}

/// A population whose nodes are all in group 0, in their order; returns that group.
fn write_population(nodes: &Group, name: &str, types: &[i64]) -> hdf5::Result<Group> {
    let population = nodes.create_group(name)?;
    let n = types.len() as u64;
    let order: Vec<u64> = (0..n).collect();
    write_list(&population, "node_type_id", types)?;
    write_list(&population, "node_id", &order)?;
    write_list(&population, "node_group_id", &vec![0_u64; types.len()])?;
    write_list(&population, "node_group_index", &order)?;
    population.create_group("0")
}

fn write_edges(path: &Path, all: &[Edges<'_>]) -> hdf5::Result<()> {
    let file = create(path)?;
    let root = file.create_group("edges")?;
    for edges in all {
        let population = root.create_group(&format!("{}_to_{NETWORK}", edges.from))?;
        let synapses = edges.synapses;
        let ids = |id: fn(&Synapse) -> usize| synapses.iter().map(|synapse| id(synapse) as u64).collect::<Vec<u64>>();
        for (name, of, values) in [
            ("source_node_id", edges.from, ids(|synapse| synapse.from)),
            ("target_node_id", NETWORK, ids(|synapse| synapse.to)),
        ] {
            write_list(&population, name, &values)?;
            let dataset = population.dataset(name)?;
            write_text_attribute(&dataset, "node_population", of)?;
        }
        let types: Vec<i64> = synapses.iter().map(|synapse| edges.types[synapse.from]).collect();
        write_list(&population, "edge_type_id", &types)?;
        write_list(&population, "edge_group_id", &vec![0_u64; synapses.len()])?;
        let order: Vec<u64> = (0..synapses.len() as u64).collect();
        write_list(&population, "edge_group_index", &order)?;
        let group = population.create_group("0")?;
        let weights: Vec<f32> = synapses.iter().map(|synapse| synapse.weight).collect();
        write_list(&group, "syn_weight", &weights)?;
        let delays: Vec<f32> = synapses.iter().map(|synapse| synapse.delay_ms as f32).collect();
        write_list(&group, "delay", &delays)?;
        let delay = group.dataset("delay")?;
        write_text_attribute(&delay, "unit", "ms")?;
        let indices = population.create_group("indices")?;
        let by = indices.create_group("source_to_target")?;
        write_index(&by, edges.n_from, synapses.iter().map(|synapse| synapse.from))?;
        let by = indices.create_group("target_to_source")?;
        write_index(&by, edges.n_to, synapses.iter().map(|synapse| synapse.to))?;
    }
    file.flush()?;
    file.close()
}

/// Ranges of consecutive edges of one node, sorted by node, and which of them are each node's.
fn write_index(group: &Group, n_nodes: usize, nodes: impl Iterator<Item = usize>) -> hdf5::Result<()> {
    let mut ranges: Vec<(usize, i64, i64)> = Vec::new();
    for (edge, node) in (0_i64..).zip(nodes) {
        match ranges.last_mut() {
            Some((last, _, end)) if *last == node => *end = edge + 1,
            _ => ranges.push((node, edge, edge + 1)),
        }
    }
    // Stable: the ranges of a node stay in the order of their edges.
    ranges.sort_by_key(|(node, ..)| *node);
    let mut of_nodes = Array2::zeros((n_nodes, 2));
    let mut first = 0;
    for part in ranges.chunk_by(|a, b| a.0 == b.0) {
        let end = first + part.len() as i64;
        if let Some((node, ..)) = part.first() {
            of_nodes[[*node, 0]] = first;
            of_nodes[[*node, 1]] = end;
        }
        first = end;
    }
    let edges = Array2::from_shape_fn((ranges.len(), 2), |(row, column)| {
        if column == 0 { ranges[row].1 } else { ranges[row].2 }
    });
    write_contiguous(group, "node_id_to_ranges", &of_nodes.view())?;
    write_contiguous(group, "range_to_edge_id", &edges.view())
}

fn write_node_types(file: &mut impl Write, network: &NetworkTables<'_>) -> io::Result<()> {
    row(
        file,
        &[
            "node_type_id",
            "population",
            "model_type",
            "model_template",
            "area",
            "cell_type",
        ],
    )?;
    for (i, (area, kind)) in node_types(network).0.into_iter().enumerate() {
        let id = i.to_string();
        row(file, &[&id, NETWORK, "point_process", "NULL", area, kind.name()])?;
    }
    for kind in network.inputs.iter().flat_map(|inputs| kinds(&inputs.cell_types)) {
        let id = edge_type(kind).to_string();
        row(file, &[&id, INPUT, "virtual", "NULL", "NULL", kind.name()])?;
    }
    Ok(())
}

fn write_edge_types(file: &mut impl Write, all: &[Edges<'_>]) -> io::Result<()> {
    row(
        file,
        &["edge_type_id", "population", "model_template", "source_cell_type"],
    )?;
    for edges in all {
        for kind in CellType::ALL
            .into_iter()
            .filter(|&kind| edges.types.contains(&edge_type(kind)))
        {
            let id = edge_type(kind).to_string();
            row(
                file,
                &[&id, &format!("{}_to_{NETWORK}", edges.from), "NULL", kind.name()],
            )?;
        }
    }
    Ok(())
}

/// The types that there are.
fn kinds(all: &[CellType]) -> impl Iterator<Item = CellType> {
    CellType::ALL.into_iter().filter(|kind| all.contains(kind))
}

/// A line of SONATA's dialect: fields separated by blanks, quoted where they hold one.
fn row(file: &mut impl Write, fields: &[&str]) -> io::Result<()> {
    for (i, field) in fields.iter().enumerate() {
        let separator = if i == 0 { "" } else { " " };
        if field.is_empty() || field.contains([' ', '"']) {
            write!(file, "{separator}\"{}\"", field.replace('"', "\"\""))?;
        } else {
            write!(file, "{separator}{field}")?;
        }
    }
    file.write_all(b"\n")
}
