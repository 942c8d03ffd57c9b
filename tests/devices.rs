//! Which device is taken, and what is said when there is none.

use crate::cli::Folder;
use crate::networks::assert_relative;
use crate::runs::{folder, train};

/// Hides every driver of a GPU, real or in software.
const NO_DRIVERS: [(&str, &str); 4] = [
    ("VK_ICD_FILENAMES", "/nonexistent"),
    ("VK_DRIVER_FILES", "/nonexistent"),
    ("__EGL_VENDOR_LIBRARY_FILENAMES", "/nonexistent"),
    ("LIBGL_DRIVERS_PATH", "/nonexistent"),
];

struct Answer {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run_with(folder: &Folder, variables: &[(&str, &str)], arguments: &[&str]) -> Answer {
    let output = folder
        .command(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    Answer {
        code: output.status.code().expect("no signal, no panic"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn without_a_driver_auto_computes_on_the_processor_and_wgpu_says_what_is_missing() {
    assert_no_adapter(&folder(), &NO_DRIVERS);
}

/// With these variables no adapter is found: `auto` says so in one line and computes, `wgpu` says what to install.
fn assert_no_adapter(folder: &Folder, variables: &[(&str, &str)]) {
    let list = run_with(folder, variables, &["devices"]);
    assert_eq!(list.code, 0, "{}", list.stderr);
    assert!(
        list.stdout.contains("auto takes cpu: no adapter was found"),
        "{}",
        list.stdout
    );
    let dry = ["train", "--config", "fit.toml", "--dry-run"];
    let auto = run_with(folder, variables, &dry);
    assert_eq!(auto.code, 0, "{}", auto.stderr);
    assert_eq!(
        auto.stderr.matches("no adapter was found").count(),
        1,
        "{}",
        auto.stderr
    );
    let asked = run_with(folder, variables, &[&dry[..], &["--device", "wgpu"]].concat());
    assert_eq!(asked.code, 6, "{}", asked.stderr);
    assert!(asked.stderr.contains("install a Vulkan driver"), "{}", asked.stderr);
}

#[test]
fn a_driver_file_that_is_nonsense_is_no_driver() {
    let folder = folder();
    folder.write("bogus.json", b"{ this is no driver");
    let file = folder.path("bogus.json");
    let bogus = [
        ("VK_DRIVER_FILES", file.to_str().unwrap()),
        ("VK_ICD_FILENAMES", file.to_str().unwrap()),
    ];
    let list = run_with(&folder, &bogus, &["devices"]);
    assert_eq!(list.code, 0, "{}", list.stderr);
    assert!(list.stdout.contains("auto takes cpu"), "{}", list.stdout);
    let dry = ["train", "--config", "fit.toml", "--dry-run"];
    let auto = run_with(&folder, &bogus, &dry);
    assert_eq!(auto.code, 0, "{}", auto.stderr);
    let asked = run_with(&folder, &bogus, &[&dry[..], &["--device", "wgpu"]].concat());
    assert_eq!(asked.code, 6, "{}", asked.stderr);
}

#[test]
fn without_a_vulkan_library_auto_computes_on_the_processor_and_says_so() {
    let folder = folder();
    // What the loader finds first under the name of the library is none.
    folder.write("libvulkan.so.1", b"not a library");
    folder.write("libvulkan.so", b"not a library");
    let path = folder.path("libvulkan.so.1");
    let hidden = [("LD_LIBRARY_PATH", path.parent().unwrap().to_str().unwrap())];
    assert_no_adapter(&folder, &hidden);
}

#[test]
fn software_is_taken_only_when_asked_for_and_says_so() {
    if crate::networks::engines().len() < 3 {
        return; // said there
    }
    let folder = folder();
    let devices: serde_json::Value =
        serde_json::from_str(&run_with(&folder, &[], &["devices", "--format", "json"]).stdout).unwrap();
    let adapters = devices["adapters"].as_array().unwrap();
    assert!(!adapters.is_empty());
    let is_gpu = adapters.iter().any(|a| a["kind"] != "software");
    assert_eq!(devices["auto"]["device"] == "cpu", !is_gpu);
    let missing = format!("wgpu:{}", adapters.len());
    let bench = ["bench", "--n", "20", "--k", "3", "--t", "5", "--reps", "1", "--device"];
    let missing = run_with(&folder, &[], &[&bench[..], &[&missing]].concat());
    assert_eq!(missing.code, 6);
    assert!(missing.stderr.contains("snnfit devices"), "{}", missing.stderr);
    if !is_gpu {
        let software = run_with(&folder, &[], &[&bench[..], &["wgpu"]].concat());
        assert_eq!(software.code, 0, "{}", software.stderr);
        assert!(software.stderr.contains("software adapter"), "{}", software.stderr);
    }
    let unknown = run_with(&folder, &[], &[&bench[..], &["tpu"]].concat());
    assert_eq!(unknown.code, 2);
}

#[test]
fn a_step_on_the_device_is_the_step_on_the_processor() {
    if crate::networks::engines().len() < 3 {
        return; // said there
    }
    let folder = folder();
    let sets = ["train.max_steps = 2", "train.log_every = 1"];
    train(&folder, "cpu", &sets);
    let arguments = [
        "train", "--config", "fit.toml", "--out", "gpu", "--device", "wgpu", "--set", sets[0], "--set", sets[1],
    ];
    let gpu = run_with(&folder, &[], &arguments);
    assert_eq!(gpu.code, 0, "{}", gpu.stderr);
    let (cpu, gpu) = (
        crate::chunks::gradients(&folder, "cpu", 2),
        crate::chunks::gradients(&folder, "gpu", 2),
    );
    for ((name, a), (_, b)) in gpu.iter().zip(&cpu) {
        // A tie would show as a gradient that differs by far more.
        assert_relative(&format!("dL/d{name} on the device"), a, b, 1e-3);
    }
    assert!(crate::runs::manifest(&folder, "gpu").device.contains("Vulkan"));
    let evaluated = run_with(&folder, &[], &["evaluate", "gpu", "--device", "wgpu", "--trials", "20"]);
    assert_eq!(evaluated.code, 0, "{}", evaluated.stderr);
}

/// Losses of each logged step, by name.
fn losses(folder: &Folder, run: &str) -> Vec<std::collections::BTreeMap<String, f64>> {
    let log = std::fs::read_to_string(folder.path(run).join("events.ndjson")).unwrap();
    let events = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let steps = events.filter(|event| event["event"] == "step");
    steps
        .map(|event| serde_json::from_value(event["losses"].clone()).unwrap())
        .collect()
}

#[test]
fn spike_histories_with_hidden_neurons_and_convolutions_take_the_same_steps_on_the_device() {
    if crate::networks::engines().len() < 3 {
        return; // said there
    }
    let folder = crate::spike_history::folder();
    let sets = [
        "train.max_steps = 6",
        "train.log_every = 1",
        "model.spike_history.n_hidden = 3",
        "model.spike_history.encoder.stimulus.layers = [{ conv = { filters = 4, kernel = 3 } }, { dense = { units = 6 } }]",
        "loss = [{ likelihood = {} }, { single_trial = { clamped_ms = 20.0 } }, { psth_cross_entropy = {} }, \
         { noise_covariance = { weight = 100.0, window_ms = 10.0 } }, { hidden_rate = { weight = 1e-2 } }]",
    ];
    let fit = |out: &str, device: &str| {
        let arguments = ["train", "--config", "fit.toml", "--out", out, "--device", device];
        let run = run_with(&folder, &[], &crate::runs::with_sets(&arguments, &sets));
        assert_eq!(run.code, 0, "{}", run.stderr);
        losses(&folder, out)
    };
    let (cpu, gpu) = (fit("cpu", "cpu"), fit("gpu", "wgpu"));
    assert_eq!((cpu.len(), cpu[0].len()), (6, 5));
    for (step, (cpu, gpu)) in cpu.iter().zip(&gpu).enumerate() {
        for (name, a) in cpu {
            // Spikes are the same; were one not, losses of sampled trials would differ by far more.
            let b = gpu[name];
            assert!((a - b).abs() < 1e-4 * a.abs().max(1e-3), "step {step}, {name}: {a} {b}");
        }
    }
}

#[test]
fn spikes_simulated_in_chunks_on_the_device_are_those_of_all_at_once() {
    if crate::networks::engines().len() < 3 {
        return; // said there
    }
    let folder = folder();
    train(&folder, "run", &["train.max_steps = 2", "train.trial_chunk = 5"]);
    let simulate = |out: &str| {
        let arguments = ["simulate", "run", "--trials", "12", "--device", "wgpu", "--out", out];
        let run = run_with(&folder, &[], &arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        data::read(&folder.path(out)).unwrap().sessions.remove(0)
    };
    let chunked = simulate("chunked.h5");
    let run_toml = folder.path("run").join("run.toml");
    let text = std::fs::read_to_string(&run_toml).unwrap();
    assert!(text.contains("trial_chunk = 5"), "{text}");
    std::fs::write(&run_toml, text.replace("trial_chunk = 5", "trial_chunk = 12")).unwrap();
    let whole = simulate("whole.h5");
    assert_eq!(chunked.trials.len(), 12);
    assert_eq!(format!("{:?}", chunked.activity), format!("{:?}", whole.activity));
}

#[test]
fn trials_at_once_change_nothing_of_a_simulation_or_an_evaluation() {
    let folder = folder();
    train(&folder, "run", &["train.max_steps = 2"]);
    let run = |arguments: &[&str]| {
        let run = run_with(&folder, &[], arguments);
        assert_eq!(run.code, 0, "{}", run.stderr);
        run.stdout
    };
    let simulate = ["simulate", "run", "--trials", "12", "--device", "cpu", "--out"];
    run(&[&simulate[..], &["whole.h5"]].concat());
    run(&[&simulate[..], &["parts.h5", "--trial-chunk", "5"]].concat());
    let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert_eq!(bytes("parts.h5"), bytes("whole.h5"));
    let evaluate = [
        "--format", "json", "evaluate", "run", "--trials", "20", "--device", "cpu",
    ];
    let whole = run(&evaluate);
    assert_eq!(run(&[&evaluate[..], &["--trial-chunk", "7"]].concat()), whole);
    let none = run_with(&folder, &[], &["evaluate", "run", "--trial-chunk", "0"]);
    assert_eq!(none.code, 2, "{}", none.stderr);
}

#[test]
fn the_engine_in_16_bits_trains_on_the_processor_and_refuses_an_adapter() {
    let folder = folder();
    let set = "train.engine = \"native_int16\"";
    let train = |out: &str, device: &str| {
        let arguments = [
            "train",
            "--config",
            "fit.toml",
            "--out",
            out,
            "--device",
            device,
            "--set",
            set,
            "--set",
            "train.max_steps = 2",
        ];
        run_with(&folder, &[], &arguments)
    };
    let auto = train("auto", "auto");
    assert_eq!(auto.code, 0, "{}", auto.stderr);
    assert!(auto.stderr.contains("computes on the processor"), "{}", auto.stderr);
    assert_eq!(crate::runs::manifest(&folder, "auto").device, "cpu");
    let adapter = train("adapter", "wgpu");
    assert_eq!(adapter.code, 2, "{}", adapter.stderr);
    assert!(
        adapter.stderr.contains("native_int16") && adapter.stderr.contains("--device cpu"),
        "{}",
        adapter.stderr
    );
    assert!(!folder.path("adapter").exists());
}
