//! Where soft trial matching is computed: the clouds of all sessions at once on the adapter that simulates, or one by one
//! on the processor.

use crate::fit_error::FitError;
use losses::sinkhorn::{Clouds, Divergence, Divergences, Processor, Sinkhorn};
#[cfg(feature = "wgpu")]
use losses::statistics::DataFeatures;
use snn_core::models::rsnn::Engine;
#[cfg(feature = "wgpu")]
use std::collections::BTreeMap;

/// The adapter of the engine `kernels`, in single precision; else the processor, in double precision.
#[derive(Debug, Clone, Default)]
pub struct SoftMatching {
    #[cfg(feature = "wgpu")]
    adapter: Option<std::sync::Arc<adapter::Adapter>>,
}

impl SoftMatching {
    /// Beside an engine.
    #[cfg(feature = "wgpu")]
    pub fn of(engine: &Engine) -> Self {
        match engine {
            Engine::Kernels(kernels) => Self {
                adapter: Some(std::sync::Arc::new(adapter::Adapter::new(kernels.clone()))),
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

/// Bytes that soft matching of a step takes on a device, without the schedules of blurs: most of them costs, four for each
/// pair of the recorded and model trials of a stimulus in a session.
///
/// Of the `n_trials` model trials, each stimulus is taken to have the share that it has of the recorded ones.
#[cfg(feature = "wgpu")]
pub fn device_bytes(features: &DataFeatures, n_trials: usize) -> u64 {
    let mut rows = BTreeMap::<usize, usize>::new();
    let conditions = || features.sessions.iter().flat_map(|s| &s.conditions);
    for &c in conditions() {
        *rows.entry(c).or_default() += 1;
    }
    let all = conditions().count() as f64;
    let clouds = features.sessions.iter().flat_map(|session| {
        rows.iter().filter_map(|(c, in_all)| {
            let recorded = session.conditions.iter().filter(|of_row| *of_row == c).count();
            let model = (n_trials as f64 * *in_all as f64 / all).round().max(1.0) as usize;
            (recorded > 0).then_some([recorded, model, session.features.ncols()])
        })
    });
    snn_core::transport::bytes(clouds)
}

impl Divergences for SoftMatching {
    type Error = FitError;

    fn divergences(&self, sinkhorn: &Sinkhorn, clouds: &[Clouds]) -> Result<Vec<Divergence>, FitError> {
        #[cfg(feature = "wgpu")]
        if let Some(adapter) = &self.adapter {
            return adapter.divergences(sinkhorn, clouds);
        }
        Ok(Processor.divergences(sinkhorn, clouds)?)
    }
}

#[cfg(feature = "wgpu")]
mod adapter {
    use crate::fit_error::FitError;
    use losses::LossError;
    use losses::sinkhorn::{Annealing, Clouds, Cost, Divergence, SQUARED_DISTANCE_FLOOR, Sinkhorn};
    use ndarray::{Array2, Axis, concatenate};
    use rayon::prelude::*;
    use snn_core::rollout::kernels::Kernels;
    use snn_core::transport::{Pair, Settings};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, PoisonError};

    /// Least ratio of the final ε to the first: below it, the rounding of costs in single precision would be more than a
    /// hundredth of ε.
    const FINEST: f64 = 1e-5;
    /// Largest ratio of the final ε to the diameter of the clouds (to the power of the cost): potentials are rounded by 6e-8 of ε,
    /// which would no longer be little beside the costs.
    const COARSEST: f64 = 2.0;
    /// Widest clouds: squares of their distances, and of the reciprocal, are far from the ends of single precision.
    const WIDEST: f64 = 1e15;

    /// A device, and what it needs to know from step to step.
    #[derive(Debug)]
    pub(super) struct Adapter {
        kernels: Kernels,
        /// The recorded trials of each pair of clouds and their median distance, as they were when it was last asked for.
        medians: Mutex<Vec<(Array2<f64>, f64)>>,
        /// How many pairs the processor took at most, of those that were told, plus 1; 0 before the first.
        told: AtomicUsize,
    }

    /// A pair of clouds with the fall of its blur, and as the device takes it; or why the processor compares it.
    struct Task<'a> {
        clouds: &'a Clouds,
        annealing: Annealing,
        on_device: Result<Pair, String>,
    }

    impl Adapter {
        pub(super) fn new(kernels: Kernels) -> Self {
            Self {
                kernels,
                medians: Mutex::default(),
                told: AtomicUsize::new(0),
            }
        }

        /// Divergences on the adapter, and on the processor those that single precision or the adapter can't hold.
        pub(super) fn divergences(&self, sinkhorn: &Sinkhorn, clouds: &[Clouds]) -> Result<Vec<Divergence>, FitError> {
            let tasks = self.tasks(sinkhorn, clouds)?;
            self.tell(&tasks);
            let pairs: Vec<&Pair> = tasks.iter().filter_map(|task| task.on_device.as_ref().ok()).collect();
            let settings = Settings {
                is_half_square: sinkhorn.cost == Cost::HalfSquare,
                floor: SQUARED_DISTANCE_FLOOR as f32,
                updates: sinkhorn.updates,
                debias: sinkhorn.debias,
            };
            let mut solutions = self.kernels.divergences(&pairs, &settings)?.into_iter();
            let on_host = tasks.par_iter().map(|task| {
                let (model, data) = (task.clouds.model.view(), task.clouds.data.view());
                let compare = || sinkhorn.divergence(&model, &data);
                task.on_device.is_err().then(compare).transpose()
            });
            let on_host: Vec<Option<Divergence>> = on_host.collect::<Result<_, LossError>>()?;
            let all = tasks.iter().zip(on_host).filter_map(|(task, on_host)| {
                on_host.or_else(|| {
                    solutions.next().map(|solution| Divergence {
                        value: solution.value,
                        d_model: solution.d_moving.mapv(f64::from),
                        blur: task.annealing.blur,
                    })
                })
            });
            Ok(all.collect())
        }

        fn tasks<'a>(&self, sinkhorn: &Sinkhorn, clouds: &'a [Clouds]) -> Result<Vec<Task<'a>>, LossError> {
            let mut known = self.medians.lock().unwrap_or_else(PoisonError::into_inner);
            let task = |(i, clouds): (usize, &'a Clouds)| {
                let mut fresh = None;
                let annealing = sinkhorn.annealing_by(clouds, || match known.get(i) {
                    Some((data, median)) if *data == clouds.data => *median,
                    _ => *fresh.insert(clouds.median_distance()),
                })?;
                let on_device = if suits(sinkhorn, &annealing) {
                    let pair = pair(clouds, &annealing);
                    self.kernels.check_pair(&pair).map(|()| pair).map_err(|e| e.to_string())
                } else {
                    Err("their distances and the blur are too far apart for single precision".to_owned())
                };
                let task = Task {
                    clouds,
                    annealing,
                    on_device,
                };
                Ok((task, fresh))
            };
            let tasks = clouds.par_iter().enumerate().map(task);
            let (tasks, fresh): (Vec<_>, Vec<_>) = tasks.collect::<Result<Vec<_>, LossError>>()?.into_iter().unzip();
            if fresh.iter().any(Option::is_some) {
                let of_pair = |(i, fresh): (usize, Option<f64>)| match fresh {
                    Some(median) => Some((clouds[i].data.clone(), median)),
                    None => known.get(i).cloned(),
                };
                // A blur is relative for all pairs or for none, so each has one.
                *known = fresh.into_iter().enumerate().map_while(of_pair).collect();
            }
            Ok(tasks)
        }

        /// Says once where trials are matched, and again where the processor has more of them to match than it ever had.
        fn tell(&self, tasks: &[Task<'_>]) {
            let reasons = || tasks.iter().filter_map(|task| task.on_device.as_ref().err());
            let on_host = reasons().count();
            if self.told.fetch_max(on_host + 1, Ordering::Relaxed) > on_host {
                return;
            }
            let (device, on_device) = (self.kernels.name(), tasks.len() - on_host);
            let rest = match reasons().next() {
                None => String::new(),
                Some(reason) => format!(", and those of {on_host} on the processor: {reason}"),
            };
            tracing::info!("matching the trials of {on_device} pairs of session and stimulus on {device}{rest}");
        }
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

#[cfg(all(test, feature = "wgpu"))]
mod tests {
    use super::*;
    use losses::statistics::SessionFeatures;
    use ndarray::Array2;

    #[test]
    fn costs_on_a_device_are_of_the_trials_of_each_stimulus_and_session() {
        let session = |session, conditions: &[usize]| SessionFeatures {
            session,
            populations: vec![0],
            mean: vec![0.0],
            std: vec![1.0],
            channels: Vec::new(),
            behaviour_mean: Vec::new(),
            features: Array2::zeros((conditions.len(), 7)),
            trials: (0..conditions.len()).collect(),
            conditions: conditions.to_vec(),
            trial_types: vec![0; conditions.len()],
        };
        let features = DataFeatures {
            sessions: vec![session(0, &[0, 0, 0, 0, 0, 1]), session(1, &[0, 1])],
        };
        // Of 40 model trials, 30 and 10 have the two stimuli.
        let clouds = [[5, 30, 7], [1, 10, 7], [1, 30, 7], [1, 10, 7]];
        assert_eq!(device_bytes(&features, 40), snn_core::transport::bytes(clouds));
        assert!(device_bytes(&features, 40) > 4 * (35 * 35 + 11 * 11 + 31 * 31 + 11 * 11));
    }
}
