//! Keys of a configuration with `[model.spike_history]`, where they differ from those with `[model.rsnn]`.

use super::Presence::{Default, Optional, Required};
use super::{Section, key, table, weight};

/// In place of the sections from `[model.rsnn]` on.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        header: "[model.spike_history]",
        is_used: true,
        about: "network whose spike probabilities follow from past spikes and a stimulus encoder",
        keys: &[
            key("n_hidden", Default("0"), "hidden neurons, added to the recorded ones"),
            key(
                "shared_units",
                Default("false"),
                "whether units of one id and area are one neuron in all sessions",
            ),
            key("history_ms", Default("40.0"), "how far back spikes act, ms"),
            key("threshold", Default("0.4"), "firing threshold (dimensionless)"),
            key("temperature", Default("1.0"), "slope of the spike probability"),
            key(
                "surrogate_damping",
                Default("0.3"),
                "factor of the surrogate derivative of a spike",
            ),
            key(
                "initial_bias",
                Default("\"rate\""),
                "biases at the start: those of the recorded \"rate\", or \"zero\", as published",
            ),
        ],
    },
    Section {
        header: "[model.spike_history.kernels.raised_cosine]",
        is_used: false,
        about: "kernels over past spikes: raised cosines of the logarithm of the lag, instead of a value for each lag",
        keys: &[
            key("n", Default("12"), "number of functions"),
            key(
                "linear_ms",
                Default("5.0"),
                "lags below this are spaced evenly, above logarithmically, ms",
            ),
        ],
    },
    Section {
        header: "[model.spike_history.encoder.stimulus]",
        is_used: true,
        about: "drive: the recorded stimulus through filters over time, layers, and a linear map; without the table: none",
        keys: &[
            key(
                "pixels",
                Optional("[1, 31]", "channels in a row"),
                "height and width of the stimulus",
            ),
            key("history_ms", Default("500.0"), "how much of the stimulus matters, ms"),
            key("scale", Default("1.0"), "factor on the recorded values"),
            key("offset", Default("0.0"), "added after scaling"),
            key(
                "layers",
                Default("[]"),
                "e.g. [{ conv = { filters = 16, kernel = 7 } }, { max_pool = { size = 3, stride = 2 } }, { dense = { units = 32 } }]",
            ),
        ],
    },
    Section {
        header: "[model.spike_history.encoder.stimulus.kernels.raised_cosine]",
        is_used: true,
        about: "filters over time: raised cosines of the logarithm of the lag; without the table: a value for each lag",
        keys: &[
            key("n", Default("12"), "number of functions"),
            key(
                "linear_ms",
                Default("35.0"),
                "lags below this are spaced evenly, above logarithmically, ms",
            ),
        ],
    },
    Section {
        header: "[model.spike_history.encoder.bins]",
        is_used: false,
        about: "instead, without a stimulus: a drive of its own for each time step of a trial",
        keys: &[],
    },
    Section {
        header: "[model.spike_history.windows]",
        is_used: true,
        about: "what a step simulates",
        keys: &[
            key(
                "clamped",
                Default("64"),
                "windows of recorded trials, for losses that need no repeats",
            ),
            key("clamped_ms", Default("80.0"), "their length, ms"),
            key(
                "free",
                Default("2"),
                "windows of repeated stimuli that are simulated freely, in train.n_trials trials each",
            ),
            key("free_ms", Default("300.0"), "their length, ms"),
        ],
    },
    Section {
        header: "[statistics]",
        is_used: true,
        about: "how activity is compared",
        keys: &[
            key("smooth_ms", Default("30.0"), "moving mean of PSTHs, ms"),
            key("skip_ms", Default("0.0"), "start of each trial that isn't compared, ms"),
            key(
                "count_windows_ms",
                Default("[20.0, 30.0, 40.0]"),
                "windows in which spikes are counted for noise correlations, ms",
            ),
        ],
    },
    Section {
        header: "[[loss]]",
        is_used: true,
        about: "what is minimised: any of these",
        keys: &[table(
            "likelihood",
            Required("{ weight = 1.0 }"),
            "recorded spikes given the recorded past; with hidden neurons the ELBO",
            &[
                weight("1.0"),
                key("samples", Default("1"), "samples of hidden neurons for each window"),
            ],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: false,
        about: "",
        keys: &[table(
            "single_trial",
            Required("{ weight = 1.0, clamped_ms = 40.0 }"),
            "recorded spikes given a past that is the model's after clamped_ms",
            &[
                weight("1.0"),
                key(
                    "clamped_ms",
                    Optional("40.0", "half of windows.clamped_ms"),
                    "start of a window whose spikes are the recorded ones, ms",
                ),
            ],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: false,
        about: "",
        keys: &[table(
            "psth_cross_entropy",
            Required("{ weight = 10.0 }"),
            "trial averages of repeated stimuli",
            &[weight("1.0")],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: false,
        about: "",
        keys: &[table(
            "noise_covariance",
            Required("{ weight = 5000.0, window_ms = 40.0 }"),
            "noise covariances of pairs of neurons",
            &[
                weight("5000.0"),
                key(
                    "window_ms",
                    Default("40.0"),
                    "spikes are counted in windows of this length, ms",
                ),
                key(
                    "lags_ms",
                    Optional("40.0", "window_ms"),
                    "bin by bin at lags up to this, ms, instead of in windows",
                ),
                key(
                    "form",
                    Default("\"corrected\""),
                    "corrected, or paper_code: as that paper's code (with lags_ms)",
                ),
            ],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: false,
        about: "",
        keys: &[table(
            "coincidence_cross_entropy",
            Required("{ weight = 1.0 }"),
            "coincidences of pairs within a bin",
            &[
                weight("1.0"),
                key(
                    "stimuli",
                    Default("\"repeated\""),
                    "repeated, in the free windows; or any: the clamped windows, each also simulated freely from its recorded history, together",
                ),
            ],
        )],
    },
    Section {
        header: "[[loss]]",
        is_used: false,
        about: "",
        keys: &[table(
            "hidden_rate",
            Required("{ weight = 0.001 }"),
            "rates of hidden neurons are those of visible ones",
            &[
                weight("1.0"),
                key("form", Default("\"cross_entropy\""), "cross_entropy or paper_code"),
            ],
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
            key("l1", Default("0.0"), "after each update, kernels shrink by l1·lr"),
        ],
    },
    Section {
        header: "[train]",
        is_used: true,
        about: "",
        keys: &[
            key("n_trials", Default("100"), "simulated trials of each free window"),
            key("max_steps", Default("3000"), "steps of the run"),
            key("validate_every", Default("100"), "steps between validations"),
            key(
                "validation_trials",
                Default("100"),
                "simulated trials of each repeated stimulus of a validation",
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
            key("engine", Default("\"native\""), "native; reference (slow, for checks)"),
        ],
    },
];
