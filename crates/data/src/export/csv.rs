//! Tables of text (RFC 4180) of a network: neurons and synapses.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use super::synapses::{NetworkTables, Synapse};
use crate::error::DataError;
use crate::fs::{Sibling, write_new};

/// Writes `neurons.csv`, `synapses.csv` and, where there are spiking inputs, `input_synapses.csv` into a new folder, in one
/// step. Never replaces anything. Returns how many weights that aren't 0 were left out.
///
/// Numbers have a decimal point and as many digits as they need to be read back exactly; lines end as RFC 4180 demands.
///
/// # Errors
/// [`DataError::Fs`] if the folder exists or can't be written, [`DataError::Invalid`] for tables that don't fit the neurons.
pub fn write_csv(folder: &Path, network: &NetworkTables<'_>) -> Result<usize, DataError> {
    network.check(&folder.display().to_string())?;
    let (synapses, n_left_out) = network.synapses();
    let target = Sibling::create_folder(folder)?;
    write_new(&target.path().join("neurons.csv"), |file| write_neurons(file, network))?;
    write_new(&target.path().join("synapses.csv"), |file| {
        write_synapses(file, network, &synapses)
    })?;
    if let Some(inputs) = &network.inputs {
        let rows = network.input_synapses();
        write_new(&target.path().join("input_synapses.csv"), |file| {
            row(file, &[&"input", &"post", &"input_cell_type", &"weight", &"psp"])?;
            for Synapse { from, to, weight, .. } in rows {
                let psp = weight * network.psp_per_weight[to];
                let kind = inputs.cell_types.get(from).map_or("unknown", |kind| kind.name());
                row(file, &[&from, &to, &kind, &weight, &psp])?;
            }
            Ok(())
        })?;
    }
    target.commit()?;
    Ok(n_left_out)
}

fn write_neurons(file: &mut impl Write, network: &NetworkTables<'_>) -> io::Result<()> {
    let mut header: Vec<&dyn Display> = vec![&"neuron", &"session", &"unit", &"area", &"cell_type", &"hidden"];
    header.extend(network.columns.iter().map(|column| &column.name as &dyn Display));
    row(file, &header)?;
    for (n, neuron) in network.connectivity.neurons.iter().enumerate() {
        let is_hidden = neuron.unit.is_empty();
        let mut fields: Vec<&dyn Display> = vec![
            &n,
            &neuron.session,
            &neuron.unit,
            &neuron.area,
            &neuron.cell_type,
            &is_hidden,
        ];
        fields.extend(network.columns.iter().map(|column| &column.values[n] as &dyn Display));
        row(file, &fields)?;
    }
    Ok(())
}

fn write_synapses(file: &mut impl Write, network: &NetworkTables<'_>, synapses: &[Synapse]) -> io::Result<()> {
    let header: [&dyn Display; 13] = [
        &"pre",
        &"post",
        &"pre_session",
        &"pre_unit",
        &"pre_area",
        &"pre_cell_type",
        &"post_session",
        &"post_unit",
        &"post_area",
        &"post_cell_type",
        &"delay_ms",
        &"weight",
        &"psp",
    ];
    row(file, &header)?;
    for synapse in synapses {
        let neurons = &network.connectivity.neurons;
        let (pre, post) = (&neurons[synapse.from], &neurons[synapse.to]);
        let psp = synapse.weight * network.psp_per_weight[synapse.to];
        let fields: [&dyn Display; 13] = [
            &synapse.from,
            &synapse.to,
            &pre.session,
            &pre.unit,
            &pre.area,
            &pre.cell_type,
            &post.session,
            &post.unit,
            &post.area,
            &post.cell_type,
            &synapse.delay_ms,
            &synapse.weight,
            &psp,
        ];
        row(file, &fields)?;
    }
    Ok(())
}

/// A line; fields with separators, quotes or line ends are quoted.
fn row(file: &mut impl Write, fields: &[&dyn Display]) -> io::Result<()> {
    for (i, field) in fields.iter().enumerate() {
        let text = field.to_string();
        let separator = if i == 0 { "" } else { "," };
        if text.contains([',', '"', '\r', '\n']) || text.starts_with(' ') || text.ends_with(' ') {
            write!(file, "{separator}\"{}\"", text.replace('"', "\"\""))?;
        } else {
            write!(file, "{separator}{text}")?;
        }
    }
    file.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_have_to_be() {
        let mut line = Vec::new();
        row(&mut line, &[&"a,b", &"say \"x\"", &1.5_f32, &1e-7_f64, &" c"]).unwrap();
        let text = String::from_utf8(line).unwrap();
        assert_eq!(text, "\"a,b\",\"say \"\"x\"\"\",1.5,0.0000001,\" c\"\r\n");
    }
}
