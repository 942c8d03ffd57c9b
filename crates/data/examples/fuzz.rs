//! Damages files of recordings at random and says what reading them comes to.
//!
//!     fuzz [--n 1000] [--seed 0] [--program SNNFIT] [--keep FOLDER] PATH...
//!
//! Each PATH is a sound file or folder that `snnfit import` takes, or a recording; N copies of it are damaged and read:
//! here, up to the recording that a plan makes of it, alone and with some of its series; HDF5 without known spike times up to the
//! recording that its array `spikes` of counts is. No finding: a recording, or one error. A finding: a panic, no message,
//! more than 5 s. Findings are kept in FOLDER (fuzz-findings) and make the exit code 1. A case depends on seed, path and
//! number alone.
//!
//! HDF5 files need --program, `snnfit`: the C library may end the process that reads, so a copy of this program reads, with 2 GiB
//! of address space, one file after another. A case that ends it is read again by `snnfit inspect`, which reads in a process of its
//! own for each file and has the last word: a finding is a panic, an ending by a signal, an exit code other than 0 and 4,
//! no message, more than 20 s. So are the first 200 cases in which the library hangs (takes 0.5 s for what takes a
//! thousandth of it); more of them say nothing new of how the program gives up. --each has every case read by the program.

#![allow(clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use data::import::plan::{BehaviourPlan, Channel};
use data::import::{
    BinnedImport, BinnedSource, ImportPlan, Layout, ReadOptions, SeriesRequest, Source, SourceSummary, detect,
    import_binned, read,
};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

/// What a damaged file came to.
enum Outcome {
    Read,
    /// With this message.
    Refused(String),
}

struct Options {
    n: usize,
    seed: u64,
    program: Option<PathBuf>,
    each: bool,
    keep: PathBuf,
    paths: Vec<PathBuf>,
}

/// The argument with which this program is the reader of HDF5 files.
const READER: &str = "--read-what-stdin-names";
/// Files that a reader reads before another takes its place: what the C library keeps of damaged files is gone with it.
const FILES_OF_A_READER: usize = 500;
/// Series are chosen from so many of a file, and so many channels of each become traces.
const MOST_SERIES: usize = 12;
const LONGEST: Duration = Duration::from_secs(5);
/// What the reader of HDF5 files has before the program, which has a limit of its own, is asked.
const FIRST: Duration = Duration::from_millis(500);
/// Cases for which the program is asked whether it gives up where the library hangs.
const ASKED_ABOUT_HANGS: usize = 200;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(READER) {
        return serve();
    }
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            println!("fuzz: {message}");
            return ExitCode::from(2);
        }
    };
    if options.program.is_none() {
        // Thousands of backtraces say nothing: a finding has the message.
        std::panic::set_hook(Box::new(|_| ()));
    }
    let mut n_findings = 0;
    for path in &options.paths {
        match fuzz(&options, path) {
            Ok(found) => n_findings += found,
            Err(message) => {
                println!("fuzz: {}: {message}", path.display());
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::from(u8::from(n_findings > 0))
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        n: 1000,
        seed: 0,
        program: None,
        each: false,
        keep: "fuzz-findings".into(),
        paths: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--n" => options.n = value()?.parse().map_err(|e| format!("--n: {e}"))?,
            "--seed" => options.seed = value()?.parse().map_err(|e| format!("--seed: {e}"))?,
            "--program" => options.program = Some(value()?.into()),
            "--each" => options.each = true,
            "--keep" => options.keep = value()?.into(),
            path => options.paths.push(path.into()),
        }
    }
    if options.paths.is_empty() {
        return Err("no file to damage; see the top of crates/data/examples/fuzz.rs".to_owned());
    }
    Ok(options)
}

/// A sound file or folder: the name of each file, and its bytes.
struct Sound {
    files: Vec<(String, Vec<u8>)>,
    is_folder: bool,
}

fn load(path: &Path) -> Result<Sound, String> {
    let bytes = |path: &Path| fs::read(path).map_err(|e| e.to_string());
    if path.is_file() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(Sound {
            files: vec![(name, bytes(path)?)],
            is_folder: false,
        });
    }
    let (mut files, mut folders) = (Vec::new(), vec![path.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| e.to_string())? {
            let entry = entry.map_err(|e| e.to_string())?.path();
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let name = entry.strip_prefix(path).map_err(|e| e.to_string())?;
            files.push((name.to_string_lossy().into_owned(), bytes(&entry)?));
        }
    }
    files.sort();
    Ok(Sound { files, is_folder: true })
}

fn fuzz(options: &Options, path: &Path) -> Result<usize, String> {
    let sound = load(path)?;
    if options.program.is_none() && matches!(detect(path), Ok(Layout::Nwb | Layout::Hdf5 | Layout::Native)) {
        return Err("HDF5 needs --program".to_owned());
    }
    let outcome_of = |reader: &mut Option<Reader>, target: &Path| match &options.program {
        Some(program) if options.each => by_program(program, target),
        Some(program) => by_reader(reader, program, target),
        None => here(target),
    };
    match outcome_of(&mut None, path) {
        Ok(Outcome::Read) => (),
        Ok(Outcome::Refused(message)) => return Err(format!("refused as it is: {message}")),
        Err(message) => return Err(format!("not read as it is: {message}")),
    }
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let tally = Mutex::new((0usize, 0usize, Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed = std::thread::scope(|scope| {
        let worker = || -> Result<(), String> {
            let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
            let mut reader = None;
            loop {
                let case = next.fetch_add(1, Ordering::Relaxed);
                if case >= options.n {
                    return Ok(());
                }
                let damaged = damaged(&sound, options.seed, case);
                let target = write(&damaged, folder.path(), sound.is_folder)?;
                let outcome = outcome_of(&mut reader, &target);
                let mut tally = tally.lock().map_err(|e| e.to_string())?;
                match outcome {
                    Ok(Outcome::Read) => tally.0 += 1,
                    Ok(Outcome::Refused(_)) => tally.1 += 1,
                    Err(what) => {
                        let name = path.file_name().unwrap_or_default().to_string_lossy();
                        let kept = options.keep.join(format!("{name}-{}-{case}", options.seed));
                        fs::create_dir_all(&kept).map_err(|e| e.to_string())?;
                        write(&damaged, &kept, sound.is_folder)?;
                        println!("{}: case {case}: {what}; kept in {}", path.display(), kept.display());
                        tally.2.push(case);
                    }
                }
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().find_map(|w| {
            w.join()
                .map_or(Some("a thread of ours panicked".to_owned()), Result::err)
        })
    });
    if let Some(message) = failed {
        return Err(message);
    }
    let (n_read, n_refused, findings) = tally.into_inner().map_err(|e| e.to_string())?;
    let [n_ended, n_hung] =
        [&N_ENDED, &N_HUNG].map(|n| std::mem::take(&mut *n.lock().unwrap_or_else(PoisonError::into_inner)));
    println!(
        "{}: {} cases in {:.0} s: {n_read} read, {n_refused} refused, {} findings{}",
        path.display(),
        options.n,
        start.elapsed().as_secs_f64(),
        findings.len(),
        match n_ended + n_hung {
            0 => String::new(),
            _ => format!(" ({n_ended} ended the first reader, {n_hung} hung in the library)"),
        }
    );
    Ok(findings.len())
}

/// Writes the files and returns the path to read.
fn write(files: &[(String, Vec<u8>)], folder: &Path, is_folder: bool) -> Result<PathBuf, String> {
    let target = if is_folder {
        folder.join("session")
    } else {
        folder.to_path_buf()
    };
    fs::create_dir_all(&target).map_err(|e| e.to_string())?;
    for (name, bytes) in files {
        let file = target.join(name);
        fs::create_dir_all(file.parent().unwrap_or(&target)).map_err(|e| e.to_string())?;
        fs::write(file, bytes).map_err(|e| e.to_string())?;
    }
    match files {
        [(name, _)] if !is_folder => Ok(target.join(name)),
        _ => Ok(target),
    }
}

/// The files with one to eight faults in one of them.
fn damaged(sound: &Sound, seed: u64, case: usize) -> Vec<(String, Vec<u8>)> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ case as u64);
    let mut files = sound.files.clone();
    if !files.is_empty() {
        let which = rng.random_range(0..files.len());
        for _ in 0..rng.random_range(1..=8) {
            damage(&mut files[which].1, &mut rng);
        }
        // Otherwise checksums keep all faults from the arrays.
        if rng.random_bool(0.7) {
            repair_checksums(&mut files[which].1);
        }
    }
    files
}

/// Makes the checksums right of members of a zip archive that are stored as they are.
fn repair_checksums(bytes: &mut [u8]) {
    let number = |bytes: &[u8], at: usize, width: usize| -> Option<usize> {
        let field = bytes.get(at..at.checked_add(width)?)?;
        Some(field.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let starts = |signature: &[u8], bytes: &[u8]| -> Vec<usize> {
        let places = bytes.windows(4).enumerate();
        places
            .filter(|(_, four)| *four == signature)
            .map(|(at, _)| at)
            .collect()
    };
    let directory = starts(b"PK\x01\x02", bytes);
    let mut repair = |entry: usize| -> Option<()> {
        let (method, size, member) = (
            number(bytes, entry + 10, 2)?,
            number(bytes, entry + 20, 4)?,
            number(bytes, entry + 42, 4)?,
        );
        let from = member + 30 + number(bytes, member + 26, 2)? + number(bytes, member + 28, 2)?;
        let content = bytes.get(from..from.checked_add(size)?).filter(|_| method == 0)?;
        let mut sum = flate2::Crc::new();
        sum.update(content);
        let sum = sum.sum().to_le_bytes();
        bytes[entry + 16..entry + 20].copy_from_slice(&sum);
        bytes[member + 14..member + 18].copy_from_slice(&sum);
        Some(())
    };
    for entry in directory {
        repair(entry);
    }
}

/// Numbers that sizes and offsets are wrong with.
const EXTREMES: [u64; 14] = [
    0,
    1,
    2,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 40,
    1 << 60,
    i64::MAX as u64,
    u64::MAX,
    0x7ff8_0000_0000_0000, // NaN
];

/// Texts that tables and headers are wrong with.
const TEXTS: [&[u8]; 12] = [
    b"\"",
    b"\r\n",
    b"\n",
    b",",
    b"\t",
    b"nan",
    b"-inf",
    b"1e400",
    b"-1",
    b"99999999999999999999",
    b"\xff\xfe",
    b"\0",
];

fn damage(bytes: &mut Vec<u8>, rng: &mut Xoshiro256PlusPlus) {
    if bytes.is_empty() {
        bytes.push(rng.random());
        return;
    }
    // Headers are at the start, and faults there reach furthest. In HDF5 little lies at the start, and what moves the rest leaves
    // nothing to be found: most faults stay where they are, anywhere.
    let is_hdf5 = bytes.starts_with(b"\x89HDF");
    let n = bytes.len();
    let end = if rng.random_bool(if is_hdf5 { 0.05 } else { 0.5 }) {
        n.min(512)
    } else {
        n
    };
    let at = rng.random_range(0..end);
    let len = rng.random_range(1..=64.min(n - at));
    let kind = if is_hdf5 && rng.random_bool(0.9) {
        [0, 1, 2, 6][rng.random_range(0..4)]
    } else {
        rng.random_range(0..9)
    };
    match kind {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        2 => {
            let value = EXTREMES[rng.random_range(0..EXTREMES.len())];
            let width = [1, 2, 4, 8][rng.random_range(0..4)].min(n - at);
            let value = if rng.random_bool(0.8) {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            };
            bytes[at..at + width].copy_from_slice(&value[..width]);
        }
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..at + len)),
        5 => {
            let copy = bytes[at..at + len].to_vec();
            bytes.splice(at..at, copy);
        }
        6 => {
            let from = rng.random_range(0..n - len + 1);
            bytes.copy_within(from..from + len, at);
        }
        7 => {
            let text = TEXTS[rng.random_range(0..TEXTS.len())];
            bytes.splice(at..at, text.iter().copied());
        }
        _ => digits(bytes, at, rng),
    }
}

/// Another number in the place of the next one that is written in digits.
fn digits(bytes: &mut Vec<u8>, at: usize, rng: &mut Xoshiro256PlusPlus) {
    let Some(first) = (at..bytes.len()).find(|&i| bytes[i].is_ascii_digit()) else {
        return;
    };
    let end = (first..bytes.len())
        .find(|&i| !bytes[i].is_ascii_digit())
        .unwrap_or(bytes.len());
    let value = EXTREMES[rng.random_range(0..EXTREMES.len())].to_string();
    bytes.splice(first..end, value.into_bytes());
}

/// A folder with `spikes.csv` is read as that table, with `units.csv` and `trials.csv` beside it.
fn tables(path: &Path) -> (PathBuf, ReadOptions) {
    let spikes = path.join("spikes.csv");
    if !spikes.is_file() {
        return (path.to_path_buf(), ReadOptions::default());
    }
    let options = ReadOptions {
        units_table: Some(path.join("units.csv")),
        trials_table: Some(path.join("trials.csv")),
        ..ReadOptions::default()
    };
    (spikes, options)
}

/// Reads it in this process, to the recording that a plan makes of it, and some of its series.
fn here(path: &Path) -> Result<Outcome, String> {
    caught(|| {
        let (path, options) = tables(path);
        let source = read(&path, &options).map_err(|e| e.to_string())?;
        let _ = SourceSummary::of(&source).text();
        if source.n_units() == 0 && !source.arrays.is_empty() {
            return binned(&path, &source);
        }
        let names: Vec<String> = source.series.keys().cloned().collect();
        made_of(source, None)?;
        // One by one: some are no traces, and refused. That is the same for all damage, so it doesn't count.
        for name in some_of(names, &path) {
            let options = ReadOptions {
                series: SeriesRequest::of([&name]),
                ..options.clone()
            };
            if let Ok(source) = read(&path, &options) {
                let _ = made_of(source, Some(name));
            }
        }
        Ok(())
    })
}

/// Two of the series of a file, others in each damaged copy, because its reader has little time; all of a folder's.
fn some_of(mut names: Vec<String>, path: &Path) -> Vec<String> {
    names.truncate(MOST_SERIES);
    if let Ok(bytes) = fs::read(path)
        && !names.is_empty()
    {
        let mut sum = flate2::Crc::new();
        sum.update(&bytes);
        let first = sum.sum() as usize % names.len();
        names.rotate_left(first);
        names.truncate(2);
    }
    names
}

/// The recording that a plan makes of it, with a trace of each channel.
fn made_of(source: Source, series: Option<String>) -> Result<(), String> {
    // Sources without trials are cut.
    let text = if source.trials.is_some() {
        ""
    } else {
        "trials.every_s = 1.0"
    };
    let mut plan = ImportPlan::from_toml("plan", text).map_err(|e| e.to_string())?;
    if let Some(series) = series {
        let n_channels = source.series.get(&series).map_or(0, |series| series.shape.1);
        for channel in 0..n_channels.min(MOST_SERIES) {
            let trace = BehaviourPlan {
                series: series.clone(),
                channel: Some(Channel::Number(channel)),
            };
            plan.behaviour.insert(format!("trace{channel}"), trace);
        }
    }
    plan.apply(vec![source]).map(|_| ()).map_err(|e| e.to_string())
}

/// Arrays of counts, as `spikes` with what else they may have beside them.
fn binned(path: &Path, source: &Source) -> Result<(), String> {
    let beside = |name: &str| source.arrays.contains_key(name).then(|| name.to_owned());
    let session = BinnedSource {
        id: "session".to_owned(),
        spikes: "spikes".to_owned(),
        spikes_axes: "trial,time,neuron".to_owned(),
        stimulus: beside("stimulus"),
        stimulus_axes: beside("stimulus").map(|_| "time,channel".to_owned()),
        areas: beside("areas"),
        area: beside("areas").is_none().then(|| "area".to_owned()),
        cell_types: beside("cell_types"),
        trial_types: beside("trial_types"),
        stimulus_values: beside("stimulus_values"),
        valid_bins: beside("valid_bins"),
        ..BinnedSource::default()
    };
    let import = BinnedImport {
        bin_ms: 2.0,
        start_ms: 0.0,
        sessions: vec![session],
    };
    import_binned(path, &import).map(|_| ()).map_err(|e| e.to_string())
}

/// What reading comes to: panics and long readings are findings.
fn caught(work: impl FnOnce() -> Result<(), String>) -> Result<Outcome, String> {
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        format!("panic: {}", text.unwrap_or_default())
    })?;
    if start.elapsed() > LONGEST {
        return Err(format!("took {:.1} s", start.elapsed().as_secs_f64()));
    }
    match outcome {
        Ok(()) => Ok(Outcome::Read),
        Err(message) if message.trim().is_empty() => Err("no message".to_owned()),
        Err(message) => Ok(Outcome::Refused(message)),
    }
}

/// A process that reads one file after another.
struct Reader {
    process: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    n_left: usize,
}

impl Reader {
    fn start() -> Result<Self, String> {
        let this = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut process = Command::new("sh")
            .args(["-c", "ulimit -v 2097152; exec \"$0\" \"$1\""])
            .arg(this)
            .arg(READER)
            .env("HDF5_PLUGIN_PRELOAD", "::")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let (Some(requests), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the reader has no pipes".to_owned());
        };
        let (send, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            requests,
            answers,
            n_left: FILES_OF_A_READER,
        })
    }

    /// Its answer; an error where it ended or takes too long.
    fn ask(&mut self, path: &Path) -> Result<String, RecvTimeoutError> {
        self.n_left -= 1;
        writeln!(self.requests, "{}", path.display()).map_err(|_| RecvTimeoutError::Disconnected)?;
        self.answers.recv_timeout(FIRST)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Has it read by the reader, or, where this ends, by the program.
fn by_reader(reader: &mut Option<Reader>, program: &Path, path: &Path) -> Result<Outcome, String> {
    if reader.as_ref().is_none_or(|reader| reader.n_left == 0) {
        *reader = Some(Reader::start()?);
    }
    let asked = reader
        .as_mut()
        .map_or(Err(RecvTimeoutError::Disconnected), |reader| reader.ask(path));
    let answer = match asked {
        Ok(answer) => answer,
        Err(error) => {
            *reader = None;
            let hangs = matches!(error, RecvTimeoutError::Timeout);
            let counter = if hangs { &N_HUNG } else { &N_ENDED };
            let mut counter = counter.lock().unwrap_or_else(PoisonError::into_inner);
            *counter += 1;
            let is_known = hangs && *counter > ASKED_ABOUT_HANGS;
            drop(counter);
            if is_known {
                return Ok(Outcome::Refused("the library hangs".to_owned()));
            }
            return by_program(program, path);
        }
    };
    match answer.split_once(' ').unwrap_or((&answer, "")) {
        ("read", _) => Ok(Outcome::Read),
        ("refused", message) => Ok(Outcome::Refused(message.to_owned())),
        (_, what) => Err(what.to_owned()),
    }
}

/// Cases that ended their reader.
static N_ENDED: Mutex<usize> = Mutex::new(0);
/// Cases in which the library hung.
static N_HUNG: Mutex<usize> = Mutex::new(0);

/// Reads the files that stdin names, one a line.
fn serve() -> ExitCode {
    std::panic::set_hook(Box::new(|_| ()));
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let path = Path::new(&line);
        let outcome = match detect(path) {
            Ok(Layout::Native) => caught(|| {
                let (recording, warnings) = data::file::read_with_warnings(path).map_err(|e| e.to_string())?;
                let _ = data::summary(&recording, &warnings).to_text();
                Ok(())
            }),
            Ok(_) => here(path),
            Err(error) => Ok(Outcome::Refused(error.to_string())),
        };
        // One line, whatever the message.
        let said = match outcome {
            Ok(Outcome::Read) => "read".to_owned(),
            Ok(Outcome::Refused(message)) => format!("refused {}", message.replace('\n', " ")),
            Err(what) => format!("finding {}", what.replace('\n', " ")),
        };
        println!("{said}");
    }
    ExitCode::SUCCESS
}

/// Has it read by the program.
fn by_program(program: &Path, path: &Path) -> Result<Outcome, String> {
    let start = Instant::now();
    let output = Command::new(program)
        .args(["--color", "never", "inspect", "--timeout", "2s", "--limit-mem", "2GiB"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    if start.elapsed() > Duration::from_secs(20) {
        return Err(format!("took {:.1} s", start.elapsed().as_secs_f64()));
    }
    if said.contains("panicked") || said.contains("internal error") {
        return Err(format!("panic: {said}"));
    }
    match output.status.code() {
        Some(0) => Ok(Outcome::Read),
        Some(4) if !said.trim().is_empty() => Ok(Outcome::Refused(said.into_owned())),
        Some(4) => Err("no message".to_owned()),
        Some(code) => Err(format!("exit code {code}: {said}")),
        None => Err(format!("{}: {said}", output.status)),
    }
}
