//! All trials of some neurons, recorded on the left and simulated on the right.

use ndarray::ArrayView2;

use super::{PlotError, Scene};
use crate::report::plots::spikes::SpikePanel;
use crate::report::plots::style::{self, Canvas, DATA, Labels, MODEL};

const MOST: usize = 6;
/// Longer trials are cut, or spikes run into one another.
const MOST_MS: f64 = 2000.0;
/// More trials than this are left out.
const MOST_TRIALS: usize = 60;

pub(super) fn size(scene: &Scene<'_>) -> (u32, u32) {
    (860, 110 + 170 * scene.ranked(MOST).len().max(1) as u32)
}

pub(super) fn draw(scene: &Scene<'_>, canvas: &Canvas<'_>) -> Result<(), PlotError> {
    scene.check_repeats()?;
    let ranked = scene.ranked(MOST);
    let n_all = scene.places().len();
    let bins = |group: usize| {
        let all = scene.compared[group].data.dim().1;
        all.min((MOST_MS / scene.bin_ms).round().max(1.0) as usize)
    };
    let is_cut = (0..scene.compared.len()).any(|g| bins(g) < scene.compared[g].data.dim().1);
    let (data, model) = scene.n_trials();
    let which = if ranked.len() < n_all {
        format!(
            "; {} of {n_all} neurons: best, middle and worst by their trial averages",
            ranked.len()
        )
    } else {
        String::new()
    };
    let shown = if data > MOST_TRIALS || scene.compared.len() > 1 {
        format!("up to {MOST_TRIALS} of {data} {} trials", scene.report.split)
    } else {
        format!("{data} {} trials", scene.report.split)
    };
    let note = format!(
        "Each row of a panel is a trial of the same stimulus, the first on top: {shown}, and as many of {model} model trials, none of \
         which is paired with a recorded one{}{which}",
        if is_cut {
            "; the first 2 s that are compared"
        } else {
            ""
        },
    );
    let below = style::titled(canvas, "Spikes of single neurons in all trials", &note)?;
    let (left, right) = below.split_horizontally(below.dim_in_pixel().0 as i32 / 2);
    let (left, right) = (
        left.split_evenly((ranked.len(), 1)),
        right.split_evenly((ranked.len(), 1)),
    );
    for (i, (place, _)) in ranked.iter().enumerate() {
        let one = &scene.compared[place.group];
        let name = scene.name(*place);
        let n = one.data.dim().0.min(one.model.dim().0).min(MOST_TRIALS);
        let start = scene.start_ms[place.group];
        let end = start + bins(place.group) as f64 * scene.bin_ms;
        for (area, whose, spikes, color) in [
            (&left[i], "data", &one.data, DATA),
            (&right[i], "model", &one.model, MODEL),
        ] {
            let title = format!("{whose} · neuron {name}");
            let spikes = spikes.slice(ndarray::s![..n, ..bins(place.group), place.unit]);
            let panel = SpikePanel {
                labels: Labels {
                    title: &style::fitted(&title, 380, style::MEDIUM),
                    x: if i + 1 == ranked.len() { "time (ms)" } else { "" },
                    y: "",
                },
                times: start..end,
                n_rows: n,
                groups: vec![0],
                names: None,
                color,
                spikes: marks(&spikes, start, scene.bin_ms),
                events: None,
            };
            panel.draw(area)?;
        }
    }
    Ok(())
}

/// Time and height of each spike of `[K, T]`.
fn marks(spikes: &ArrayView2<'_, u8>, start_ms: f64, bin_ms: f64) -> Vec<(f64, f64)> {
    let at = |(k, t): (usize, usize)| (start_ms + bin_ms * (t as f64 + 0.5), k as f64 + 0.5);
    let found = spikes.indexed_iter().filter(|(_, z)| **z > 0);
    found.map(|(place, _)| at(place)).collect()
}
