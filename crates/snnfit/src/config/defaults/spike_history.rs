//! Defaults of `[model.spike_history]`; "§" is a section of the specification `sample-and-measure`.

/// How far back spikes act (retina, §1.2), ms.
pub const HISTORY_MS: f64 = 40.0;
/// Threshold θ (§1.2).
pub const THRESHOLD: f64 = 0.4;
/// Slope of the spike probability (§1.2).
pub const TEMPERATURE: f64 = 1.0;
/// Number of raised cosines. Ours.
pub const N_KERNELS: u64 = 12;
/// Lags of spikes below this are spaced evenly. Ours, ms.
pub const KERNEL_LINEAR_MS: f64 = 5.0;
/// How much of a stimulus matters (retina, §1.2: 300 bins), ms.
pub const STIMULUS_HISTORY_MS: f64 = 500.0;
/// Lags of a stimulus below this are spaced evenly. Ours, ms.
pub const STIMULUS_LINEAR_MS: f64 = 35.0;
/// Filters of a convolution (first one, §1.2).
pub const CONV_FILTERS: u64 = 16;
/// Side of its kernel (§1.2), pixels.
pub const CONV_KERNEL: u64 = 7;
/// Side of a pool (§1.2), pixels.
pub const POOL_SIZE: u64 = 3;
/// Stride of a pool (§1.2), pixels.
pub const POOL_STRIDE: u64 = 2;
/// Units of a dense layer (§3).
pub const DENSE_UNITS: u64 = 32;
/// Clamped windows of a step. Ours.
pub const CLAMPED_WINDOWS: u64 = 64;
/// Their length (retina, §1.6: 50 bins), ms.
pub const CLAMPED_MS: f64 = 80.0;
/// Free windows of a step. Ours.
pub const FREE_WINDOWS: u64 = 2;
/// Their length. Ours, ms.
pub const FREE_MS: f64 = 300.0;
/// Width of the moving mean of PSTHs (§2.4: 33 ms), ms.
pub const SMOOTH_MS: f64 = 30.0;
/// Windows of noise correlations (§2.2), ms.
pub const COUNT_WINDOWS_MS: [f64; 3] = [20.0, 30.0, 40.0];
/// Window of the noise covariance loss (§2.6), ms.
pub const COVARIANCE_WINDOW_MS: f64 = 40.0;
/// Weight of the noise covariance loss. Ours: covariances are per bin, of 1e-4.
pub const NOISE_COVARIANCE_WEIGHT: f64 = 5000.0;
/// Simulated trials of each free window. Ours.
pub const N_TRIALS: u64 = 100;
/// Simulated trials of each stimulus of a validation. Ours.
pub const VALIDATION_TRIALS: u64 = 100;
