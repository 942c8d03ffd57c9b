//! `snnfit config`: check, show, init, schema.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::cli::{ConfigAction, ConfigFileArgs, ConfigInitArgs, Format, Global, ModelName};
use crate::config::{self, AnyLoaded, ShownValue};
use crate::error::Error;
use crate::exit_code;

pub(super) fn run(action: &ConfigAction, global: &Global) -> Result<u8, Error> {
    match action {
        ConfigAction::Check(args) => check(args, global)?,
        ConfigAction::Show(args) => show(args, global)?,
        ConfigAction::Init(args) => init(args)?,
        ConfigAction::Schema => schema(global)?,
    }
    Ok(exit_code::DONE)
}

fn load(args: &ConfigFileArgs) -> Result<AnyLoaded, Error> {
    let loaded = config::load_any(&args.file, &args.set)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok(loaded)
}

fn check(args: &ConfigFileArgs, global: &Global) -> Result<(), Error> {
    let loaded = load(args)?;
    let file = args.file.display().to_string();
    match global.format {
        Format::Json => super::print_json(&serde_json::json!({
            "schema": 1,
            "file": file,
            "valid": true,
            "warnings": loaded.warnings,
        })),
        Format::Text => super::print(&format!("{file}: valid\n")),
    }
}

fn show(args: &ConfigFileArgs, global: &Global) -> Result<(), Error> {
    let loaded = load(args)?;
    match global.format {
        Format::Json => {
            let values: Vec<_> = loaded
                .values
                .iter()
                .map(|value| {
                    serde_json::json!({
                        "key": value.key,
                        "value": value.value,
                        "origin": value.origin.to_string(),
                    })
                })
                .collect();
            super::print_json(&serde_json::json!({
                "schema": 1,
                "file": args.file.display().to_string(),
                "values": values,
                "warnings": loaded.warnings,
            }))
        }
        Format::Text => super::print(&shown_text(&loaded.values)),
    }
}

fn shown_text(values: &[ShownValue]) -> String {
    let known = config::schema_table();
    let rows: Vec<(String, String)> = values
        .iter()
        .map(|shown| {
            let absent = || {
                let row = known.iter().find(|row| row.key == shown.key);
                row.and_then(|row| row.default.clone())
                    .unwrap_or_else(|| "(none)".to_owned())
            };
            let value = shown.value.as_ref().map_or_else(absent, ToString::to_string);
            (format!("{} = {value}", shown.key), shown.origin.to_string())
        })
        .collect();
    let width = rows
        .iter()
        .map(|(left, _)| left.chars().count())
        .filter(|&width| width <= 60)
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (left, origin) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{left:<width$}  # {origin}");
    }
    text
}

fn init(args: &ConfigInitArgs) -> Result<(), Error> {
    let text = match args.model {
        ModelName::Rsnn => config::starter(),
        ModelName::SpikeHistory => config::starter_spike_history(),
    };
    match &args.out {
        None => super::print(&text),
        Some(path) => {
            data::fs::write_new(path, |file| file.write_all(text.as_bytes())).map_err(Error::Output)?;
            tracing::info!("wrote {}; next: snnfit config check {0}", path.display());
            Ok(())
        }
    }
}

fn schema(global: &Global) -> Result<(), Error> {
    match global.format {
        Format::Json => super::print_json(&serde_json::json!({ "schema": 1, "keys": config::schema_table() })),
        Format::Text => super::print(&config::schema_text()),
    }
}
