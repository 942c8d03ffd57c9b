//! `snnfit devices`: what this machine can compute on.

use snn_core::device::{adapters, automatic};

use crate::cli::{Format, Global};
use crate::error::Error;
use crate::exit_code;

pub(super) fn run(global: &Global) -> Result<u8, Error> {
    let adapters = adapters();
    let (chosen, reason) = automatic(&adapters);
    match global.format {
        Format::Json => {
            let list: Vec<_> = adapters
                .iter()
                .map(|a| {
                    serde_json::json!({
                        "device": format!("wgpu:{}", a.index), "name": a.name, "kind": a.kind.to_string(),
                        "interface": a.interface, "driver": a.driver,
                    })
                })
                .collect();
            let auto = chosen.map_or_else(|| "cpu".to_owned(), |a| format!("wgpu:{}", a.index));
            super::print_json(&serde_json::json!({
                "schema": 1, "adapters": list, "auto": {"device": auto, "reason": reason},
            }))?;
        }
        Format::Text => {
            let mut lines = vec!["cpu      the processor".to_owned()];
            for a in &adapters {
                let device = format!("wgpu:{}", a.index);
                lines.push(format!(
                    "{device:<8} {} ({}, {}, driver {})",
                    a.name, a.kind, a.interface, a.driver
                ));
            }
            let auto = chosen.map_or_else(|| "cpu".to_owned(), |a| format!("wgpu:{}", a.index));
            lines.push(format!("\nauto takes {auto}: {reason}\n"));
            super::print(&lines.join("\n"))?;
        }
    }
    Ok(exit_code::DONE)
}
