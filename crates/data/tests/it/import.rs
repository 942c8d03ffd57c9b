//! Import of binned arrays, against direct reads.

use std::path::{Path, PathBuf};

use data::import::{BinnedImport, import_binned};
use data::{Activity, BinOptions, CellType, bin_session, read, write};
use hdf5::{File, H5Type};
use ndarray::{Array, Array2, Array3, Axis, Dimension};
use tempfile::TempDir;

use crate::common::shared;

const RETINA: &str = r#"
bin_ms = 1.667
[[sessions]]
id = "repeated"
spikes = "/train_repeated/spikes"
spikes_axes = "trial,time,neuron"
stimulus = "/train_repeated/stimulus"
stimulus_axes = "time,channel"
area = "retina"
cell_type = "excitatory"
trial_type = "sweep"
[[sessions]]
id = "test"
spikes = "/test/spikes"
stimulus = "/test/stimulus"
stimulus_axes = "time,pixel"
area = "retina"
"#;

#[test]
fn the_retinal_recording_is_imported_value_by_value() {
    let Some(path) = shared("data/retina/retina_bars.h5") else {
        return;
    };
    let import = BinnedImport::from_toml("retina.toml", RETINA).unwrap();
    let recording = import_binned(&path, &import).unwrap();
    let direct = File::open(&path).unwrap();
    for (session, name) in recording.sessions.iter().zip(["train_repeated", "test"]) {
        let spikes: Array3<u8> = direct.dataset(&format!("{name}/spikes")).unwrap().read().unwrap();
        let stimulus = direct.dataset(&format!("{name}/stimulus")).unwrap();
        let stimulus: Array2<u8> = stimulus.read().unwrap();
        let Activity::Binned {
            counts,
            bin_ms,
            start_ms,
            ..
        } = &session.activity
        else {
            panic!("expected counts");
        };
        assert_eq!((*bin_ms, *start_ms), (1.667, 0.0));
        assert_eq!(counts, spikes);
        let movies = session.stimulus.as_ref().unwrap();
        assert_eq!(movies.values, stimulus.mapv(f32::from).insert_axis(Axis(0)));
        assert!(session.trials.iter().all(|t| t.movie == Some(0)));
    }
    let repeated = &recording.sessions[0];
    assert_eq!((repeated.n_trials(), repeated.n_units()), (54, 6));
    assert_eq!(repeated.trials[53].trial_type, "sweep");
    assert_eq!(repeated.units[5].cell_type, CellType::Excitatory);
    assert_eq!(recording.sessions[1].units[0].cell_type, CellType::Unknown);

    // The file states the rates of the repeated block.
    let published = [9.27592259, 14.1138439, 10.20351485, 12.15867938, 7.60403475, 6.68755138];
    let binned = bin_session(repeated, &BinOptions::of_width(1.667)).unwrap();
    assert_eq!((binned.start_ms, binned.valid_bins), (0.0, vec![2000; 54]));
    assert_eq!(binned.warnings, []);
    for (rate, published) in binned.rates_hz.iter().zip(published) {
        assert!((rate - published).abs() < 1e-6, "{rate} Hz, published {published} Hz");
    }
    assert_eq!(binned.movies.unwrap(), repeated.stimulus.as_ref().unwrap().values);

    let dir = tempfile::tempdir().unwrap();
    let native = dir.path().join("retina.h5");
    write(&native, &recording).unwrap();
    assert_eq!(read(&native).unwrap(), recording);
}

#[test]
fn the_unrepeated_movies_are_stored_one_per_trial() {
    let Some(path) = shared("data/retina/retina_bars.h5") else {
        return;
    };
    let toml = r#"
        bin_ms = 1.667
        [[sessions]]
        id = "unrepeated"
        spikes = "train_unrepeated/spikes"
        stimulus = "train_unrepeated/stimulus"
        stimulus_axes = "trial,time,pixel"
        area = "retina"
    "#;
    let import = BinnedImport::from_toml("x", toml).unwrap();
    let recording = import_binned(&path, &import).unwrap();
    let session = &recording.sessions[0];
    let movies = session.stimulus.as_ref().unwrap();
    assert_eq!(movies.values.shape(), [50, 21600, 31]);
    let shown: Vec<_> = session.trials.iter().map(|t| t.movie).collect();
    assert_eq!(shown, (0..50).map(Some).collect::<Vec<_>>());
    let direct = File::open(&path).unwrap().dataset("train_unrepeated/stimulus").unwrap();
    for trial in [0, 17, 49] {
        let movie: Array2<u8> = direct.read_slice(ndarray::s![trial, .., ..]).unwrap();
        assert_eq!(movies.values.index_axis(Axis(0), trial), movie.mapv(f32::from));
    }
}

/// A file with these datasets.
struct Made {
    _dir: TempDir,
    path: PathBuf,
    file: Option<File>,
}

impl Made {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made.h5");
        let file = Some(File::create(&path).unwrap());
        Self { _dir: dir, path, file }
    }

    fn with<T: H5Type + Clone, D: Dimension>(self, name: &str, values: &Array<T, D>) -> Self {
        let file = self.file.as_ref().unwrap();
        let values = values.as_standard_layout();
        let builder = file.new_dataset_builder().with_data(values.view());
        builder.create(name).unwrap();
        self
    }

    fn close(&mut self) -> &Path {
        if let Some(file) = self.file.take() {
            file.close().unwrap();
        }
        &self.path
    }

    fn import(&mut self, source: &str) -> Result<data::Recording, String> {
        let toml = format!("bin_ms = 2.0\nstart_ms = -4.0\n[[sessions]]\nid = 's'\n{source}");
        let import = BinnedImport::from_toml("x.toml", &toml).map_err(|e| e.to_string())?;
        import_binned(self.close(), &import).map_err(|e| e.to_string())
    }
}

/// K = 2, T = 3, N = 4.
fn counts() -> Array3<u8> {
    Array3::from_shape_fn((2, 3, 4), |(k, t, n)| (k * 12 + t * 4 + n) as u8)
}

fn counts_of(recording: &data::Recording) -> Array3<u8> {
    match &recording.sessions[0].activity {
        Activity::Binned { counts, .. } => counts.clone(),
        Activity::SpikeTimes { .. } => panic!("expected counts"),
    }
}

#[test]
fn axes_in_any_order_give_the_same_counts() {
    let orders = [
        ([0, 1, 2], "trial,time,neuron"),
        ([1, 0, 2], "time,trial,neuron"),
        ([2, 1, 0], "neuron,time,trial"),
        ([1, 2, 0], "time, neuron, trial"),
        ([2, 0, 1], "unit,trial,bin"),
    ];
    for (order, axes) in orders {
        let stored = counts().permuted_axes(order).as_standard_layout().to_owned();
        let mut made = Made::new().with("x", &stored);
        let recording = made.import(&format!("spikes = 'x'\nspikes_axes = '{axes}'\narea = 'A'"));
        assert_eq!(counts_of(&recording.unwrap()), counts(), "{axes}");
    }
}

#[test]
fn number_types_give_the_same_counts() {
    let made = Made::new()
        .with("u8", &counts())
        .with("i8", &counts().mapv(|c| i8::try_from(c).unwrap()))
        .with("i64", &counts().mapv(i64::from))
        .with("u32", &counts().mapv(u32::from))
        .with("f32", &counts().mapv(f32::from))
        .with("f64", &counts().mapv(f64::from))
        .with("bool", &counts().mapv(|c| c > 5));
    let mut made = made;
    for name in ["u8", "i8", "i64", "u32", "f32", "f64"] {
        let recording = made.import(&format!("spikes = '{name}'\narea = 'A'")).unwrap();
        assert_eq!(counts_of(&recording), counts(), "{name}");
    }
    let recording = made.import("spikes = 'bool'\narea = 'A'").unwrap();
    assert_eq!(counts_of(&recording), counts().mapv(|c| u8::from(c > 5)));
}

#[test]
fn the_trials_of_an_import_hold_their_bins() {
    // Before, around and after the event; times that are no binary fractions.
    for start_ms in [-4.0, 0.0, 3.3, -1000.1, 1000.1] {
        for bin_ms in [2.0, 1.667, 0.01] {
            let toml = format!(
                "bin_ms = {bin_ms:?}\nstart_ms = {start_ms:?}\n[[sessions]]\nid = 's'\nspikes = 'x'\narea = 'A'"
            );
            let import = BinnedImport::from_toml("x", &toml).unwrap();
            let counts = Array3::<u8>::ones((500, 30, 1));
            let recording = import_binned(Made::new().with("x", &counts).close(), &import).unwrap();
            let binned = bin_session(&recording.sessions[0], &BinOptions::of_width(bin_ms)).unwrap();
            assert_eq!(binned.valid_bins, [30; 500], "{bin_ms} ms from {start_ms} ms on");
            assert_eq!((binned.start_ms, binned.warnings), (start_ms, vec![]));
        }
    }
}

#[test]
fn valid_bins_of_minus_one_are_all() {
    let source = "spikes = 'x'\narea = 'A'\nvalid_bins = 'valid'";
    let mut made = Made::new()
        .with("x", &counts())
        .with("valid", &ndarray::array![-1_i32, 2]);
    let recording = made.import(source).unwrap();
    let valid: Vec<_> = recording.sessions[0].trials.iter().map(|t| t.valid_bins).collect();
    assert_eq!(valid, [None, Some(2)]);
    let mut made = Made::new()
        .with("x", &counts())
        .with("valid", &ndarray::array![3_i32, -2]);
    let error = made.import(source).unwrap_err();
    assert!(
        error.contains("/valid, trial 1: -2; expected a number ≥ 0, or -1"),
        "{error}"
    );
}

/// Replaces bytes in a file that occur in it exactly once.
fn patch(path: &Path, old: &[u8], new: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let places: Vec<usize> = (0..=bytes.len() - old.len())
        .filter(|&i| bytes[i..].starts_with(old))
        .collect();
    assert_eq!(places.len(), 1, "{old:?}");
    bytes[places[0]..places[0] + old.len()].copy_from_slice(new);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn floats_of_16_bits_are_converted() {
    // 0, 1, 2, … 23 in 16 bits, two in each 32; the type in the file then says so.
    let bits = |i: u32| match i {
        0 => 0,
        _ => ((i.ilog2() + 15) << 10) | ((i << (10 - i.ilog2())) & 0x3ff),
    };
    let mut packed = Array3::<f32>::zeros((2, 3, 4));
    for (i, value) in (0..).zip(packed.iter_mut().take(12)) {
        *value = f32::from_bits(bits(2 * i) | bits(2 * i + 1) << 16);
    }
    let mut made = Made::new().with("x", &packed);
    let path = made.close();
    // Sign at bit 31, 4 bytes of 32 bits, exponent of 8 bits at 23, 23 bits of mantissa, bias 127.
    let single = [0x11, 0x20, 31, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0];
    let half = [0x11, 0x20, 15, 0, 2, 0, 0, 0, 0, 0, 16, 0, 10, 5, 0, 10, 15, 0, 0, 0];
    patch(path, &single, &half);
    let file = File::open(path).unwrap();
    assert_eq!(file.dataset("x").unwrap().dtype().unwrap().size(), 2);
    file.close().unwrap();
    let recording = made.import("spikes = 'x'\narea = 'A'").unwrap();
    assert_eq!(counts_of(&recording), counts());
}

#[test]
fn every_misspelt_dataset_is_named_with_what_there_is() {
    let mut made = Made::new()
        .with("block/spikes", &counts())
        .with("block/deep/stimulus", &Array2::<f32>::zeros((3, 2)))
        .with("rates", &ndarray::array![1.0, 2.0]);
    let error = made
        .import(
            "spikes = 'block/spikez'\nstimulus = 'blok/stimulus'\nstimulus_axes = 'time,channel'\narea = 'A'\n\
             stimulus_values = 'rate'\nvalid_bins = 'block/deep/valid'",
        )
        .unwrap_err();
    for part in [
        "4 problems",
        "/block/spikez: the dataset is missing; /block has the datasets 'deep/stimulus', 'spikes'",
        "/blok/stimulus: the dataset is missing; the file has the datasets 'block/deep/stimulus', 'block/spikes', 'rates'",
        "/rate: the dataset is missing; the file has",
        "/block/deep/valid: the dataset is missing; /block/deep has the datasets 'stimulus'",
    ] {
        assert!(error.contains(part), "'{part}' is not in: {error}");
    }
    // The sessions that could be read are checked, too.
    let import = BinnedImport::from_toml(
        "x",
        "bin_ms = 1.0\n[[sessions]]\nid = 'a'\nspikes = 'none'\narea = 'A'\n\
         [[sessions]]\nid = 'b'\nspikes = 'block/spikes'\narea = ''",
    )
    .unwrap();
    let error = import_binned(made.close(), &import).unwrap_err().to_string();
    assert!(
        error.contains("/none: the dataset is missing") && error.contains("area is empty"),
        "{error}"
    );
}

#[test]
fn a_group_that_contains_itself_is_listed_once_and_for_all() {
    let mut made = Made::new().with("block/x", &counts());
    let file = made.file.as_ref().unwrap();
    file.group("block").unwrap().link_hard("/block", "again").unwrap();
    let error = made.import("spikes = 'block/y'\narea = 'A'").unwrap_err();
    assert!(
        error.contains("'again/again/again/again/again/again/again/x'"),
        "{error}"
    );
}

#[test]
fn lists_per_trial_and_unit_are_taken() {
    let texts = |values: &[&str]| -> Array<hdf5::types::VarLenUnicode, ndarray::Ix1> {
        values.iter().map(|s| s.parse().unwrap()).collect()
    };
    let mut made = Made::new()
        .with("g/x", &counts())
        .with("areas", &texts(&["A", "B", "A", "B"]))
        .with("kinds", &texts(&["excitatory", "inhibitory", "unknown", "unknown"]))
        .with("types", &ndarray::array![3_i32, 1])
        .with("values", &ndarray::array![0.5_f32, 2.0])
        .with("valid", &ndarray::array![3_u8, 2]);
    let recording = made
        .import(
            "spikes = '/g/x'\nareas = 'areas'\ncell_types = 'kinds'\ntrial_types = 'types'\n\
             stimulus_values = 'values'\nvalid_bins = 'valid'",
        )
        .unwrap();
    let session = &recording.sessions[0];
    assert_eq!(session.units[1].area, "B");
    assert_eq!(session.units[1].cell_type, CellType::Inhibitory);
    assert_eq!(session.trials[0].trial_type, "3");
    assert_eq!(session.trials[1].stimulus, 2.0);
    assert_eq!(session.trials[1].valid_bins, Some(2));
    // Trials of 3 bins of 2 ms follow one another; the event is 4 ms after their start.
    assert_eq!(session.trials[1].start_s, 0.006);
    assert_eq!(session.trials[1].stop_s, 0.012);
    assert!((session.trials[1].align_s - 0.01).abs() < 1e-15);
}

#[test]
fn nan_at_the_end_of_a_trial_is_padding_and_nowhere_else() {
    let mut values = counts().mapv(f64::from);
    values.slice_mut(ndarray::s![1, 2.., ..]).fill(f64::NAN);
    let stored = values.clone().permuted_axes([2, 0, 1]).as_standard_layout().to_owned();
    let mut made = Made::new().with("x", &stored);
    let source = "spikes = 'x'\nspikes_axes = 'neuron,trial,time'\narea = 'A'";
    let recording = made.import(source).unwrap();
    let valid: Vec<_> = recording.sessions[0].trials.iter().map(|t| t.valid_bins).collect();
    assert_eq!(valid, [None, Some(2)]);
    values[[0, 1, 3]] = f64::NAN;
    let stored = values.permuted_axes([2, 0, 1]).as_standard_layout().to_owned();
    let error = Made::new().with("x", &stored).import(source).unwrap_err();
    assert!(error.contains("trial 0, bin 1 holds NaN"), "{error}");
}

#[test]
fn equal_movies_are_stored_once() {
    let movie = |k: usize| if k == 1 { 5.0 } else { 1.0 };
    let movies = Array3::from_shape_fn((4, 3, 2), |(k, t, c)| movie(k) + (t * 2 + c) as f32);
    let spikes = Array3::<u8>::ones((4, 3, 1));
    let stored = movies.clone().permuted_axes([2, 0, 1]).as_standard_layout().to_owned();
    let mut made = Made::new().with("x", &spikes).with("m", &stored);
    let source = "spikes = 'x'\narea = 'A'\nstimulus = 'm'\nstimulus_axes = 'channel,trial,time'";
    let recording = made.import(source).unwrap();
    let session = &recording.sessions[0];
    let shown: Vec<_> = session.trials.iter().map(|t| t.movie.unwrap()).collect();
    assert_eq!(shown, [0, 1, 0, 0]);
    let stored = &session.stimulus.as_ref().unwrap().values;
    assert_eq!(stored, movies.select(Axis(0), &[0, 1]));
}

#[test]
fn faults_are_named() {
    let made = Made::new()
        .with("x", &counts())
        .with("half", &Array3::from_elem((2, 3, 4), 0.5))
        .with("big", &Array3::from_elem((2, 3, 4), 300_i32))
        .with("flat", &ndarray::array![1_u8, 2])
        .with("movie", &Array2::<f32>::zeros((5, 2)));
    let mut made = made;
    for (source, said) in [
        ("spikes = 'none'\narea = 'A'", "/none: the dataset is missing"),
        ("spikes = ''\narea = 'A'", "path is empty"),
        ("spikes = 'x/y'\narea = 'A'", "/x: not a group"),
        ("spikes = 'half'\narea = 'A'", "/half: the value at [0, 0, 0] is 0.5"),
        ("spikes = 'big'\narea = 'A'", "is 300; expected a whole count"),
        ("spikes = 'flat'\narea = 'A'", "/flat: shape [2]; expected 3 axes"),
        (
            "spikes = 'x'\nspikes_axes = 'trial,time'\narea = 'A'",
            "trial, time, neuron in any order",
        ),
        ("spikes = 'x'", "no area"),
        ("spikes = 'x'\narea = 'A'\nareas = 'b'", "both given"),
        ("spikes = 'x'\narea = ''", "area is empty"),
        (
            "spikes = 'x'\narea = 'A'\ntrial_types = 'flat'\nvalid_bins = 'movie'",
            "/movie",
        ),
        ("spikes = 'x'\narea = 'A'\nstimulus = 'movie'", "stimulus_axes"),
        (
            "spikes = 'x'\narea = 'A'\nstimulus = 'movie'\nstimulus_axes = 'time,channel'",
            "1 movies of 5 bins for 2 trials of 3 bins",
        ),
        (
            "spikes = 'x'\narea = 'A'\nstimulus_axes = 'time,channel'",
            "without 'stimulus'",
        ),
        (
            "spikes = 'x'\narea = 'A'\nspike_axes = 'x'",
            "unknown field `spike_axes`",
        ),
        ("spikes = 'x'\narea = 'A'\ncell_type = 'E'", "unknown variant `E`"),
    ] {
        let error = made.import(source).unwrap_err();
        assert!(error.contains(said), "'{said}' is not in: {error}");
    }
}

#[test]
fn some_trials_and_units_are_taken_as_they_are() {
    let Some(path) = shared("data/retina/retina_bars.h5") else {
        return;
    };
    let of = |conditions: &str| {
        let toml = format!(
            "bin_ms = 1.667\n[[sessions]]\nid = 'left'\nspikes = 'train_unrepeated/spikes'\nstimulus = 'train_unrepeated/stimulus'\n\
             stimulus_axes = 'trial,time,pixel'\narea = 'retina'\n{conditions}"
        );
        import_binned(&path, &BinnedImport::from_toml("x", &toml).unwrap())
    };
    let all = of("").unwrap().sessions.remove(0);
    let some = of("trials = 'trial in [3, 7, 48]'\nunits = 'unit not in [0, 2, 3]'").unwrap();
    let some = &some.sessions[0];
    let ids: Vec<&str> = some.units.iter().map(|unit| unit.id.as_str()).collect();
    assert_eq!(ids, ["1", "4", "5"]);
    let direct = File::open(&path).unwrap();
    let (spikes, movies) = ("train_unrepeated/spikes", "train_unrepeated/stimulus");
    let (spikes, movies) = (direct.dataset(spikes).unwrap(), direct.dataset(movies).unwrap());
    let Activity::Binned { counts, .. } = &some.activity else {
        panic!("expected counts")
    };
    assert_eq!(counts.dim(), (3, 21600, 3));
    for (k, row) in [3, 7, 48].into_iter().enumerate() {
        let expected: Array2<u8> = spikes.read_slice(ndarray::s![row, .., ..]).unwrap();
        assert_eq!(counts.index_axis(Axis(0), k), expected.select(Axis(1), &[1, 4, 5]));
        let movie: Array2<u8> = movies.read_slice(ndarray::s![row, .., ..]).unwrap();
        let values = &some.stimulus.as_ref().unwrap().values;
        assert_eq!(some.trials[k].movie, Some(k));
        assert_eq!(values.index_axis(Axis(0), k), movie.mapv(f32::from));
        let expected = &all.trials[row];
        assert_eq!(
            (some.trials[k].start_s, some.trials[k].align_s),
            (expected.start_s, expected.align_s)
        );
    }
    assert_eq!(some.stimulus.as_ref().unwrap().values.dim().0, 3);
    for (conditions, said) in [
        ("trials = 'trial > 49'", "none of 50 trials meets 'trial > 49'"),
        ("units = 'cell == 1'", "cell"),
        ("units = 'unit +'", "column"),
        ("units = 'unit + 1'", "unit"),
    ] {
        let error = of(conditions).unwrap_err().to_string();
        assert!(
            error.contains(said) && error.contains("session 'left'"),
            "{conditions}: {error}"
        );
    }
}
