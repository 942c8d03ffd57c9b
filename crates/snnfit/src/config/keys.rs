//! Every key of the configuration, described once: source of the starter file and of `config schema`.

mod spike_history;

use std::fmt::Write as _;

use serde::Serialize;

/// Whether a key has to be written.
#[derive(Clone, Copy)]
enum Presence {
    /// Must be written; an example.
    Required(&'static str),
    /// May be left out; the default.
    Default(&'static str),
    /// May be left out; an example, and what its absence means.
    Optional(&'static str, &'static str),
}
use Presence::{Default, Optional, Required};

struct Key {
    name: &'static str,
    presence: Presence,
    meaning: &'static str,
    /// Keys inside of its table, `name = { … }`.
    inside: &'static [Key],
}

struct Section {
    /// Header line of the table, empty for the top level.
    header: &'static str,
    /// Whether the starter file uses it; otherwise it is an alternative, written as a comment.
    is_used: bool,
    about: &'static str,
    keys: &'static [Key],
}

const fn key(name: &'static str, presence: Presence, meaning: &'static str) -> Key {
    table(name, presence, meaning, &[])
}

const fn table(name: &'static str, presence: Presence, meaning: &'static str, inside: &'static [Key]) -> Key {
    Key {
        name,
        presence,
        meaning,
        inside,
    }
}

/// The key that every loss has.
const fn weight(default: &'static str) -> Key {
    key("weight", Default(default), "factor of the loss")
}

const SECTIONS: &[Section] = &[
    Section {
        header: "",
        is_used: true,
        about: "",
        keys: &[
            key("schema", Required("1"), "version of this format"),
            key("seed", Default("0"), "seed of initialisation, noise and stitching"),
            key(
                "preset",
                Optional("\"sourmpis2023_code\"", "no preset"),
                "other defaults: \"sourmpis2023_code\" does what that paper's code does",
            ),
        ],
    },
    Section {
        header: "[data]",
        is_used: true,
        about: "the recording",
        keys: &[
            key(
                "files",
                Required("[\"recording.h5\"]"),
                "recording files, relative to this file",
            ),
            key("bin_ms", Required("2.0"), "width of a time step, ms"),
            key(
                "window_ms",
                Optional("[-100.0, 300.0]", "whole trials"),
                "start and stop relative to the alignment event, ms",
            ),
            key(
                "sessions",
                Optional("[\"session1\"]", "all sessions"),
                "sessions to use",
            ),
            key(
                "behaviour",
                Default("[]"),
                "behaviour traces to fit; sessions without one match on what they have",
            ),
            key(
                "max_rate_hz",
                Optional("40.0", "no limit"),
                "leave out neurons that fire faster, Hz",
            ),
        ],
    },
    Section {
        header: "[data.traces.jaw]",
        is_used: false,
        about: "what a trace of data.behaviour (here: jaw) is compared as: (trace - baseline) / scale * factor",
        keys: &[
            key(
                "baseline",
                Default("\"none\""),
                "subtract \"none\", or the mean over baseline_ms of each \"trial\", or of the \"session\" (training trials)",
            ),
            key(
                "baseline_ms",
                Optional("[-200.0, 0.0]", "from the start of the window to 0"),
                "start and stop relative to the alignment event, ms",
            ),
            key(
                "scale",
                Default("\"none\""),
                "divide by \"none\", or by the \"session\": root of the mean over time of the variance over training trials",
            ),
            key("factor", Default("1.0"), "-1.0 turns the trace over"),
        ],
    },
    Section {
        header: "[split]",
        is_used: true,
        about: "trials of each session, divided within each trial type",
        keys: &[
            key(
                "test_fraction",
                Default("0.25"),
                "share that only `snnfit evaluate` opens",
            ),
            key(
                "validation_fraction",
                Default("0.15"),
                "share of the rest that early stopping sees",
            ),
            key("seed", Default("1"), "seed of the split alone"),
        ],
    },
    Section {
        header: "[split.sessions.session1]",
        is_used: false,
        about: "a session (here: session1) whose parts are named instead; what is in neither is fitted",
        keys: &[
            key(
                "test",
                Default("[]"),
                "\"all\", or a list of trials by number in the recording, from 0, and of ranges such as \"80-119\"",
            ),
            key("validation", Default("[]"), "the same for validation"),
        ],
    },
    Section {
        header: "[model.rsnn]",
        is_used: true,
        about: "recurrent network of leaky integrate-and-fire neurons with Bernoulli spikes",
        keys: &[
            key(
                "n_neurons",
                Optional("500", "every recorded neuron"),
                "neurons that stand for recorded ones",
            ),
            key("n_hidden", Default("0"), "hidden neurons, added to these"),
            key(
                "areas",
                Optional("[\"area1\", \"area2\"]", "areas of the recording"),
                "areas, in model order",
            ),
            key(
                "p_exc",
                Default("0.8"),
                "share of excitatory neurons where n_neurons is given",
            ),
            key("dale", Default("true"), "one sign for all outgoing weights of a neuron"),
            key(
                "tau_m_exc_ms",
                Default("30.0"),
                "membrane time constant of excitatory neurons, ms",
            ),
            key(
                "tau_m_inh_ms",
                Default("10.0"),
                "membrane time constant of inhibitory neurons, ms",
            ),
            key("threshold", Default("0.1"), "threshold above rest (dimensionless)"),
            key("delay_ms", Default("4.0"), "shortest synaptic delay, ms"),
            key(
                "max_delay_ms",
                Optional("4.0", "delay_ms"),
                "longest synaptic delay, ms",
            ),
            key("delay_groups", Default("1"), "weight matrices with different delays"),
            key("refractory_ms", Default("4.0"), "silence after a spike, ms"),
            key("temperature", Default("15.0"), "slope of the spike probability"),
            key(
                "p_scale",
                Optional("1.0", "bin_ms / 2"),
                "factor of the spike probability",
            ),
            key("noise", Default("0.1"), "noise in units of the threshold, per √ms"),
            key("current_scale", Default("0.5"), "factor of the synaptic current"),
            key(
                "surrogate_damping",
                Default("0.3"),
                "factor of the surrogate derivative of a spike",
            ),
            key(
                "warmup_ms",
                Default("300.0"),
                "simulated before each trial, without gradient, ms",
            ),
            key(
                "inter_area",
                Default("\"excitatory\""),
                "synapses between areas: excitatory (neurons project), all or none; projections add to it",
            ),
            key(
                "train_resting_potential",
                Default("true"),
                "whether the resting potential is trained",
            ),
            key(
                "train_noise_gain",
                Default("false"),
                "whether the noise gain is trained",
            ),
        ],
    },
    Section {
        header: "[[model.rsnn.projections]]",
        is_used: false,
        about: "exceptions to inter_area, one table for each, a later one wins: long-range inhibition, for example",
        keys: &[
            key(
                "from",
                Required("\"striatum\""),
                "presynaptic area, list of areas, or \"*\" for all",
            ),
            key(
                "type",
                Optional("\"inhibitory\"", "every type"),
                "presynaptic neurons: excitatory, inhibitory or unknown",
            ),
            key(
                "to",
                Required("[\"pallidum\", \"SNr\"]"),
                "the same for postsynaptic areas, or \"others\": all but their own",
            ),
            key("allow", Default("true"), "whether there may be synapses"),
            key(
                "sign",
                Optional("\"negative\"", "as the type has it"),
                "positive, negative or free: for unknown neurons, or with dale = false",
            ),
        ],
    },
    Section {
        header: "[model.rsnn.input.poisson]",
        is_used: true,
        about: "input: Poisson neurons, some driven by the stimulus",
        keys: &[
            key("n", Default("200"), "number of inputs"),
            key("rate_hz", Default("5.0"), "background rate of each, Hz"),
            key("p_exc", Default("0.8"), "share of excitatory inputs"),
            key("p_stim", Default("0.5"), "share of stimulus-driven inputs"),
            key(
                "onsets_ms",
                Default("[0.0]"),
                "stimulus onsets relative to the alignment event, ms",
            ),
            key("delay_ms", Default("4.0"), "from onset to response, ms"),
            key("duration_ms", Default("10.0"), "duration of the response, ms"),
            key("gain", Default("11.5"), "gain of the stimulus value s on the rate"),
            key(
                "scale",
                Default("\"log\""),
                "rate factor: \"log\" 1 + gain·ln(1+s), \"linear\" 1 + gain·s",
            ),
        ],
    },
    Section {
        header: "[[model.rsnn.input.poisson.channels]]",
        is_used: false,
        about: "instead of onsets_ms: a table for each group of driven inputs; model trials take events and values of recorded trials",
        keys: &[
            key(
                "event",
                Optional("\"go_cue\"", "onset_ms says when"),
                "they answer to this event of trials (trials/events of the recording)",
            ),
            key(
                "onset_ms",
                Optional("0.0", "event says when"),
                "or at this time relative to the alignment event, ms",
            ),
            key(
                "share",
                Optional("0.5", "an equal part of what others leave"),
                "share of the stimulus-driven inputs",
            ),
            key(
                "amplitude",
                Optional("\"contrast\"", "s = 1"),
                "s of the response: a value of trials (trials/values), or \"stimulus\"",
            ),
            key(
                "duration_ms",
                Optional("10.0", "that of the inputs"),
                "duration of the response, ms",
            ),
            key("gain", Optional("11.5", "that of the inputs"), "gain of s on the rate"),
        ],
    },
    Section {
        header: "[model.rsnn.input.recorded]",
        is_used: false,
        about: "instead: the recorded stimulus, lagged",
        keys: &[
            key("lags", Default("30"), "number of lags, from 0"),
            key("lag_step_ms", Default("10.0"), "distance between lags, ms"),
            key("scale", Default("1.0"), "factor on the recorded values"),
            key("offset", Default("0.0"), "added after scaling"),
        ],
    },
    Section {
        header: "[model.rsnn.latent.mlp]",
        is_used: true,
        about: "offsets that differ from trial to trial; leave the table out for none",
        keys: &[
            key("dimensions", Default("5"), "dimensions of the latent"),
            key("bound", Default("false"), "clip offsets to ±20 % of the threshold"),
            key(
                "init_scale",
                Default("1.0"),
                "factor on the published initial size of the offsets",
            ),
            key(
                "weight_decay",
                Default("0.0"),
                "at each update offsets shrink by the factor 1 − lr·weight_decay",
            ),
            key(
                "knots_ms",
                Default("[]"),
                "times (ms after alignment, two or more) at which a trial's offset takes values of its own, linear between, constant \
                 before and after; []: constant in the trial",
            ),
            key(
                "stimulus_from_ms",
                Optional("0.0", "never"),
                "one of the knots: after it, not at it or before, offsets may depend on the value of the stimulus",
            ),
        ],
    },
    Section {
        header: "[model.rsnn.latent.linear]",
        is_used: false,
        about: "instead: a linear map",
        keys: &[
            key("dimensions", Default("5"), "dimensions of the latent"),
            key("bound", Default("false"), "clip offsets to ±20 % of the threshold"),
            key(
                "init_scale",
                Default("1.0"),
                "factor on the published initial size of the offsets",
            ),
            key(
                "weight_decay",
                Default("0.0"),
                "at each update offsets shrink by the factor 1 − lr·weight_decay",
            ),
            key(
                "knots_ms",
                Default("[]"),
                "times (ms after alignment, two or more) at which a trial's offset takes values of its own, linear between, constant \
                 before and after; []: constant in the trial",
            ),
        ],
    },
    Section {
        header: "[model.rsnn.behaviour]",
        is_used: false,
        about: "readout of the traces named in data.behaviour",
        keys: &[
            key(
                "motor_areas",
                Required("[\"ALM\"]"),
                "areas whose excitatory neurons drive them",
            ),
            key("tau_ms", Default("50.0"), "time constant, ms"),
            key(
                "link",
                Default("\"log\""),
                "\"log\": integrates ln(y + b), \"linear\": y",
            ),
        ],
    },
    Section {
        header: "[model.rsnn.behaviour.traces.jaw]",
        is_used: false,
        about: "what differs for one of the traces (here: jaw)",
        keys: &[
            key(
                "motor_areas",
                Optional("[\"ALM\"]", "those of all"),
                "areas whose excitatory neurons drive it",
            ),
            key("tau_ms", Optional("50.0", "that of all"), "time constant, ms"),
            key("link", Optional("\"log\"", "that of all"), "\"log\" or \"linear\""),
        ],
    },
    Section {
        header: "[model.rsnn.behaviour.feedback]",
        is_used: false,
        about: "closed loop: past behaviour is a synaptic current to every neuron (on the processor only)",
        keys: &[
            key("first_ms", Default("14.0"), "shortest lag, ms"),
            key("last_ms", Default("40.0"), "longest lag, ms"),
        ],
    },
    Section {
        header: "[statistics]",
        is_used: true,
        about: "what model and recording are compared by",
        keys: &[
            key("smooth_ms", Default("12.0"), "width of the moving mean, ms"),
            key("stride_ms", Default("6.0"), "stride of the moving mean, ms"),
            key("trial_resample", Default("4"), "further coarsening of single trials"),
            key(
                "min_neurons_per_area",
                Default("10"),
                "areas of a session with fewer are left out of matching",
            ),
            key(
                "min_spikes",
                Default("50"),
                "neurons with fewer in training trials: less weight in the PSTH loss, not in PSTH metrics",
            ),
            key(
                "min_presence",
                Default("0.95"),
                "neurons observed in a smaller share of their session's training trials are in no population",
            ),
            key(
                "match_within",
                Default("\"stimulus\""),
                "compare trials of one stimulus, of all, or in the cycle",
            ),
            key(
                "matching_trials",
                Default("\"random\""),
                "which trials when the numbers differ: random or first",
            ),
        ],
    },
    Section {
        header: "[[loss]]",
        is_used: true,
        about: "what is minimised; one table for each loss",
        keys: &[table(
            "psth",
            Required("{ weight = 10.0 }"),
            "trial averages of each neuron",
            &[weight("10.0")],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: true,
        about: "",
        keys: &[table(
            "trial_matching",
            Required("{ weight = 100.0 }"),
            "single trials of the population",
            &[
                weight("100.0"),
                key(
                    "method",
                    Default("\"sinkhorn\""),
                    "how trials are compared: sinkhorn (softly), hard (one to one), energy (energy distance)",
                ),
                key(
                    "blur_relative",
                    Default("0.3"),
                    "sinkhorn: distance below which trials count as the same, times the median distance of recorded trials",
                ),
                key(
                    "blur",
                    Optional("0.01", "blur_relative"),
                    "sinkhorn: the same in the units of the features, as published",
                ),
                key(
                    "exponent",
                    Default("1.0"),
                    "power of the distance of two trials: 1 or 2 (sinkhorn), below 2 (energy)",
                ),
                key(
                    "scaling",
                    Default("0.5"),
                    "sinkhorn: factor from one blur to the next, on the way to the final one",
                ),
                key("updates", Default("1"), "sinkhorn: updates at each blur"),
                key(
                    "debias",
                    Default("true"),
                    "sinkhorn: less the divergence of each side from itself",
                ),
                key(
                    "by_part",
                    Default("false"),
                    "energy: besides all features together, compare each population and each behaviour by itself",
                ),
            ],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: false,
        about: "",
        keys: &[table(
            "trial_matched_likelihood",
            Required("{ weight = 10.0 }"),
            "single trials of each neuron, matched one to one",
            &[weight("10.0")],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: false,
        about: "",
        keys: &[table(
            "spike_gan",
            Required("{ weight = 20.0 }"),
            "single trials as discriminators judge them, one for each session",
            &[
                weight("20.0"),
                key(
                    "every",
                    Default("5"),
                    "steps of the model for each step of the discriminators",
                ),
                key("lr", Default("0.0005"), "learning rate of the discriminators"),
                key(
                    "weight_decay",
                    Default("1.0"),
                    "decoupled weight decay of the discriminators",
                ),
            ],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: false,
        about: "",
        keys: &[table(
            "firing_rate",
            Required("{ weight = 0.1 }"),
            "mean rate of each neuron",
            &[weight("0.1")],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: false,
        about: "",
        keys: &[table(
            "count_variance",
            Required("{ weight = 10.0 }"),
            "how much spike counts of each neuron vary from trial to trial: Fano factors",
            &[weight("10.0"), COUNT_WINDOWS, WHOLE_TRIAL],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: false,
        about: "",
        keys: &[table(
            "count_covariance",
            Required("{ weight = 1000.0 }"),
            "what spike counts of neurons recorded together share from trial to trial: noise correlations",
            &[weight("1000.0"), COUNT_WINDOWS, WHOLE_TRIAL],
        )],
    },
    Section {
        header: "[optimizer.adamw]",
        is_used: true,
        about: "",
        keys: &[
            key("lr", Default("0.0005"), "learning rate"),
            key(
                "lr_final",
                Optional("0.0", "lr, so it stays"),
                "learning rate of the last step; it gets there along half a cosine over max_steps",
            ),
            key("beta1", Default("0.9"), "decay of the first moment"),
            key("beta2", Default("0.999"), "decay of the second moment"),
            key("epsilon", Default("1e-8"), "guard of the denominator"),
            key("weight_decay", Default("0.0"), "decoupled weight decay"),
            key(
                "l1",
                Default("0.01"),
                "after each update, synaptic weights shrink by l1·lr",
            ),
        ],
    },
    Section {
        header: "[train]",
        is_used: true,
        about: "",
        keys: &[
            key("n_trials", Default("150"), "model trials of one step"),
            key("max_steps", Default("3000"), "steps of the run"),
            key(
                "gradient_splitter",
                Default("true"),
                "normalise the losses' gradients and remove their conflicts",
            ),
            key(
                "balance_trial_types",
                Default("false"),
                "draw recorded trials so that types are balanced",
            ),
            key("validate_every", Default("100"), "steps between validations"),
            key(
                "validation_trials",
                Default("150"),
                "model trials of a validation: with few, its losses hardly tell steps apart",
            ),
            key(
                "patience",
                Default("8000"),
                "stop after so many steps without improvement",
            ),
            key("checkpoint_every", Default("200"), "steps, or a time such as \"60s\""),
            key("log_every", Default("10"), "steps between lines of events.ndjson"),
            key(
                "max_skipped",
                Default("3"),
                "non-finite steps skipped in a row before giving up",
            ),
            key(
                "engine",
                Default("\"native\""),
                "native; native_int16 (processor, gradient not exact); reference (slow, for checks)",
            ),
            key(
                "memory_limit",
                Optional("\"4GiB\"", "no limit"),
                "trials are simulated in chunks that fit",
            ),
            key(
                "trial_chunk",
                Optional("50", "all of a step"),
                "trials simulated at once, instead of memory_limit",
            ),
        ],
    },
];

/// A commented configuration to start from; its defaults are written out, alternatives are comments.
pub fn starter() -> String {
    starter_of(SECTIONS.iter().collect())
}

/// The same for `[model.spike_history]`.
pub fn starter_spike_history() -> String {
    let common = SECTIONS.iter().take_while(|section| section.header != RSNN);
    let has_use = |section: &&Section| !section.header.starts_with("[data.traces");
    starter_of(common.filter(has_use).chain(spike_history::SECTIONS).collect())
}

const COUNT_WINDOWS: Key = key(
    "windows_ms",
    Default("[50.0]"),
    "lengths of the consecutive windows in which spikes are counted",
);
const WHOLE_TRIAL: Key = key(
    "whole_trial",
    Default("true"),
    "whether they are counted in whole trials too",
);

/// The section from which on models differ.
const RSNN: &str = "[model.rsnn]";

fn starter_of(sections: Vec<&Section>) -> String {
    let mut text = String::from("# snnfit configuration. `snnfit config check FILE` checks it; times are in ms.\n\n");
    for section in sections {
        let mark = if section.is_used { "" } else { "# " };
        if !section.about.is_empty() {
            push(&mut text, &format!("# {}", section.about));
        }
        if !section.header.is_empty() {
            push(&mut text, &format!("{mark}{}", section.header));
        }
        for key in section.keys {
            let line = match key.presence {
                Required(value) | Default(value) => format!("{mark}{} = {value}", key.name),
                Optional(value, _) => format!("# {} = {value}", key.name),
            };
            let meaning = match key.presence {
                Optional(_, absent) => format!("{}; default: {absent}", key.meaning),
                _ => key.meaning.to_owned(),
            };
            push(&mut text, &format!("{line:<40} # {meaning}"));
            for inside in key.inside {
                let (value, meaning) = match inside.presence {
                    Required(value) | Default(value) => (value, inside.meaning.to_owned()),
                    Optional(value, absent) => (value, format!("{}; default: {absent}", inside.meaning)),
                };
                let line = format!("#   {} = {value}", inside.name);
                push(&mut text, &format!("{line:<40} # {meaning}"));
            }
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The keys as a text table: key, default, meaning with unit.
pub fn schema_text() -> String {
    let mut text = String::new();
    for row in schema_table() {
        let default = match (&row.default, row.required) {
            (Some(default), _) => default.as_str(),
            (None, true) => "(required)",
            (None, false) => "(none)",
        };
        push(&mut text, &format!("{:<42} {default:<28} {}", row.key, row.meaning));
    }
    text
}

/// One row of `config schema`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyRow {
    /// Dotted key.
    pub key: String,
    /// Default as TOML or in words; `None` when the key is required.
    pub default: Option<String>,
    /// Whether it must be written.
    pub required: bool,
    /// An example as TOML.
    pub example: String,
    /// Meaning with unit.
    pub meaning: String,
}

/// Every key with default and meaning, in the order of the file; keys of both models that differ in their default or
/// meaning are there for `[model.rsnn]`.
pub fn schema_table() -> Vec<KeyRow> {
    let mut rows: Vec<KeyRow> = Vec::new();
    for section in SECTIONS.iter().chain(spike_history::SECTIONS) {
        let table = section.header.trim_matches(['[', ']']);
        for key in section.keys {
            let name = if table.is_empty() {
                key.name.to_owned()
            } else {
                format!("{table}.{}", key.name)
            };
            push_row(&mut rows, &name, key);
            for inside in key.inside {
                push_row(&mut rows, &format!("{name}.{}", inside.name), inside);
            }
        }
    }
    rows
}

fn push_row(rows: &mut Vec<KeyRow>, name: &str, key: &Key) {
    if rows.iter().any(|row| row.key == name) {
        return;
    }
    let (default, example) = match key.presence {
        Required(example) => (None, example),
        Default(value) => (Some(value.to_owned()), value),
        Optional(example, absent) => (Some(format!("({absent})")), example),
    };
    rows.push(KeyRow {
        key: name.to_owned(),
        required: default.is_none(),
        default,
        example: example.to_owned(),
        meaning: key.meaning.to_owned(),
    });
}

fn push(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", line.trim_end());
}
