//! Where soft trial matching is computed: the clouds of all sessions at once on the adapter that simulates, or one by one
//! on the processor.

use crate::fit_error::FitError;
use losses::sinkhorn::{Clouds, Divergence, Divergences, Processor, Sinkhorn};
use snn_core::models::rsnn::Engine;

/// The adapter of the engine `kernels`, in single precision; else the processor, in double precision.
#[derive(Debug, Clone, Default)]
pub struct SoftMatching {
    #[cfg(feature = "wgpu")]
    kernels: Option<snn_core::rollout::kernels::Kernels>,
}

impl SoftMatching {
    /// Beside an engine.
    #[cfg(feature = "wgpu")]
    pub fn of(engine: &Engine) -> Self {
        match engine {
            Engine::Kernels(kernels) => Self {
                kernels: Some(kernels.clone()),
            },
            Engine::Native | Engine::NativeInt16 | Engine::Reference => Self::default(),
        }
    }

    /// Beside an engine.
    #[cfg(not(feature = "wgpu"))]
    pub fn of(_: &Engine) -> Self {
        Self::default()
    }
}

impl Divergences for SoftMatching {
    type Error = FitError;

    fn divergences(&self, sinkhorn: &Sinkhorn, clouds: &[Clouds]) -> Result<Vec<Divergence>, FitError> {
        #[cfg(feature = "wgpu")]
        if let Some(kernels) = &self.kernels
            && let Some(found) = adapter::divergences(kernels, sinkhorn, clouds)?
        {
            return Ok(found);
        }
        Ok(Processor.divergences(sinkhorn, clouds)?)
    }
}

#[cfg(feature = "wgpu")]
mod adapter {
    use crate::fit_error::FitError;
    use losses::LossError;
    use losses::sinkhorn::{Annealing, Clouds, Cost, Divergence, SQUARED_DISTANCE_FLOOR, Sinkhorn};
    use ndarray::{Axis, concatenate};
    use rayon::prelude::*;
    use snn_core::CoreError;
    use snn_core::rollout::kernels::Kernels;
    use snn_core::transport::{Pair, Settings};

    /// Least ratio of the final ε to the first: below it, the rounding of costs in single precision would be more than a
    /// hundredth of ε.
    const FINEST: f64 = 1e-5;
    /// Largest ratio of the final ε to the diameter of the clouds (to the power of the cost): potentials are rounded by 6e-8 of ε,
    /// which would no longer be little beside the costs.
    const COARSEST: f64 = 2.0;
    /// Widest clouds: squares of their distances, and of the reciprocal, are far from the ends of single precision.
    const WIDEST: f64 = 1e15;

    /// Divergences on the adapter, and on the processor those that single precision can't hold; none where the adapter
    /// can't take them for their size.
    pub(super) fn divergences(
        kernels: &Kernels,
        sinkhorn: &Sinkhorn,
        clouds: &[Clouds],
    ) -> Result<Option<Vec<Divergence>>, FitError> {
        let plans: Vec<(&Clouds, Annealing)> = clouds
            .par_iter()
            .map(|c| Ok((c, sinkhorn.annealing(&c.model.view(), &c.data.view())?)))
            .collect::<Result<_, LossError>>()?;
        let (device, host): (Vec<_>, Vec<_>) = (0..).zip(&plans).partition(|(_, (_, a))| suits(sinkhorn, a));
        let pairs: Vec<Pair> = device.iter().map(|(_, (clouds, a))| pair(clouds, a)).collect();
        let settings = Settings {
            is_half_square: sinkhorn.cost == Cost::HalfSquare,
            floor: SQUARED_DISTANCE_FLOOR as f32,
            updates: sinkhorn.updates,
            debias: sinkhorn.debias,
        };
        let solutions = match kernels.divergences(&pairs, &settings) {
            Err(error @ CoreError::DeviceLimit { .. }) => {
                tracing::debug!("matching trials on the processor: {error}");
                return Ok(None);
            }
            other => other?,
        };
        let on_device = device
            .into_iter()
            .zip(solutions)
            .map(|((i, (_, annealing)), solution)| {
                let divergence = Divergence {
                    value: solution.value,
                    d_model: solution.d_moving.mapv(f64::from),
                    blur: annealing.blur,
                };
                (i, divergence)
            });
        let on_host = host.into_par_iter().map(|(i, (c, _))| {
            let divergence = sinkhorn.divergence(&c.model.view(), &c.data.view())?;
            Ok((i, divergence))
        });
        let on_host: Vec<(usize, Divergence)> = on_host.collect::<Result<_, LossError>>()?;
        let mut all: Vec<(usize, Divergence)> = on_device.chain(on_host).collect();
        all.sort_unstable_by_key(|(i, _)| *i);
        Ok(Some(all.into_iter().map(|(_, divergence)| divergence).collect()))
    }

    /// Whether single precision holds the costs, differences of costs as small as the final ε, and potentials of its size.
    fn suits(sinkhorn: &Sinkhorn, annealing: &Annealing) -> bool {
        let (Some(first), Some(last)) = (annealing.schedule.first(), annealing.schedule.last()) else {
            return false;
        };
        let power = |length: f64| length.powf(sinkhorn.cost.exponent());
        let (width, widest) = (power(annealing.diameter), power(WIDEST));
        last / first >= FINEST && *last <= COARSEST * width && (widest.recip()..=widest).contains(&width)
    }

    /// In single precision, counted from the first recorded trial: far from 0 there would be fewer digits for differences.
    fn pair(clouds: &Clouds, annealing: &Annealing) -> Pair {
        let origin = clouds.data.row(0);
        let points = concatenate(Axis(0), &[clouds.data.view(), clouds.model.view()]);
        let points = points.expect("both clouds have the same features") - origin;
        Pair {
            points: points.mapv(|x| x as f32),
            n_fixed: clouds.data.nrows(),
            schedule: annealing.schedule.iter().map(|epsilon| *epsilon as f32).collect(),
        }
    }
}
