//! Units at the edges of the interface: times in milliseconds, rates in hertz.

use serde::{Deserialize, Serialize};

/// A time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ms(pub f64);

/// A rate in hertz.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hz(pub f64);

/// A duration as a whole number of steps, with what rounding did to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steps {
    /// Number of steps, at least the minimum asked for.
    pub steps: usize,
    /// True when the duration isn't a multiple of the step (within 1e-6 of a step).
    pub is_rounded: bool,
}

impl Ms {
    /// This duration in steps of `dt`, rounded to the nearest whole number and to at least `minimum`.
    pub fn in_steps(self, dt: Ms, minimum: usize) -> Steps {
        let exact = self.0 / dt.0;
        let nearest = exact.round().max(0.0);
        let steps = (nearest as usize).max(minimum);
        Steps {
            steps,
            is_rounded: (exact - steps as f64).abs() > 1e-6,
        }
    }

    /// Decay per step of an exponential with this time constant: `exp(−dt/τ)`; 0 for τ = 0.
    pub fn decay(self, dt: Ms) -> f64 {
        if self.0 <= 0.0 { 0.0 } else { (-dt.0 / self.0).exp() }
    }
}

impl Hz {
    /// Expected number of events in one step of `dt`.
    pub fn per_step(self, dt: Ms) -> f64 {
        self.0 * dt.0 / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_ms_are_two_steps_of_two_ms() {
        assert_eq!(
            Ms(4.0).in_steps(Ms(2.0), 1),
            Steps {
                steps: 2,
                is_rounded: false
            }
        );
    }

    #[test]
    fn a_time_below_one_step_is_rounded_up_and_said_so() {
        assert_eq!(
            Ms(0.3).in_steps(Ms(2.0), 1),
            Steps {
                steps: 1,
                is_rounded: true
            }
        );
    }

    #[test]
    fn decay_of_ten_ms_at_two_ms_is_the_published_constant() {
        assert!((Ms(10.0).decay(Ms(2.0)) - 0.818_730_753).abs() < 1e-9);
    }
}
