//! What the README tells a new user works as it stands there.

use std::process::{Command, Stdio};

use crate::cli::Folder;
use crate::import::python;

/// Blocks of code of a section, with the language they are marked with.
fn blocks(section: &str) -> Vec<(String, String)> {
    let readme = include_str!("../README.md");
    let start = readme.find(&format!("\n## {section}\n")).unwrap() + 4;
    let rest = &readme[start..];
    let text = &rest[..rest.find("\n## ").unwrap_or(rest.len())];
    let parts: Vec<&str> = text.split("```").collect();
    assert!(parts.len() % 2 == 1, "an open block of code");
    let blocks = parts.iter().skip(1).step_by(2);
    blocks
        .map(|block| {
            let (language, code) = block.split_once('\n').unwrap();
            (language.to_owned(), code.to_owned())
        })
        .collect()
}

#[test]
fn the_way_from_nwb_files_to_a_fit_works_word_by_word() {
    let Some(python) = python() else { return };
    let folder = Folder::new();
    let script = format!("{}/../../tests/python/make_mice.py", crate::networks::manifest_dir());
    let made = Command::new(python).arg(script).arg(folder.path("")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_snnfit"));
    let mut paths = vec![program.parent().unwrap().to_path_buf()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut n_commands = 0;
    for (language, code) in blocks("From your NWB files to a fit") {
        if language == "toml" {
            // The one thing that is not as it stands there: a test has no minutes.
            let short = code.replace("max_steps = 1000", "max_steps = 2");
            assert_ne!(short, code, "the README has another number of steps");
            folder.write("mice.toml", short.as_bytes());
            continue;
        }
        let run = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &code])
            .current_dir(folder.path(""))
            .env("PATH", std::env::join_paths(&paths).unwrap())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = format!(
            "{}\n{}",
            String::from_utf8_lossy(&run.stdout),
            String::from_utf8_lossy(&run.stderr)
        );
        assert!(run.status.success(), "{code}\n{said}");
        assert!(!said.contains("warning:"), "{code}\n{said}");
        n_commands += code.lines().filter(|line| line.starts_with("snnfit ")).count();
    }
    assert!(n_commands >= 7, "{n_commands}");
    let recording = data::read(&folder.path("data/mice.h5")).unwrap();
    let sizes = recording.sessions.iter().map(|s| (s.n_units(), s.behaviour.len()));
    // Of 36 units, each condition leaves one out.
    assert_eq!(sizes.collect::<Vec<_>>(), [(34, 1), (34, 1)]);
    assert!(folder.path("data/mice.html").exists() && folder.path("runs/mice/report/index.html").exists());
}
