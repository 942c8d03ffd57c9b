//! The command line: every command and flag, its help, and what the parser itself can check.

mod perturbation;
mod teacher;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use snn_core::device::DeviceChoice;

use crate::config::raw::{Engine as EngineName, parse_bytes, parse_duration};
use crate::progress;

pub use perturbation::{PerturbationArgs, SilencedName, WindowMs};
pub use teacher::TeacherArgs;

/// Fits data-constrained spiking networks to recordings.
#[derive(Debug, Parser)]
#[command(
    name = "snnfit",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Start: snnfit synth two-area --small --out two_area.h5, then snnfit config init --model rsnn > \
                  fit.toml\nTopics: snnfit help exit-codes | formats | reproducibility"
)]
pub struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Global {
    /// Say more on stderr; twice for details of interest to developers
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say nothing on stderr but warnings and errors; twice: errors only
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub quiet: u8,
    /// Colours on stderr
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Color,
    /// Progress on stderr
    #[arg(long, global = true, value_enum, default_value_t, value_name = "HOW")]
    pub progress: progress::Mode,
    /// Form of the answer on stdout, and of errors on stderr
    #[arg(long, global = true, value_enum, default_value_t)]
    pub format: Format,
}

/// Where to compute.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct DeviceArgs {
    /// Device: cpu, wgpu, wgpu:N (see `snnfit devices`), or auto: the first GPU, else the processor
    #[arg(long = "device", value_name = "DEVICE", default_value_t)]
    pub choice: DeviceChoice,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether stderr gets colours.
    pub fn is_on(self) -> bool {
        use std::io::IsTerminal;
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
                    || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                std::io::stderr().is_terminal() && !is_plain
            }
        }
    }
}

/// Form of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Fit a network to a recording
    Train(TrainArgs),
    /// Compare fitted networks with held-out trials
    Evaluate(EvaluateArgs),
    /// Sample spike trains from a fitted network
    Simulate(SimulateArgs),
    /// Convert NWB, other HDF5, ALF, Phy, npz or CSV files to a recording
    Import(Box<ImportArgs>),
    /// Read a file in this process, within limits, and answer on stdout: what `import` and `inspect` start
    #[command(hide = true)]
    ImportWorker(ImportWorkerArgs),
    /// Write a network or a recording for other programs: HDF5, CSV, SONATA, NWB, npz
    Export(ExportArgs),
    /// Describe a recording, a run, a checkpoint, or a file that import takes
    Inspect(InspectArgs),
    /// Generate an artificial recording
    Synth(SynthArgs),
    /// Measure the speed of one training step
    Bench(BenchArgs),
    /// List the devices that networks can be simulated on
    Devices,
    /// Check, show, explain or start a configuration
    Config(ConfigArgs),
    /// Explain a command or a topic
    Help(HelpArgs),
}

/// `snnfit train`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  snnfit train --config fit.toml --out runs/a\n  \
    snnfit train --config fit.toml --out runs/b --seed 1 --set 'train.max_steps = 500'\n  \
    snnfit train --resume runs/a --max-time 2h")]
pub struct TrainArgs {
    /// Configuration file
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "resume",
        conflicts_with = "resume"
    )]
    pub config: Option<PathBuf>,
    /// Run directory; must not exist
    #[arg(long, value_name = "DIR", required_unless_present_any = ["resume", "dry_run"], conflicts_with = "resume")]
    pub out: Option<PathBuf>,
    /// Start from the parameters of this run's best checkpoint, which has to be of the same neurons and model
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    pub init: Option<PathBuf>,
    /// Continue this run from its last checkpoint; --set takes train.max_steps, train.patience, train.checkpoint_every,
    /// train.max_skipped and train.trial_chunk (which changes rounding) only
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Where a recording of the run is now, if it has moved; all of them, in the order of the configuration. Recognised by
    /// SHA-256
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub data: Vec<PathBuf>,
    /// Override a value of the configuration, in TOML: --set 'train.max_steps = 10'; of a listed loss by its name:
    /// --set 'loss.psth.weight = 20.0'
    #[arg(long, value_name = "KEY = VALUE")]
    pub set: Vec<String>,
    /// Same as --set 'seed = N'
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: Option<u64>,
    /// Checkpoint and stop after this time, e.g. 90s, 30m, 2h; exit code 9
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub max_time: Option<Duration>,
    /// Load everything, take three steps, report memory and time per step, write nothing
    #[arg(long, conflicts_with_all = ["resume", "out"])]
    pub dry_run: bool,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Threads; default: all cores
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

impl TrainArgs {
    /// `--set` in order, then `--seed`, as overrides of the configuration.
    pub fn overrides(&self) -> Vec<String> {
        let seed = self.seed.map(|seed| format!("seed = {seed}"));
        self.set.iter().cloned().chain(seed).collect()
    }
}

/// Which checkpoint to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointChoice {
    /// The one with the lowest validation loss.
    Best,
    /// The newest that is intact.
    Last,
    /// That of this step.
    Step(u64),
}

impl FromStr for CheckpointChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "best" => Ok(Self::Best),
            "last" => Ok(Self::Last),
            _ => text
                .parse()
                .map(Self::Step)
                .map_err(|_| "expected best, last or the number of a step".to_owned()),
        }
    }
}

impl std::fmt::Display for CheckpointChoice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Best => f.write_str("best"),
            Self::Last => f.write_str("last"),
            Self::Step(step) => write!(f, "{step}"),
        }
    }
}

/// Which trials to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum SplitChoice {
    /// Held-out trials; each opening is counted in the manifest.
    #[default]
    Test,
    /// Trials that early stopping saw.
    Validation,
    /// Trials that were fitted.
    Train,
}

/// `snnfit evaluate`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  snnfit evaluate runs/a\n  \
    snnfit evaluate runs/a runs/b runs/c --format json\n  \
    snnfit evaluate runs/a --require 'psth_pearson >= 0.7'\n  \
    snnfit evaluate runs/a --silence area:wS2 --window-ms 0,100\n  \
    snnfit evaluate runs/a --silence area:wS2 --window-ms 0,100 --against silenced.h5 --name wS2\n  \
    snnfit evaluate runs/a --truth network.h5\n\n\
    With a perturbation, the same trials are simulated without and with it, and perturbation.json says what it changes; \
    with --against, also what it changed in a recording.")]
pub struct EvaluateArgs {
    /// Run directories; several are aggregated over seeds
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// best, last, or the number of a step
    #[arg(long, value_name = "WHICH", default_value_t = CheckpointChoice::Best)]
    pub checkpoint: CheckpointChoice,
    /// Trials to compare with
    #[arg(long, value_enum, default_value_t, conflicts_with = "perturbation")]
    pub split: SplitChoice,
    /// Where a recording of the run is now, if it has moved; all of them, in the order of the configuration. Recognised by
    /// SHA-256
    #[arg(long, value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Model trials to simulate; default: 200
    #[arg(long, value_name = "K")]
    pub trials: Option<NonZeroUsize>,
    /// Trials simulated at once. Spikes don't depend on it; fewer need less memory of a GPU. Default: all, on a GPU as many as
    /// its buffers hold and no more than train.trial_chunk
    #[arg(long, value_name = "K")]
    pub trial_chunk: Option<NonZeroUsize>,
    /// Exit with code 8 unless this holds, e.g. 'psth_pearson >= 0.7'; may be repeated
    #[arg(long, value_name = "CONDITION", conflicts_with = "perturbation")]
    pub require: Vec<crate::evaluate::Requirement>,
    /// Say how far the metrics are from those of this run, with intervals over the same resamples (spike_history)
    #[arg(long, value_name = "RUN", conflicts_with = "perturbation")]
    pub compared_to: Option<PathBuf>,
    /// Compare the weights with those of a known network, such as that of `synth six-area --network` or `synth teacher --network`, instead of the
    /// trials
    #[arg(long, value_name = "FILE", conflicts_with_all = ["perturbation", "split", "require", "trials", "trial_chunk"])]
    pub truth: Option<PathBuf>,
    /// What is perturbed.
    #[command(flatten)]
    pub perturbation: PerturbationArgs,
    /// Session whose training stimuli are shown with and without the perturbation (spike_history); default: the first with a repeated
    /// one
    #[arg(long, value_name = "ID", requires = "perturbation", help_heading = "Perturbation")]
    pub session: Option<String>,
    /// Compare what the perturbation changes with what it changed in this recording of the run's sessions and units, all of
    /// whose trials are perturbed; may be repeated
    #[arg(long, value_name = "FILE", requires = "perturbation", help_heading = "Perturbation")]
    pub against: Vec<PathBuf>,
    /// Keep what this perturbation changes in perturbation-NAME.json; without it, perturbation.json holds the last comparison
    #[arg(long, value_name = "NAME", requires = "perturbation", value_parser = file_name_part, help_heading = "Perturbation")]
    pub name: Option<String>,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// `snnfit simulate`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  snnfit simulate runs/a --trials 400 --out model.h5\n  \
    snnfit simulate runs/a --trials 400 --out model.nwb\n  \
    snnfit simulate runs/a --light area:wS2 --window-ms 0,100 --out light.h5\n  \
    snnfit simulate runs/retina --session test --trials 54 --out model.h5")]
pub struct SimulateArgs {
    /// Run directory
    pub run: PathBuf,
    /// Where a recording of the run is now, if it has moved; all of them, in the order of the configuration. Recognised by
    /// SHA-256
    #[arg(long, value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Trials to simulate
    #[arg(long, value_name = "K", default_value = "100")]
    pub trials: NonZeroUsize,
    /// Trials simulated at once. Spikes don't depend on it; fewer need less memory of a GPU. Default: all, on a GPU as many as
    /// its buffers hold and no more than train.trial_chunk
    #[arg(long, value_name = "K")]
    pub trial_chunk: Option<NonZeroUsize>,
    /// Recording file to write, NWB or npz if its name ends so; must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Also record the spikes of the model's inputs, as units of the area `input`
    #[arg(long)]
    pub inputs: bool,
    /// Session whose trials lend their stimuli, in their order and again from the first (spike_history); may be left out where there
    /// is one. Without it, trials of other models are drawn from the training trials of all sessions
    #[arg(long, value_name = "ID")]
    pub session: Option<String>,
    /// Start of each trial in which the recorded neurons are held to their recorded spikes, in ms (spike_history); default: 0
    #[arg(long, value_name = "MS", value_parser = not_negative)]
    pub clamped_ms: Option<f64>,
    /// Also record hidden neurons, as units of the area `hidden` (spike_history; other models record them anyway)
    #[arg(long)]
    pub hidden: bool,
    /// Seed of the noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// best, last, or the number of a step
    #[arg(long, value_name = "WHICH", default_value_t = CheckpointChoice::Best)]
    pub checkpoint: CheckpointChoice,
    /// What is perturbed.
    #[command(flatten)]
    pub perturbation: PerturbationArgs,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
}

fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("expected a finite number, 0 or above".to_owned()),
    }
}

/// Something that can stand in the name of a file on any system.
fn file_name_part(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !text.is_empty() && text.len() <= 100 && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err("expected 1 to 100 letters, digits, dashes, underscores and dots".to_owned())
    }
}

/// What `export` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportForm {
    /// Of a run: all parameters in one HDF5 file. Of a recording: a native file.
    H5,
    /// Of a run: a folder of tables, neurons.csv and synapses.csv.
    Csv,
    /// Of a run: a folder with a SONATA network.
    Sonata,
    /// Of a recording: NWB 2.
    Nwb,
    /// Of a recording: a NumPy archive.
    Npz,
}

/// `snnfit export`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  snnfit export runs/a --out parameters.h5\n  \
    snnfit export runs/a --out network --as csv\n  \
    snnfit export runs/a --out network --as sonata --checkpoint last\n  \
    snnfit export mice.h5 --session mouse7 --out mouse7.nwb\n  \
    snnfit export mice.h5 --out sessions --as npz\n\n\
    What is written follows from --as, else from the ending of --out: .h5, .nwb or .npz. NWB and npz files hold one session \
    each: name it with --session, or let --as write a folder with a file for each. docs/FORMATS.md describes all files.")]
pub struct ExportArgs {
    /// Run directory, or recording file
    #[arg(value_name = "RUN|FILE")]
    pub source: PathBuf,
    /// File or folder to write; must not exist
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// What to write
    #[arg(long = "as", value_enum, value_name = "FORM")]
    pub form: Option<ExportForm>,
    /// Of a recording: this session only; may be repeated
    #[arg(long, value_name = "ID")]
    pub session: Vec<String>,
    /// Of a run: best, last, or the number of a step. Default: best
    #[arg(long, value_name = "WHICH")]
    pub checkpoint: Option<CheckpointChoice>,
    /// Where a recording of the run is now, if it has moved; all of them, in the order of the configuration. Recognised by
    /// SHA-256
    #[arg(long, value_name = "FILE")]
    pub data: Vec<PathBuf>,
}

/// `snnfit import`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  snnfit inspect mouse7.nwb\n  \
    snnfit import mouse7.nwb mouse8.nwb --align-to stim_on --window-s=-0.5,1.5 --units 'isi_violations < 0.5' --out mice.h5\n  \
    snnfit import alf/ --spec import.toml --out session.h5\n  \
    snnfit import phy/ --trials-table trials.csv --units-table areas.csv --align-to go --window-s=-0.5,1.5 --dry-run\n  \
    snnfit import bars.h5 --spikes /train_repeated/spikes --stimulus /train_repeated/stimulus \
    --bin-ms 1.667 --area retina --out retina.h5\n\nEvery file or folder is a session. --spec names a TOML file with all that \
    the options say and more; docs/FORMATS.md describes it, and the expressions that --trials and --units take.")]
pub struct ImportArgs {
    /// NWB and other HDF5 files, ALF or Phy folders, npz files, CSV tables of spikes; or one HDF5 file with arrays of spike counts
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub files: Vec<PathBuf>,
    /// Recording file to write; must not exist
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,
    /// Do everything but write: what would be left out and why, units by area and type, trials by type
    #[arg(long, conflicts_with = "out")]
    pub dry_run: bool,
    /// TOML file that says what is taken, or names the arrays of each session
    #[arg(long, value_name = "TOML", conflicts_with_all = ["spikes", "axes", "stimulus", "stimulus_axes", "bin_ms",
        "start_ms", "cell_type"])]
    pub spec: Option<PathBuf>,
    /// Event that bins are counted from: a column of the trials, or an expression
    #[arg(
        long,
        value_name = "EXPR",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub align_to: Option<String>,
    /// Part of the recording that is a trial, relative to the event, s
    #[arg(
        long,
        value_name = "FROM,TO",
        conflicts_with = "spikes",
        value_delimiter = ',',
        num_args = 1,
        allow_negative_numbers = true,
        help_heading = "Files with tables"
    )]
    pub window_s: Option<Vec<f64>>,
    /// Cuts the recording into trials of this length, where it has none, s
    #[arg(
        long, value_parser = positive,
        value_name = "S",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub every_s: Option<f64>,
    /// Condition of the trials that are taken; of arrays of spike counts by `trial`, their number from 0: 'trial < 40'
    #[arg(long, value_name = "EXPR")]
    pub trials: Option<String>,
    /// Label of a trial: a column, or an expression
    #[arg(
        long,
        value_name = "EXPR",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub trial_type: Option<String>,
    /// Value of the stimulus in a trial: a column, or an expression; 0 where there is none [default: a column `stimulus`, else 1 with
    /// --align-to]
    #[arg(
        long,
        value_name = "EXPR",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub stimulus_value: Option<String>,
    /// Further events of trials, such as a cue: the name that it gets, and its time, a column or an expression; several: one option
    /// each [default: columns `event_NAME`]
    #[arg(
        long,
        value_name = "NAME=EXPR",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub event: Vec<String>,
    /// Numbers that go with events, such as a contrast: the name that it gets, and its value, a column or an expression; several:
    /// one option each [default: columns `value_NAME`]
    #[arg(
        long,
        value_name = "NAME=EXPR",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub value: Vec<String>,
    /// Condition of the units that are taken; of arrays of spike counts by `unit`, their number from 0: 'unit in [0, 2, 5]'
    #[arg(long, value_name = "EXPR")]
    pub units: Option<String>,
    /// Area of a unit: a column, or an expression
    #[arg(long, value_name = "EXPR", conflicts_with_all = ["spikes", "area"], help_heading = "Files with tables")]
    pub area_column: Option<String>,
    /// Behaviour traces: the name that a trace gets, its series and, where that has several channels, which one, from 0 (jaw=DLC:3);
    /// several: one option each
    #[arg(
        long,
        value_name = "NAME=SERIES",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub behaviour: Vec<String>,
    /// Sampling rate of spike times in samples, where the folder doesn't say it, Hz
    #[arg(
        long, value_parser = positive,
        value_name = "HZ",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub sample_rate_hz: Option<f64>,
    /// Table of text (CSV) with columns of units, joined by their ids
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub units_table: Option<PathBuf>,
    /// Table of text (CSV) of trials, instead of those of the file
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub trials_table: Option<PathBuf>,
    /// Column that names the units in CSV tables, where it has no usual name
    #[arg(
        long,
        value_name = "COLUMN",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub unit_column: Option<String>,
    /// Column of times in a CSV table of spikes, where it has no usual name; ms if its name ends in _ms, else s
    #[arg(
        long,
        value_name = "COLUMN",
        conflicts_with = "spikes",
        help_heading = "Files with tables"
    )]
    pub time_column: Option<String>,
    /// Dataset of spike counts
    #[arg(long, value_name = "DATASET", help_heading = "Arrays of spike counts")]
    pub spikes: Option<String>,
    /// Axes of the spike counts, in stored order. Default: trial,time,neuron
    #[arg(long, value_name = "AXES", help_heading = "Arrays of spike counts")]
    pub axes: Option<String>,
    /// Dataset of the stimulus
    #[arg(long, value_name = "DATASET", help_heading = "Arrays of spike counts")]
    pub stimulus: Option<String>,
    /// Axes of the stimulus: time,channel for all trials, or with trial for each
    #[arg(
        long,
        value_name = "AXES",
        requires = "stimulus",
        default_value_if("stimulus", clap::builder::ArgPredicate::IsPresent, "time,channel"),
        help_heading = "Arrays of spike counts"
    )]
    pub stimulus_axes: Option<String>,
    /// Width of a bin, ms
    #[arg(long, value_name = "MS", help_heading = "Arrays of spike counts")]
    pub bin_ms: Option<f64>,
    /// Start of the first bin relative to the alignment event, ms. Default: 0
    #[arg(
        long,
        value_name = "MS",
        allow_negative_numbers = true,
        help_heading = "Arrays of spike counts"
    )]
    pub start_ms: Option<f64>,
    /// Area of all units
    #[arg(long)]
    pub area: Option<String>,
    /// Cell type of all units. Default: unknown
    #[arg(long, value_enum, help_heading = "Arrays of spike counts")]
    pub cell_type: Option<CellTypeName>,
    /// Name of the session; of several files, once for each, in their order. Default: the file's, or session1
    #[arg(long, value_name = "ID")]
    pub session_id: Vec<String>,
    /// What reading may take.
    #[command(flatten)]
    pub limits: ReadLimits,
}

/// What the process may take that reads files of others.
#[derive(Debug, Clone, Copy, Args)]
pub struct ReadLimits {
    /// Memory for reading a file [default: 4GiB; a recording of snnfit: what the machine has]
    #[arg(long, value_name = "SIZE", value_parser = reading_memory)]
    pub limit_mem: Option<u64>,
    /// Time for reading a file [default: 10m, and processor time by the size of a file; a recording of snnfit: both by its size]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
}

/// Address space for reading, bytes: the program and its libraries alone take a part of it.
fn reading_memory(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 256 << 20;
    let bytes = parse_bytes(text)?;
    if bytes < LEAST {
        return Err("at least 256MiB, which the program and its libraries take themselves".to_owned());
    }
    Ok(bytes)
}

/// `snnfit import-worker`: the limits; the request is on stdin.
#[derive(Debug, Clone, Args)]
pub struct ImportWorkerArgs {
    /// Address space, bytes
    pub memory_bytes: u64,
    /// Processor time, s
    pub processor_seconds: u64,
}

/// Cell types on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CellTypeName {
    /// Excites its targets.
    Excitatory,
    /// Inhibits its targets.
    Inhibitory,
    /// Not known.
    Unknown,
}

/// `snnfit inspect`
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  snnfit inspect mouse7.nwb\n  \
    snnfit inspect mouse7.h5 --html mouse7.html\n  \
    snnfit --format json inspect runs/a")]
pub struct InspectArgs {
    /// Recording, run directory or checkpoint; or a file or folder that `import` takes
    #[arg(value_name = "FILE|RUN|CHECKPOINT")]
    pub path: PathBuf,
    /// Also write a page about a native recording, with pictures of rates, trials and spikes around the event; must not exist
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Sampling rate of spike times in samples, where the folder doesn't say it, Hz
    #[arg(long, value_parser = positive, value_name = "HZ")]
    pub sample_rate_hz: Option<f64>,
    /// Table of text (CSV) with columns of units, joined by their ids
    #[arg(long, value_name = "FILE")]
    pub units_table: Option<PathBuf>,
    /// Table of text (CSV) of trials, instead of those of the file
    #[arg(long, value_name = "FILE")]
    pub trials_table: Option<PathBuf>,
    /// Column that names the units in CSV tables, where it has no usual name
    #[arg(long, value_name = "COLUMN")]
    pub unit_column: Option<String>,
    /// Column of times in a CSV table of spikes, where it has no usual name; ms if its name ends in _ms, else s
    #[arg(long, value_name = "COLUMN")]
    pub time_column: Option<String>,
    /// What reading may take.
    #[command(flatten)]
    pub limits: ReadLimits,
}

/// `snnfit synth`
#[derive(Debug, Clone, Args)]
pub struct SynthArgs {
    /// What to generate.
    #[command(subcommand)]
    pub kind: SynthKind,
}

/// Artificial recordings.
#[derive(Debug, Clone, Subcommand)]
pub enum SynthKind {
    /// Two areas; the response reaches the second only in hit trials
    TwoArea(Box<TwoAreaArgs>),
    /// Six areas in a whisker detection task with delay and jaw movements, recorded from a spiking network
    SixArea(Box<SixAreaArgs>),
    /// Some neurons of a spike-history network whose couplings are known, driven by one movie, for students to be judged by
    Teacher(Box<TeacherArgs>),
}

/// `snnfit synth six-area`; what is not given is as in the published recordings, or as in the small variant.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  snnfit synth six-area --out six_area.h5\n  \
    snnfit synth six-area --small --seed 3 --out small.h5")]
pub struct SixAreaArgs {
    /// Recording file to write; must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Start from the small variant: 6 sessions of 40 units and 60 trials, made in seconds
    #[arg(long)]
    pub small: bool,
    /// Seed of the network and of the trials
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Units of each session
    #[arg(long, value_name = "LIST", value_delimiter = ',', num_args = 1)]
    pub session_sizes: Option<Vec<usize>>,
    /// Trials per session
    #[arg(long, value_name = "K")]
    pub trials: Option<usize>,
    /// Neurons of the network per area; where sessions ask for more, neurons are recorded again
    #[arg(long, value_name = "N")]
    pub neurons_per_area: Option<usize>,
    /// Share of trials with a whisker stimulus
    #[arg(long, value_name = "P")]
    pub p_go: Option<f64>,
    /// Share of these with a lick
    #[arg(long, value_name = "P")]
    pub p_hit: Option<f64>,
    /// Share of the others with a lick
    #[arg(long, value_name = "P")]
    pub p_false_alarm: Option<f64>,
    /// Silence an area in every trial: no synaptic current from it or to it. Units and trials stay the same
    #[arg(long, value_name = "AREA", requires = "silence_ms")]
    pub silence: Option<String>,
    /// When it is silenced, from -500 to 1500 ms after the whisker stimulus
    #[arg(
        long,
        value_name = "FROM,TO",
        requires = "silence",
        value_delimiter = ',',
        num_args = 1,
        allow_negative_numbers = true
    )]
    pub silence_ms: Option<Vec<f64>>,
    /// Record every neuron of the network in each session, in the same trials; of --session-sizes the number counts
    #[arg(long)]
    pub whole: bool,
    /// Also write the weights of the network, for comparison with fitted ones; must not exist
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,
}

/// `snnfit synth two-area`; what is not given is as in the publication, or as in the small variant.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "Examples:\n  snnfit synth two-area --out two_area.h5\n  \
    snnfit synth two-area --small --p-hit 0.5 --seed 3 --out small.h5")]
pub struct TwoAreaArgs {
    /// Recording file to write; must not exist
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Start from the small variant: for a fit of minutes
    #[arg(long)]
    pub small: bool,
    /// Seed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Sessions
    #[arg(long, value_name = "N")]
    pub sessions: Option<usize>,
    /// Areas of the sessions, repeated in order: both, first, second
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub session_areas: Option<Vec<RecordedAreasName>>,
    /// Names of the two areas
    #[arg(long, value_name = "A,B", value_delimiter = ',', num_args = 1)]
    pub area_names: Option<Vec<String>>,
    /// Units per session
    #[arg(long, value_name = "N")]
    pub neurons: Option<usize>,
    /// Excitatory units among them
    #[arg(long, value_name = "N")]
    pub excitatory: Option<usize>,
    /// Trials per session
    #[arg(long, value_name = "K")]
    pub trials: Option<usize>,
    /// Length of a trial, ms
    #[arg(long, value_name = "MS")]
    pub trial_ms: Option<f64>,
    /// Resolution of spike times, ms
    #[arg(long, value_name = "MS")]
    pub bin_ms: Option<f64>,
    /// Time of the stimulus in a trial, ms
    #[arg(long, value_name = "MS")]
    pub stimulus_ms: Option<f64>,
    /// Stimulus value
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub stimulus: Option<f64>,
    /// Probability of a hit
    #[arg(long, value_name = "P")]
    pub p_hit: Option<f64>,
    /// Median baseline rate of excitatory units, Hz
    #[arg(long, value_name = "HZ")]
    pub rate_excitatory_hz: Option<f64>,
    /// Median baseline rate of inhibitory units, Hz
    #[arg(long, value_name = "HZ")]
    pub rate_inhibitory_hz: Option<f64>,
    /// exp of the standard deviation of the log baseline rate
    #[arg(long, value_name = "X")]
    pub rate_spread: Option<f64>,
    /// Baseline rates above this are drawn again below it, Hz
    #[arg(long, value_name = "HZ")]
    pub rate_limit_hz: Option<f64>,
    /// Width of that draw below the limit, Hz
    #[arg(long, value_name = "HZ")]
    pub rate_limit_jitter_hz: Option<f64>,
    /// Decay time constant of the response, ms
    #[arg(long, value_name = "MS")]
    pub decay_ms: Option<f64>,
    /// Rise time constant of the response, ms
    #[arg(long, value_name = "MS")]
    pub rise_ms: Option<f64>,
    /// Length of the response, ms
    #[arg(long, value_name = "MS")]
    pub response_ms: Option<f64>,
    /// Latencies of the response in the two areas, ms
    #[arg(long, value_name = "A,B", value_delimiter = ',', num_args = 1)]
    pub latency_ms: Option<Vec<f64>>,
    /// Range of the additional latency of the second area, drawn per session, ms
    #[arg(long, value_name = "MS")]
    pub latency_jitter_ms: Option<u32>,
    /// Peak of the response, times baseline rate and modulation
    #[arg(long, value_name = "X")]
    pub response_peak: Option<f64>,
    /// Modulations a unit can have
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        num_args = 1,
        allow_hyphen_values = true
    )]
    pub modulations: Option<Vec<f64>>,
    /// Their probabilities
    #[arg(long, value_name = "LIST", value_delimiter = ',', num_args = 1)]
    pub modulation_probabilities: Option<Vec<f64>>,
}

/// Areas of a session on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecordedAreasName {
    /// Both areas.
    Both,
    /// The first only.
    First,
    /// The second only.
    Second,
}

/// `snnfit bench`: the workload of a training step on a random network.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    /// Neurons N
    #[arg(long, value_name = "N", default_value = "500")]
    pub n: NonZeroUsize,
    /// Trials K
    #[arg(long, value_name = "K", default_value = "200")]
    pub k: NonZeroUsize,
    /// Time steps T
    #[arg(long, value_name = "T", default_value = "250")]
    pub t: NonZeroUsize,
    /// Delay groups D
    #[arg(long, value_name = "D", default_value = "2")]
    pub d: NonZeroUsize,
    /// Inputs
    #[arg(long, value_name = "N", default_value = "200")]
    pub n_in: NonZeroUsize,
    /// Gain of the recurrent weights; sets the density of spikes
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = positive)]
    pub gain: f64,
    /// Repetitions after one warm-up; medians are reported
    #[arg(long, value_name = "N", default_value = "3")]
    pub reps: NonZeroUsize,
    /// Engine
    #[arg(long, value_enum, default_value_t = EngineChoice::Native)]
    pub engine: EngineChoice,
    /// Where to compute.
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Noise: given as arrays, or drawn in the step from the counter-based generator
    #[arg(long, value_enum, default_value_t = NoiseChoice::Philox)]
    pub noise: NoiseChoice,
    /// Trials simulated at once, as train.trial_chunk: where fewer than --k, each chunk is simulated once for the loss and
    /// once for its gradient. Default: all
    #[arg(long, value_name = "N")]
    pub trial_chunk: Option<NonZeroUsize>,
    /// Share of its largest value below which the surrogate derivative is taken as 0; 0 is exact
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = share)]
    pub surrogate_floor: f32,
    /// Threads; default: all cores
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Seed of weights, inputs and noise
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

/// Engines on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// Plain tensor operations with automatic differentiation.
    Reference,
    /// Hand-written gradient: event-driven on the processor, kernels on a GPU.
    Native,
    /// As native, on the processor, with the dense product of the gradient in 16-bit fixed point: not exact.
    NativeInt16,
}

impl From<EngineChoice> for EngineName {
    fn from(choice: EngineChoice) -> Self {
        match choice {
            EngineChoice::Reference => Self::Reference,
            EngineChoice::Native => Self::Native,
            EngineChoice::NativeInt16 => Self::NativeInt16,
        }
    }
}

/// Where the noise of a benchmark comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NoiseChoice {
    /// Arrays drawn before the measurement.
    Given,
    /// Drawn in the step, as in training.
    Philox,
}

/// `snnfit config`
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// Actions on configurations.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigAction {
    /// Say whether a configuration can be used; every problem is listed
    Check(ConfigFileArgs),
    /// Print every value with its origin: default, preset, file:LINE or --set
    Show(ConfigFileArgs),
    /// Print a commented configuration to start from
    Init(ConfigInitArgs),
    /// Print every key with default, unit and meaning
    Schema,
}

/// A configuration file with overrides.
#[derive(Debug, Clone, Args)]
pub struct ConfigFileArgs {
    /// Configuration file
    pub file: PathBuf,
    /// Override a value, in TOML: --set 'train.max_steps = 10'; of a listed loss by its name: --set
    /// 'loss.psth.weight = 20.0'
    #[arg(long, value_name = "KEY = VALUE")]
    pub set: Vec<String>,
}

/// `snnfit config init`
#[derive(Debug, Clone, Args)]
pub struct ConfigInitArgs {
    /// Model
    #[arg(long, value_enum)]
    pub model: ModelName,
    /// File to write instead of stdout; must not exist
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Models on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModelName {
    /// Recurrent network of leaky integrate-and-fire neurons with Bernoulli spikes.
    Rsnn,
    /// Network whose spikes depend on past spikes and a stimulus encoder
    #[value(name = "spike_history")]
    SpikeHistory,
}

/// `snnfit help`
#[derive(Debug, Clone, Args)]
pub struct HelpArgs {
    /// Command, or topic: exit-codes, formats, reproducibility
    #[arg(value_name = "COMMAND|TOPIC")]
    pub topics: Vec<String>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err("expected a finite number > 0".to_owned()),
    }
}

fn share(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to below 1".to_owned()),
    }
}

/// Whether the arguments ask for JSON; for errors of the parser itself.
pub fn asks_for_json(arguments: impl IntoIterator<Item = OsString>) -> bool {
    let mut previous_is_format = false;
    for argument in arguments {
        if argument == "--format=json" || (previous_is_format && argument == "json") {
            return true;
        }
        if argument == "--" {
            return false;
        }
        previous_is_format = argument == "--format";
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_seed_is_the_last_override() {
        let cli = Cli::try_parse_from([
            "snnfit",
            "train",
            "--config",
            "a.toml",
            "--out",
            "r",
            "--seed",
            "7",
            "--set",
            "seed = 1",
            "--max-time",
            "2m",
        ])
        .unwrap();
        let Command::Train(train) = cli.command else {
            panic!("expected train")
        };
        assert_eq!(train.overrides(), ["seed = 1", "seed = 7"]);
        assert_eq!(train.max_time, Some(Duration::from_mins(2)));
    }

    #[test]
    fn contradictory_or_incomplete_train_flags_are_refused() {
        for flags in [
            vec!["--config", "a"],
            vec!["--out", "r"],
            vec!["--resume", "r", "--config", "a"],
            vec!["--resume", "r", "--seed", "1"],
            vec!["--resume", "r", "--dry-run"],
            vec!["--config", "a", "--out", "r", "--dry-run"],
            vec!["--config", "a", "--out", "r", "--threads", "0"],
            vec!["--config", "a", "--out", "r", "--max-time", "soon"],
        ] {
            assert!(
                Cli::try_parse_from(["snnfit", "train"].into_iter().chain(flags.clone())).is_err(),
                "{flags:?}"
            );
        }
        assert!(Cli::try_parse_from(["snnfit", "train", "--config", "a", "--dry-run"]).is_ok());
        assert!(Cli::try_parse_from(["snnfit", "train", "--resume", "r", "--set", "train.max_steps = 9"]).is_ok());
    }
}
