//! Files are read in a process of their own, which limits itself before it opens them: a damaged or hostile file can end that
//! process, not this one, and takes no more memory and time than is allowed. So are recordings of this program: they come
//! from colleagues too.
//!
//! The request goes to it as one line of JSON, the answer comes back as CBOR on a pipe. Its environment is nearly empty, and no
//! plugin of the HDF5 library is loaded.

use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use data::import::worker::{Answer, Request};
use data::{DataError, Finding, Recording};

/// The hidden command that a reading process runs.
pub const COMMAND: &str = "import-worker";
/// Time that a recording of any size may take: of a small one, unpacking and a busy machine.
const LEAST_TIME: Duration = Duration::from_mins(2);
/// Nothing that works reads more slowly (a network drive does 10 MB/s).
const SLOWEST_BYTES_PER_S: u64 = 1_000_000;
/// Processor time that a recording of any size may take; what else the machine does costs none of it.
const LEAST_PROCESSOR_TIME: Duration = Duration::from_secs(15);
/// No processor unpacks and checks more slowly.
const SLOWEST_BYTES_PER_PROCESSOR_S: u64 = 5_000_000;
/// Time that a file or folder of others may take.
const FOREIGN_TIME: Duration = Duration::from_mins(10);
/// Memory that a file or folder of others may take, bytes.
const FOREIGN_MEMORY: u64 = 4 << 30;
/// Bytes of its stderr that a message quotes.
const SHOWN_STDERR: u64 = 4096;

/// What reading a file may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Address space of the reading process, bytes.
    pub memory_bytes: u64,
    /// Time by the clock.
    pub time: Duration,
    /// Processor time, rounded up to seconds.
    pub processor_time: Duration,
    /// Whether options of the command set them; messages then name these.
    pub is_option: bool,
}

impl Limits {
    /// For a file or folder of others, where nothing else is asked for: 4 GiB, 10 minutes, and, by the size of a file,
    /// processor time for the slowest processor, because the HDF5 library may hang in damaged files.
    pub fn of_foreign(path: &Path, memory_bytes: Option<u64>, time: Option<Duration>) -> Self {
        // Of a folder, files are read that nobody has looked at yet.
        let file_bytes = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
        let by_size = file_bytes.map(|metadata| processor_time(metadata.len()));
        let longest = time.unwrap_or(FOREIGN_TIME);
        Self {
            memory_bytes: memory_bytes.unwrap_or(FOREIGN_MEMORY),
            time: longest,
            processor_time: time.or(by_size).unwrap_or(longest),
            is_option: true,
        }
    }

    /// For a recording of this program, where nothing else is asked for: what memory the machine has, and, by the size of
    /// the file, time for the slowest disk and processor.
    fn of_recording(file_bytes: u64, memory_bytes: Option<u64>, time: Option<Duration>) -> Self {
        Self {
            memory_bytes: memory_bytes.unwrap_or_else(|| crate::memory::total_bytes().unwrap_or(u64::MAX).max(4 << 30)),
            time: time.unwrap_or(LEAST_TIME + Duration::from_secs(file_bytes / SLOWEST_BYTES_PER_S)),
            processor_time: time.unwrap_or(processor_time(file_bytes)),
            is_option: memory_bytes.is_some() || time.is_some(),
        }
    }

    /// Which option allows more, if one does.
    fn hint(self, option: &str) -> String {
        if self.is_option {
            format!(" (hint: {option} allows more)")
        } else {
            String::new()
        }
    }
}

/// What the slowest processor takes to unpack and check a file of that size.
fn processor_time(file_bytes: u64) -> Duration {
    LEAST_PROCESSOR_TIME + Duration::from_secs(file_bytes / SLOWEST_BYTES_PER_PROCESSOR_S)
}

/// Whether this executable runs [`COMMAND`].
static IS_SERVED: AtomicBool = AtomicBool::new(false);

/// Says that this executable runs [`COMMAND`]; without it, as in tests that use this library, recordings are read within the
/// process.
pub fn enable() {
    IS_SERVED.store(true, Ordering::Relaxed);
}

/// Reads a recording of this program, with what should be looked at, in a process of its own, with as much address space (bytes)
/// and time as is given, or as a recording of its size may take.
///
/// # Errors
/// As [`data::file::read_with_warnings`], as a text; [`DataError::Reader`] where the process crashed or ran out of memory.
pub fn read_recording(
    path: &Path,
    memory_bytes: Option<u64>,
    time: Option<Duration>,
) -> Result<(Recording, Vec<Finding>), DataError> {
    if !IS_SERVED.load(Ordering::Relaxed) {
        return data::file::read_with_warnings(path);
    }
    let request = Request::Native {
        path: path.to_path_buf(),
    };
    // A file that can't be looked at takes no time: reading says why.
    let file_bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let limits = Limits::of_recording(file_bytes, memory_bytes, time);
    match read(path, &request, limits)? {
        Answer::Native(recording, warnings) => Ok((recording, warnings)),
        answer => Err(not_asked_for(path, answer)),
    }
}

/// The reader's message, which names the file.
pub fn not_asked_for(path: &Path, answer: Answer) -> DataError {
    let path = path.to_path_buf();
    match answer {
        Answer::Failed(message) => DataError::Told { path, message },
        _ => DataError::Reader {
            path,
            message: "the reader answered another question".to_owned(),
        },
    }
}

/// Reads a file in a process of its own.
///
/// # Errors
/// [`DataError::Reader`] that says how it ended: crashed, out of memory, too slow.
pub fn read(path: &Path, request: &Request, limits: Limits) -> Result<Answer, DataError> {
    let fail = |message: String| DataError::Reader {
        path: path.to_path_buf(),
        message,
    };
    let start = |error: std::io::Error| fail(format!("the process that reads it could not be started: {error}"));
    let line = serde_json::to_string(request).map_err(|error| {
        fail(format!(
            "its path can't be told to the process that reads it ({error}); rename it"
        ))
    })?;
    let program = std::env::current_exe().map_err(start)?;
    let mut child = Command::new(program);
    child.env_clear();
    // Whether files are locked while they are open is the user's choice, and where libraries are found.
    for name in [
        "HDF5_USE_FILE_LOCKING",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
    ] {
        if let Some(value) = std::env::var_os(name) {
            child.env(name, value);
        }
    }
    // No plugin of the HDF5 library, also none of the folder that it was built with.
    child.env("HDF5_PLUGIN_PRELOAD", "::");
    let mut child = child
        .arg(COMMAND)
        .args([
            limits.memory_bytes.to_string(),
            limits.processor_time.as_secs_f64().ceil().to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    let outcome = converse(&mut child, line.as_bytes(), limits);
    if outcome.answer.is_none() {
        // It may have ended by itself.
        let _ = child.kill();
    }
    let status = child.wait().map_err(start)?;
    match outcome.answer {
        Some(Ok(answer)) if status.success() => Ok(answer),
        Some(Err(message)) if status.success() => {
            Err(fail(format!("the reader's answer can't be understood: {message}")))
        }
        Some(_) => Err(fail(ending(status, &outcome.stderr, limits))),
        None => Err(fail(format!(
            "reading took more than {} s{}",
            limits.time.as_secs_f64(),
            limits.hint("--timeout")
        ))),
    }
}

/// What a reading process said.
struct Outcome {
    /// None if it said nothing in time.
    answer: Option<Result<Answer, String>>,
    stderr: String,
}

/// Sends the request and waits for the answer, each pipe in a thread of its own, so that none blocks another.
fn converse(child: &mut Child, request: &[u8], limits: Limits) -> Outcome {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        scope.spawn(move || {
            if let Some(mut stdin) = stdin {
                // A process that has ended takes no request; its status says why.
                let _ = stdin
                    .write_all(request)
                    .and_then(|()| stdin.write_all(b"\n"))
                    .and_then(|()| stdin.flush());
                // The pipe stays open until there is an answer: where it ends before, this process has, and the reader with it.
                let _ = is_done.recv();
            }
        });
        let told = scope.spawn(move || {
            let mut text = Vec::new();
            if let Some(mut stderr) = stderr {
                let _ = stderr.by_ref().take(SHOWN_STDERR).read_to_end(&mut text);
                let _ = std::io::copy(&mut stderr, &mut std::io::sink());
            }
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        let (send, receive) = mpsc::channel();
        scope.spawn(move || {
            let answer = match stdout {
                // An answer is no larger than what the process may hold.
                Some(stdout) => Answer::read(std::io::BufReader::with_capacity(
                    1 << 20,
                    stdout.take(limits.memory_bytes),
                )),
                None => Err("no pipe".to_owned()),
            };
            // The receiver is gone when time is up.
            let _ = send.send(answer);
        });
        let answer = receive.recv_timeout(limits.time).ok();
        drop(done);
        if answer.is_none() {
            // Ends the pipes, and with them the threads.
            let _ = child.kill();
        }
        Outcome {
            answer,
            stderr: told.join().unwrap_or_default(),
        }
    })
}

/// How a process ended that gave no answer.
fn ending(status: ExitStatus, stderr: &str, limits: Limits) -> String {
    let gib = limits.memory_bytes as f64 / (1u64 << 30) as f64;
    if stderr.contains("memory allocation of") {
        return format!("reading takes more than {gib:.2} GiB{}", limits.hint("--limit-mem"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        const SIGXCPU: i32 = 24;
        const SIGKILL: i32 = 9;
        match status.signal() {
            Some(SIGXCPU) => {
                let s = limits.processor_time.as_secs_f64();
                return format!(
                    "reading took more than {s} s of processor time: the file may be damaged (hint: does `h5dump -H` read it?{})",
                    if limits.is_option {
                        " --timeout allows more"
                    } else {
                        " snnfit inspect --timeout allows it more, to see whether it ends"
                    }
                );
            }
            Some(SIGKILL) => {
                return "the process that reads it was killed, as a machine does that runs out of memory".to_owned();
            }
            Some(signal) => {
                let more = if limits.is_option {
                    " --limit-mem allows more"
                } else {
                    ""
                };
                return format!(
                    "the process that reads it ended by signal {signal}: the file is damaged, or takes more than {gib:.2} GiB \
                     (hint: does `h5dump -H` read it?{more})"
                );
            }
            None => {}
        }
    }
    let said = if stderr.is_empty() {
        String::new()
    } else {
        format!(": {stderr}")
    };
    format!("the process that reads it failed ({status}){said}")
}

/// The reading process: limits itself, reads the request, answers.
///
/// # Errors
/// What keeps it from answering; faults of the file are answers.
pub fn serve(limits: Limits) -> Result<(), String> {
    limit(limits).map_err(|error| format!("limits can't be set: {error}"))?;
    let mut text = String::new();
    let mut stdin = std::io::stdin().lock();
    stdin.read_line(&mut text).map_err(|error| error.to_string())?;
    drop(stdin);
    // The one that asked keeps the pipe open until it has its answer; where it ends before, nobody waits for one.
    let has_read = Arc::new(AtomicBool::new(false));
    let reading = Arc::clone(&has_read);
    #[allow(clippy::exit)] // the thread that reads can't be asked to stop
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        if !reading.load(Ordering::SeqCst) {
            std::process::exit(i32::from(crate::exit_code::DATA));
        }
    });
    let request: Request = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let answer = data::import::worker::answer(&request);
    has_read.store(true, Ordering::SeqCst);
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    answer.write(&mut out)?;
    out.flush().map_err(|error| error.to_string())
}

#[cfg(unix)]
fn limit(limits: Limits) -> std::io::Result<()> {
    use rlimit::Resource;
    let seconds = limits.processor_time.as_secs().max(1) + 1;
    for (resource, most) in [
        (Resource::AS, limits.memory_bytes),
        (Resource::CPU, seconds),
        (Resource::FSIZE, 0),
        (Resource::CORE, 0),
    ] {
        // Where a hard limit is lower already, that one holds. At the hard limit of processor time a process is killed like one
        // that the machine ends: the signal that says what happened comes before.
        let (_, hard) = resource.get()?;
        let room = if resource == Resource::CPU { 2 } else { 0 };
        resource.set(most.min(hard), most.saturating_add(room).min(hard))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn limit(_: Limits) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_recording_is_given_up_soon_and_a_large_one_gets_the_time_that_it_needs() {
        let limits = |bytes: u64| Limits::of_recording(bytes, None, None);
        let seconds = |bytes: u64| limits(bytes).time.as_secs();
        assert_eq!([seconds(0), seconds(300_000), seconds(500_000_000)], [120, 120, 620]);
        // 100 GB at 10 MB/s take 10 000 s.
        assert!(seconds(100_000_000_000) > 10_000);
        let processor = |bytes: u64| limits(bytes).processor_time.as_secs();
        assert_eq!(
            [processor(0), processor(300_000), processor(500_000_000)],
            [15, 15, 115]
        );
        let asked_for = Limits::of_recording(0, Some(1 << 30), Some(Duration::from_secs(3)));
        assert_eq!(asked_for.memory_bytes, 1 << 30);
        assert_eq!(asked_for.time, asked_for.processor_time);
    }

    #[test]
    fn a_file_of_others_has_processor_time_by_its_size_and_a_folder_what_the_clock_allows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mouse.nwb");
        std::fs::write(&path, vec![0; 12_000_000]).unwrap();
        let seconds = |path: &Path, time: Option<u64>| {
            let limits = Limits::of_foreign(path, None, time.map(Duration::from_secs));
            [limits.time.as_secs(), limits.processor_time.as_secs()]
        };
        assert_eq!(seconds(&path, None), [600, 17]);
        assert_eq!(seconds(&path, Some(3)), [3, 3]);
        assert_eq!(seconds(folder.path(), None), [600, 600]);
    }
}
