//! `snnfit synth`: artificial recordings.

use std::path::Path;

use data::six_area::{AREAS, Frequencies};
use data::synth::{RecordedAreas, TwoAreaOptions};
use data::{Connectivity, DataError, Recording};
use snn_core::rng::StreamRng;

use crate::cli::{Format, Global, RecordedAreasName, SixAreaArgs, SynthArgs, SynthKind, TeacherArgs, TwoAreaArgs};
use crate::error::Error;
use crate::exit_code;
use crate::progress::{self, Progress, Snapshot};
use crate::six_area::{self, SilencedArea, SixAreaOptions};
use crate::teacher::{self, TeacherOptions};

pub(super) fn run(args: &SynthArgs, global: &Global) -> Result<u8, Error> {
    let mut connectivity_to_write = None;
    let (out, recording) = match &args.kind {
        SynthKind::TwoArea(args) => {
            let options = options(args)?;
            super::refuse_existing(&args.out)?;
            let mut rng = StreamRng::new(args.seed, "synth", 0);
            let recording = data::two_area(&options, &mut rng).map_err(option_error)?;
            (&args.out, recording)
        }
        SynthKind::SixArea(args) => {
            let options = six_area_options(args)?;
            check_outputs(&args.out, args.network.as_deref())?;
            let (recording, connectivity) = six_area_recording(&options, global)?;
            connectivity_to_write = args.network.as_ref().map(|network| (network, connectivity));
            (&args.out, recording)
        }
        SynthKind::Teacher(args) => {
            let options = teacher_options(args);
            check_outputs(&args.out, args.network.as_deref())?;
            let generated = teacher::teacher(&options)?;
            tracing::info!("{}", of_teacher(&generated.statistics));
            let connectivity = generated.connectivity;
            connectivity_to_write = args.network.as_ref().map(|network| (network, connectivity));
            (&args.out, generated.recording)
        }
    };
    data::write(out, &recording).map_err(super::output_error)?;
    tracing::info!("wrote {}", out.display());
    if let Some((network, connectivity)) = connectivity_to_write {
        data::write_connectivity(network, &connectivity).map_err(super::output_error)?;
        tracing::info!("wrote {}", network.display());
    }
    print_summary(&recording, global)?;
    Ok(exit_code::DONE)
}

/// Refuses files that exist, and one file for both: the second would find the first.
fn check_outputs(out: &Path, network: Option<&Path>) -> Result<(), Error> {
    super::refuse_existing(out)?;
    let Some(network) = network else { return Ok(()) };
    // Folders may have several names; the files are not there yet.
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        path.file_name().map(|name| folder.join(name))
    };
    if place(network) == place(out) {
        return Err(Error::Usage {
            message: format!("--out and --network are the same file, {}", out.display()),
            help: "the recording and the network are two files: name another one".to_owned(),
        });
    }
    super::refuse_existing(network)
}

fn six_area_recording(options: &SixAreaOptions, global: &Global) -> Result<(Recording, Connectivity), Error> {
    let mode = if global.quiet > 0 {
        progress::Mode::None
    } else {
        global.progress
    };
    let mut progress = Progress::new(mode);
    let recording = six_area::six_area(options, |done, of| {
        progress.update(&Snapshot {
            step: done as u64,
            max_steps: of as u64,
            ..Snapshot::default()
        });
    });
    progress.finish();
    recording
}

fn six_area_options(args: &SixAreaArgs) -> Result<SixAreaOptions, Error> {
    let base = if args.small {
        SixAreaOptions::small(args.seed)
    } else {
        SixAreaOptions::published(args.seed)
    };
    let silenced = match (&args.silence, &args.silence_ms) {
        (Some(name), Some(window_ms)) => Some(SilencedArea {
            area: AREAS.iter().position(|area| area == name).ok_or_else(|| Error::Usage {
                message: format!("--silence {name}: there is no such area"),
                help: format!("the areas are {}", AREAS.join(", ")),
            })?,
            window_ms: pair("--silence-ms", window_ms)?,
        }),
        _ => None,
    };
    Ok(SixAreaOptions {
        session_sizes: args.session_sizes.clone().unwrap_or(base.session_sizes),
        n_trials: args.trials.unwrap_or(base.n_trials),
        n_per_area: args.neurons_per_area.unwrap_or(base.n_per_area),
        frequencies: Frequencies {
            p_go: args.p_go.unwrap_or(base.frequencies.p_go),
            p_hit: args.p_hit.unwrap_or(base.frequencies.p_hit),
            p_false_alarm: args.p_false_alarm.unwrap_or(base.frequencies.p_false_alarm),
        },
        seed: args.seed,
        silenced,
        is_whole: args.whole,
    })
}

fn teacher_options(args: &TeacherArgs) -> TeacherOptions {
    let base = if args.small {
        TeacherOptions::small(args.seed)
    } else {
        TeacherOptions::published(args.seed)
    };
    TeacherOptions {
        n_visible: args.visible.unwrap_or(base.n_visible),
        n_hidden: args.hidden.unwrap_or(base.n_hidden),
        inhibitory_share: args.inhibitory_share.unwrap_or(base.inhibitory_share),
        bin_ms: args.bin_ms.unwrap_or(base.bin_ms),
        n_lags: args.lags.unwrap_or(base.n_lags),
        n_bins: args.bins.unwrap_or(base.n_bins),
        n_trials: args.trials.unwrap_or(base.n_trials),
        n_other_movies: args.other_movies.unwrap_or(base.n_other_movies),
        p_connection: args.connection_probability.unwrap_or(base.p_connection),
        coupling: args.coupling.unwrap_or(base.coupling),
        coupling_spread: args.coupling_spread.unwrap_or(base.coupling_spread),
        inhibition: args.inhibition.unwrap_or(base.inhibition),
        decay_ms: args.decay_ms.unwrap_or(base.decay_ms),
        self_coupling: args.self_coupling.unwrap_or(base.self_coupling),
        self_decay_ms: args.self_decay_ms.unwrap_or(base.self_decay_ms),
        rate_hz: args.rate_hz.unwrap_or(base.rate_hz),
        rate_spread: args.rate_spread.unwrap_or(base.rate_spread),
        rate_limit_hz: args.rate_limit_hz.unwrap_or(base.rate_limit_hz),
        n_channels: args.channels.unwrap_or(base.n_channels),
        movie_ms: args.movie_ms.unwrap_or(base.movie_ms),
        drive: args.drive.unwrap_or(base.drive),
        field_channels: args.field_channels.unwrap_or(base.field_channels),
        response_ms: args.response_ms.unwrap_or(base.response_ms),
        n_stimulus_lags: args.stimulus_lags.unwrap_or(base.n_stimulus_lags),
        seed: args.seed,
    }
}

/// What the teacher's activity is like, one line.
fn of_teacher(statistics: &teacher::Statistics) -> String {
    let correlations = statistics.noise_correlation.map_or(String::new(), |[mean, sd]| {
        format!(", noise correlations {mean:.3} ± {sd:.3} in single bins")
    });
    format!(
        "visible neurons fire at {:.2} Hz{correlations}; over 200 ms all neurons fire at most {:.1} times their mean",
        statistics.rate_hz, statistics.largest
    )
}

/// Prints what a recording contains, as `inspect` does.
pub(super) fn print_summary(recording: &Recording, global: &Global) -> Result<(), Error> {
    let warnings = data::check(recording).warnings;
    let summary = data::summary(recording, &warnings);
    match global.format {
        Format::Json => super::print_json(&summary),
        Format::Text => super::print(&super::visible(&summary.to_text())),
    }
}

fn option_error(error: DataError) -> Error {
    match error {
        DataError::BadOption { name, found, expected } => Error::Usage {
            message: format!("{name} is {found}; expected {expected}"),
            help: "`snnfit help synth two-area` explains every option".to_owned(),
        },
        other => Error::Data(other),
    }
}

fn pair<T: Clone>(flag: &str, values: &[T]) -> Result<[T; 2], Error> {
    <[T; 2]>::try_from(values.to_vec()).map_err(|_| Error::Usage {
        message: format!("{flag} has {} values; expected 2", values.len()),
        help: format!("separate them by a comma: {flag} A,B"),
    })
}

fn options(args: &TwoAreaArgs) -> Result<TwoAreaOptions, Error> {
    let base = if args.small {
        TwoAreaOptions::small()
    } else {
        TwoAreaOptions::default()
    };
    let session_areas = args
        .session_areas
        .as_ref()
        .map(|areas| areas.iter().copied().map(recorded_areas).collect());
    Ok(TwoAreaOptions {
        n_sessions: args.sessions.unwrap_or(base.n_sessions),
        session_areas: session_areas.unwrap_or(base.session_areas),
        area_names: match &args.area_names {
            Some(names) => pair("--area-names", names)?,
            None => base.area_names,
        },
        n_neurons: args.neurons.unwrap_or(base.n_neurons),
        n_excitatory: args.excitatory.unwrap_or(base.n_excitatory),
        n_trials: args.trials.unwrap_or(base.n_trials),
        trial_ms: args.trial_ms.unwrap_or(base.trial_ms),
        bin_ms: args.bin_ms.unwrap_or(base.bin_ms),
        stimulus_ms: args.stimulus_ms.unwrap_or(base.stimulus_ms),
        stimulus: args.stimulus.unwrap_or(base.stimulus),
        p_hit: args.p_hit.unwrap_or(base.p_hit),
        rate_excitatory_hz: args.rate_excitatory_hz.unwrap_or(base.rate_excitatory_hz),
        rate_inhibitory_hz: args.rate_inhibitory_hz.unwrap_or(base.rate_inhibitory_hz),
        rate_spread: args.rate_spread.unwrap_or(base.rate_spread),
        rate_limit_hz: args.rate_limit_hz.unwrap_or(base.rate_limit_hz),
        rate_limit_jitter_hz: args.rate_limit_jitter_hz.unwrap_or(base.rate_limit_jitter_hz),
        decay_ms: args.decay_ms.unwrap_or(base.decay_ms),
        rise_ms: args.rise_ms.unwrap_or(base.rise_ms),
        response_ms: args.response_ms.unwrap_or(base.response_ms),
        latency_ms: match &args.latency_ms {
            Some(latencies) => pair("--latency-ms", latencies)?,
            None => base.latency_ms,
        },
        latency_jitter_ms: args.latency_jitter_ms.unwrap_or(base.latency_jitter_ms),
        response_peak: args.response_peak.unwrap_or(base.response_peak),
        modulations: args.modulations.clone().unwrap_or(base.modulations),
        modulation_probabilities: args
            .modulation_probabilities
            .clone()
            .unwrap_or(base.modulation_probabilities),
    })
}

fn recorded_areas(name: RecordedAreasName) -> RecordedAreas {
    match name {
        RecordedAreasName::Both => RecordedAreas::Both,
        RecordedAreasName::First => RecordedAreas::First,
        RecordedAreasName::Second => RecordedAreas::Second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn parsed(flags: &[&str]) -> Result<TwoAreaOptions, Error> {
        let line = ["snnfit", "synth", "two-area", "--out", "x.h5"].iter().chain(flags);
        let Command::Synth(SynthArgs {
            kind: SynthKind::TwoArea(args),
        }) = Cli::parse_from(line).command
        else {
            panic!("expected synth")
        };
        options(&args)
    }

    #[test]
    fn without_options_the_generator_is_that_of_the_publication() {
        assert_eq!(parsed(&[]).unwrap(), TwoAreaOptions::default());
        assert_eq!(parsed(&["--small"]).unwrap(), TwoAreaOptions::small());
    }

    #[test]
    fn every_option_changes_its_constant() {
        // Each flag with a value that is not its default; the JSON of the options must differ in exactly that field.
        let flags = [
            ("--sessions", "3", "n_sessions"),
            ("--session-areas", "first,second", "session_areas"),
            ("--area-names", "S1,M1", "area_names"),
            ("--neurons", "200", "n_neurons"),
            ("--excitatory", "70", "n_excitatory"),
            ("--trials", "10", "n_trials"),
            ("--trial-ms", "2000", "trial_ms"),
            ("--bin-ms", "2", "bin_ms"),
            ("--stimulus-ms", "500", "stimulus_ms"),
            ("--stimulus", "1", "stimulus"),
            ("--p-hit", "0.5", "p_hit"),
            ("--rate-excitatory-hz", "5", "rate_excitatory_hz"),
            ("--rate-inhibitory-hz", "10", "rate_inhibitory_hz"),
            ("--rate-spread", "1.5", "rate_spread"),
            ("--rate-limit-hz", "50", "rate_limit_hz"),
            ("--rate-limit-jitter-hz", "5", "rate_limit_jitter_hz"),
            ("--decay-ms", "30", "decay_ms"),
            ("--rise-ms", "3", "rise_ms"),
            ("--response-ms", "100", "response_ms"),
            ("--latency-ms", "4,200", "latency_ms"),
            ("--latency-jitter-ms", "5", "latency_jitter_ms"),
            ("--response-peak", "2", "response_peak"),
            ("--modulations", "-1,0,1", "modulations"),
            (
                "--modulation-probabilities",
                "0.1,0.1,0.2,0.4,0.2",
                "modulation_probabilities",
            ),
        ];
        let json = |options: &TwoAreaOptions| serde_json::to_value(options).unwrap().as_object().unwrap().clone();
        let default = json(&TwoAreaOptions::default());
        assert_eq!(default.len(), flags.len(), "one flag for each constant");
        for (flag, value, field) in flags {
            let changed = json(&parsed(&[flag, value]).unwrap());
            let different: Vec<&String> = default.keys().filter(|key| default[*key] != changed[*key]).collect();
            assert_eq!(different, [field], "{flag}");
        }
    }

    #[test]
    fn every_option_of_the_teacher_changes_its_constant_and_is_checked() {
        let of = |flags: &[&str]| {
            let line = ["snnfit", "synth", "teacher", "--out", "x.h5"].iter().chain(flags);
            let Command::Synth(SynthArgs {
                kind: SynthKind::Teacher(args),
            }) = Cli::parse_from(line).command
            else {
                panic!("expected synth")
            };
            teacher_options(&args)
        };
        assert_eq!(of(&[]), TeacherOptions::published(0));
        assert_eq!(of(&["--small", "--seed", "3"]), TeacherOptions::small(3));
        // Flag, another value than the default, one out of range, and the constant.
        let flags = [
            ("--visible", "70", "0", "n_visible"),
            ("--hidden", "0", "5000", "n_hidden"),
            ("--inhibitory-share", "0.3", "1", "inhibitory_share"),
            ("--bin-ms", "20", "0", "bin_ms"),
            ("--lags", "3", "0", "n_lags"),
            ("--bins", "50", "1", "n_bins"),
            ("--trials", "7", "0", "n_trials"),
            ("--other-movies", "7", "100001", "n_other_movies"),
            ("--connection-probability", "0.2", "1.1", "p_connection"),
            ("--coupling", "0.1", "nan", "coupling"),
            ("--coupling-spread", "0.1", "3", "coupling_spread"),
            ("--inhibition", "0.1", "11", "inhibition"),
            ("--decay-ms", "20", "0", "decay_ms"),
            ("--self-coupling", "-2", "3", "self_coupling"),
            ("--self-decay-ms", "20", "inf", "self_decay_ms"),
            ("--rate-hz", "2", "13", "rate_hz"),
            ("--rate-spread", "0.1", "3", "rate_spread"),
            ("--rate-limit-hz", "11", "2", "rate_limit_hz"),
            ("--channels", "4", "0", "n_channels"),
            ("--movie-ms", "0", "inf", "movie_ms"),
            ("--drive", "0.1", "6", "drive"),
            ("--field-channels", "2", "0", "field_channels"),
            ("--response-ms", "20", "0", "response_ms"),
            ("--stimulus-lags", "2", "101", "n_stimulus_lags"),
        ];
        let json = |options: &TeacherOptions| serde_json::to_value(options).unwrap().as_object().unwrap().clone();
        let default = json(&TeacherOptions::published(0));
        assert_eq!(
            default.len(),
            flags.len() + 1,
            "one flag for each constant, and the seed"
        );
        for (flag, value, refused, field) in flags {
            let changed = of(&[flag, value]);
            changed.check().unwrap();
            let changed = json(&changed);
            let different: Vec<&String> = default.keys().filter(|key| default[*key] != changed[*key]).collect();
            assert_eq!(different, [field], "{flag}");
            let error = of(&[flag, refused]).check().unwrap_err();
            assert_eq!(error.exit_code(), exit_code::USAGE, "{flag}");
            let told = error.to_string();
            assert!(told.starts_with(&format!("{flag} is ")) || field == "rate_hz", "{told}");
        }
    }

    #[test]
    fn a_list_of_the_wrong_length_is_a_usage_error() {
        let error = parsed(&["--latency-ms", "1,2,3"]).unwrap_err();
        assert_eq!(error.exit_code(), exit_code::USAGE);
    }
}
