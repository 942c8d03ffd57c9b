//! From sums over time and trials to gradients: what the hand-written backward passes have in common.

use super::{FeedbackGradients, Gradients, Network, Run, Wanted};
use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayViewMut2, Zip};

/// Sums over trials, per neuron.
pub(super) struct Totals {
    /// Σ_t δ(t).
    pub(super) delta: Array1<f64>,
    /// δ of the first recorded step.
    pub(super) at_start: Array1<f64>,
    /// Σ_t z(t) α δ(t + 1).
    pub(super) reset: Array1<f64>,
    /// Σ_t ε(t) δ(t), if asked for.
    pub(super) noise: Option<Array1<f64>>,
}

impl Gradients {
    /// Zeros of the right shapes.
    pub(super) fn zeros(network: &Network, run: &Run, wanted: Wanted) -> Self {
        let (k, t, n, h) = (run.n_trials, run.n_steps, network.n_neurons(), network.max_delay());
        Self {
            w: large(network.w.dim()),
            w_in: Array2::zeros(network.w_in.dim()),
            bias: Array1::zeros(n),
            threshold: Array1::zeros(n),
            reset: Array1::zeros(n),
            gain: Array1::zeros(n),
            noise: wanted.noise.then(|| Array1::zeros(n)),
            trial_offset: run
                .trial_offset
                .as_ref()
                .filter(|_| wanted.trial_offset)
                .map(|offset| Array3::zeros(offset.values.dim())),
            drive: run
                .drive
                .as_ref()
                .filter(|_| wanted.drive)
                .map(|d| Array3::zeros((d.values.dim().0, t, n))),
            history: wanted.history.then(|| Array3::zeros((k, h, n))),
            feedback: network.feedback.as_ref().map(|feedback| FeedbackGradients {
                kernel: Array3::zeros(feedback.kernel.dim()),
                traces: Array3::zeros((k, t, feedback.n_traces())),
            }),
        }
    }

    /// Gradients of the cell's constants from sums, and of the weights from `Σ z δ`, which `w` and `w_in` hold.
    ///
    /// dL/dθ = −Σ dx/h = −Σ_t (δ(t) − α δ(t + 1)), so only δ of the first step is needed besides the sum. Currents
    /// aren't stored: dL/dg = Σ_pre W · (z δ), then dW = g · (z δ).
    pub(super) fn finish(&mut self, network: &Network, totals: &Totals) {
        let single = |x: &Array1<f64>| x.mapv(|x| x as f32);
        self.bias = single(&totals.delta);
        self.reset = totals.reset.mapv(|x| -x as f32);
        for (j, threshold) in self.threshold.iter_mut().enumerate() {
            let alpha = f64::from(network.alpha[j]);
            *threshold = -((1.0 - alpha) * totals.delta[j] + alpha * totals.at_start[j]) as f32;
        }
        let mut gain = Array1::<f64>::zeros(network.n_neurons());
        for (raw, w) in self.w.outer_iter_mut().zip(network.w.outer_iter()) {
            scale_columns(raw, w, &network.gain, &mut gain);
        }
        scale_columns(self.w_in.view_mut(), network.w_in.view(), &network.gain, &mut gain);
        self.gain = single(&gain);
        self.noise = totals.noise.as_ref().map(single);
    }
}

fn large(shape: (usize, usize, usize)) -> Array3<f32> {
    let values = crate::large::zeros(shape.0 * shape.1 * shape.2);
    Array3::from_shape_vec(shape, values).expect("as many values as the shape has")
}

/// Adds `Σ_rows w · raw` per column to `gain`, and multiplies the columns of `raw` by `g`.
fn scale_columns(mut raw: ArrayViewMut2<'_, f32>, w: ArrayView2<'_, f32>, g: &Array1<f32>, gain: &mut Array1<f64>) {
    for (raw, w) in raw.rows_mut().into_iter().zip(w.rows()) {
        Zip::from(raw)
            .and(w)
            .and(g)
            .and(&mut *gain)
            .for_each(|raw, w, g, gain| {
                *gain += f64::from(*w) * f64::from(*raw);
                *raw *= g;
            });
    }
}
