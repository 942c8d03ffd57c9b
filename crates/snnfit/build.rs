//! Notes the commit and the version of burn for `manifest.json`.

use std::path::Path;
use std::process::Command;

fn main() {
    let root = Path::new("../..");
    println!("cargo::rerun-if-env-changed=SNNFIT_COMMIT");
    for path in [".git/HEAD", ".git/logs/HEAD", "Cargo.lock", "crates"] {
        let path = root.join(path);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let commit = std::env::var("SNNFIT_COMMIT").ok().or_else(|| commit(root));
    println!(
        "cargo::rustc-env=SNNFIT_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    let burn = lock.split("[[package]]").find(|p| p.contains("name = \"burn\"\n"));
    let version = burn.and_then(|p| p.split("version = \"").nth(1)?.split('"').next());
    println!("cargo::rustc-env=SNNFIT_BURN={}", version.unwrap_or("unknown"));
}

/// The commit of the checkout, `-dirty` with changes that aren't committed; none outside of a checkout.
fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() {
        commit
    } else {
        format!("{commit}-dirty")
    })
}
