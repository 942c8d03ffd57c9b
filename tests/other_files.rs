//! Files without a format, tables beside files, trying an import, and files that want more than they get.

use crate::cli::{Folder, shared};
use crate::import::python;

/// A `.npy` file of a list of 64-bit numbers.
fn npy(descr: &str, values: impl IntoIterator<Item = [u8; 8]>) -> Vec<u8> {
    let values: Vec<[u8; 8]> = values.into_iter().collect();
    let header = format!(
        "{{'descr': '{descr}', 'fortran_order': False, 'shape': ({},), }}",
        values.len()
    );
    let padded = (header.len() + 11).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(padded).unwrap().to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = padded - 1).bytes());
    bytes.extend(values.concat());
    bytes
}

/// A folder of Phy with two clusters that fire for 20 s, at 1 kHz.
fn phy(folder: &Folder) {
    std::fs::create_dir(folder.path("phy")).unwrap();
    let times: Vec<i64> = (0..400).map(|i| i * 50 + i % 7).collect();
    folder.write(
        "phy/spike_times.npy",
        &npy("<i8", times.iter().map(|t| t.to_le_bytes())),
    );
    folder.write(
        "phy/spike_clusters.npy",
        &npy("<i8", (0..400_i64).map(|i| (3 + i % 2).to_le_bytes())),
    );
    folder.write("phy/params.py", b"sample_rate = 1000.\n");
    folder.write("units.csv", b"id,area,kind\n3,V1,exc\n4,LM,inh\n");
    folder.write(
        "trials.csv",
        b"start_time,stop_time,go,outcome\n1,3,1.5,hit\n4,6,4.5,miss\n7,9,7.5,hit\n10,12,,hit\n",
    );
}

const PHY: [&str; 10] = [
    "import",
    "phy",
    "--units-table",
    "units.csv",
    "--trials-table",
    "trials.csv",
    "--align-to=go",
    "--window-s=-0.5,1",
    "--trial-type=outcome",
    "--trials=!missing(go)",
];

#[test]
fn the_linear_track_is_inspected_and_imported() {
    let Some(path) = shared("data/nelpy_linear_track/linear_track.h5") else {
        return;
    };
    let folder = Folder::new();
    let path = path.to_str().unwrap();
    let run = folder.run(&["inspect", path]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for expected in [
        "31 units, 28829 spikes",
        "tetrode",
        "position/xy: 118965 samples, 2 channels, camera pixels",
        "position/time: shape [118965]",
    ] {
        assert!(run.stdout.contains(expected), "{expected}: {}", run.stdout);
    }
    let x = "--behaviour=x=position/xy:0";
    let run = folder.run(&["import", path, "--every-s=10", "--area=CA1", x, "--out=track.h5"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let session = &data::read(&folder.path("track.h5")).unwrap().sessions[0];
    assert_eq!((session.n_units(), session.behaviour.len()), (31, 1));
}

#[test]
fn an_array_of_counts_is_listed_and_named_where_it_is_imported_without_its_option() {
    let Some(path) = shared("data/retina/retina_bars.h5") else {
        return;
    };
    let folder = Folder::new();
    let path = path.to_str().unwrap();
    let run = folder.run(&["inspect", path]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(
        run.stdout.contains("test/spikes: shape [54, 4000, 6], integers"),
        "{}",
        run.stdout
    );
    let run = folder.run(&["import", path, "--every-s=1", "--out=a.h5"]);
    assert_eq!(run.code, 4, "{}", run.stderr);
    let said = run.stderr.replace("\n  │ ", " ");
    assert!(
        said.contains("test/spikes") && said.contains("help:") && said.contains("--spikes"),
        "{said}"
    );
}

#[test]
fn a_phy_folder_gets_trials_and_areas_of_tables_and_a_dry_run_says_so_and_writes_nothing() {
    let folder = Folder::new();
    phy(&folder);
    let names = folder.names();
    let dry = folder.run(&[&PHY[..], &["--dry-run"]].concat());
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert_eq!(folder.names(), names);
    for expected in ["1 dropped by !missing(go)", "V1", "LM", "hit", "miss"] {
        assert!(dry.stdout.contains(expected), "{expected}: {}", dry.stdout);
    }
    let run = folder.run(&[&PHY[..], &["--out", "new/phy.h5"]].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stdout, dry.stdout);
    let session = &data::read(&folder.path("new/phy.h5")).unwrap().sessions[0];
    let areas: Vec<&str> = session.units.iter().map(|unit| unit.area.as_str()).collect();
    let starts: Vec<f64> = session.trials.iter().map(|trial| trial.start_s).collect();
    assert_eq!((areas, starts), (vec!["V1", "LM"], vec![1.0, 4.0, 7.0]));
    let both = folder.run(&[&PHY[..], &["--dry-run", "--out=a.h5"]].concat());
    assert_eq!(both.code, 2, "{}", both.stderr);
    let neither = folder.run(&PHY);
    assert!(
        neither.code == 2 && neither.stderr.contains("--out"),
        "{}",
        neither.stderr
    );
    let inspected = folder.run(&["inspect", "phy", "--trials-table=trials.csv", "--units-table=units.csv"]);
    assert_eq!(inspected.code, 0, "{}", inspected.stderr);
    assert!(
        inspected.stdout.contains("trials: 4 rows") && inspected.stdout.contains("LM (1), V1 (1)"),
        "{}",
        inspected.stdout
    );
}

#[test]
fn the_columns_of_a_table_of_spikes_are_named_by_options() {
    let folder = Folder::new();
    folder.write("spikes.csv", b"neuron_number,t\n1,0.5\n1,2.25\n2,1.5\n");
    let run = folder.run(&["import", "spikes.csv", "--every-s=1", "--out=a.h5"]);
    let said = run.stderr.replace("\n  │ ", " ");
    assert_eq!(run.code, 4, "{said}");
    assert!(
        said.contains("columns: neuron_number, t") && said.contains("help: --unit-column names it"),
        "{said}"
    );
    let named = ["--unit-column=neuron_number", "--time-column=t"];
    let run = folder.run(&[&["inspect", "spikes.csv"][..], &named].concat());
    assert!(
        run.code == 0 && run.stdout.contains("2 units, 3 spikes from 0.5 to 2.25"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    let run = folder.run(&[&["import", "spikes.csv", "--every-s=1", "--out=a.h5"][..], &named].concat());
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn of_two_problems_each_keeps_its_hint() {
    let folder = Folder::new();
    phy(&folder);
    std::fs::remove_file(folder.path("phy/params.py")).unwrap();
    let run = folder.run(&["inspect", "phy"]);
    assert_eq!(run.code, 4);
    assert!(
        run.stderr.contains("help: --sample-rate-hz gives it\n"),
        "{}",
        run.stderr
    );
    let seconds = (0..400).map(|i| (f64::from(i) * 0.05 + 0.019).to_le_bytes());
    folder.write("phy/spike_times.npy", &npy("<f8", seconds));
    let run = folder.run(&["inspect", "phy"]);
    // Lines end within options, too.
    let said = run.stderr.replace("-\n  │ ", "-").replace("\n  │ ", " ");
    assert_eq!(run.code, 4, "{said}");
    assert!(!said.contains("help:"), "{said}");
    for expected in [
        "2 problems",
        "(hint: --sample-rate-hz gives it)",
        "spike 0 is at 0.019",
        "(hint: save np.round",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn what_takes_more_memory_than_allowed_says_how_much_and_which_option() {
    let folder = Folder::new();
    phy(&folder);
    // 60 million spikes; the file has a hole, which is no damage.
    let n = 60_000_000_u64;
    let header = format!("{{'descr': '<i8', 'fortran_order': False, 'shape': ({n},), }}");
    let padded = (header.len() + 11).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(padded).unwrap().to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = padded - 1).bytes());
    for name in ["phy/spike_times.npy", "phy/spike_clusters.npy"] {
        folder.write(name, &bytes);
        let file = std::fs::OpenOptions::new().write(true).open(folder.path(name)).unwrap();
        file.set_len(bytes.len() as u64 + 8 * n).unwrap();
    }
    let run = folder.run(&["inspect", "phy", "--limit-mem=300MiB"]);
    let said = run.stderr.replace("\n  │ ", " ").replace("\n    ", " ");
    assert_eq!(run.code, 4, "{said}");
    assert!(
        said.contains("there is no memory for its 0.45 GiB") && said.contains("--limit-mem allows more"),
        "{said}"
    );
}

#[test]
fn a_file_of_others_at_which_the_hdf5_library_hangs_is_given_up_without_being_asked_to() {
    let Some(python) = python() else { return };
    let folder = Folder::new();
    let script = format!("{}/../../tests/python/make_hdf5.py", crate::networks::manifest_dir());
    let made = std::process::Command::new(python)
        .arg(script)
        .arg(folder.path(""))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let run = folder.run(&["inspect", "ends.h5"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    let mut bytes = std::fs::read(folder.path("ends.h5")).unwrap();
    let mut n_heaps = 0;
    for at in 0..bytes.len() - 32 {
        if &bytes[at..at + 4] == b"GCOL" {
            // Free space of no size: the library looks for the next object at the same place.
            bytes[at + 16..at + 32].fill(0);
            n_heaps += 1;
        }
    }
    assert!(n_heaps > 0, "h5py writes no heap any more: hang it elsewhere");
    folder.write("hangs.h5", &bytes);
    let start = std::time::Instant::now();
    let run = folder.run(&["inspect", "hangs.h5"]);
    let said = run.stderr.replace("\n  │ ", " ");
    assert_eq!(run.code, 4, "{said}");
    assert!(said.contains("reading took more than 15 s of processor time"), "{said}");
    // By the clock, too, unless the machine is very busy; the limit that was is 10 minutes.
    assert!(start.elapsed().as_secs() < 500);
}
