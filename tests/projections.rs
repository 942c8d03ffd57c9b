//! Which neurons project between areas: the presets and the table of projections, in whole fits.

use std::path::PathBuf;

use ndarray::ArrayD;
use snn_core::connectivity::DORMANT_WEIGHT;
use snnfit::checkpoint::{self, Values};

use crate::cli::Folder;
use crate::runs::{folder, resume, step_path, succeed, train, with_sets};

const STEPS: &str = "train.max_steps = 4";
/// Only the inhibitory neurons of area1 project, and only to area2.
const LONG: [&str; 2] = [
    "model.rsnn.inter_area = \"none\"",
    "model.rsnn.projections = [{ from = \"area1\", type = \"inhibitory\", to = \"area2\" }]",
];

/// Weights `[D, from, to]` at a step.
fn weights(folder: &Folder, run: &str, step: u64) -> ArrayD<f32> {
    let path: PathBuf = step_path(folder, run, step);
    let found = checkpoint::read(&path).unwrap();
    let w = &found.sections["parameters"]["w"];
    let Values::F32(values) = &w.values else {
        panic!("weights are single numbers")
    };
    ArrayD::from_shape_vec(w.shape.clone(), values.clone()).unwrap()
}

#[test]
fn long_range_inhibition_is_fitted_where_the_table_allows_it_and_nowhere_else() {
    let folder = folder();
    train(&folder, "a", &[&LONG[..], &[STEPS]].concat());
    let w = weights(&folder, "a", 4);
    // 48 neurons: 16 excitatory of each area, then 8 inhibitory of each.
    let area = |n: usize| if n < 32 { n / 16 } else { (n - 32) / 8 };
    let (mut n_between, mut n_moved) = (0, 0);
    for (place, w) in w.indexed_iter() {
        let (pre, post) = (place[1], place[2]);
        if area(pre) != area(post) {
            let is_allowed = (32..40).contains(&pre) && area(post) == 1;
            assert!(if is_allowed { *w <= 0.0 } else { *w == 0.0 }, "{pre} to {post}: {w}");
            n_between += usize::from(is_allowed);
            n_moved += usize::from(*w < -DORMANT_WEIGHT);
        }
    }
    assert_eq!(n_between, 8 * 24);
    // They start at 0; a gradient of either sign moves about half of them.
    assert!(n_moved > 20, "{n_moved} of {n_between} have grown");
}

#[test]
fn a_table_that_says_what_the_preset_says_changes_no_bit_and_a_run_with_one_goes_on_after_a_stop() {
    let folder = folder();
    train(&folder, "preset", &[STEPS]);
    let said = "model.rsnn.projections = [{ from = \"*\", type = \"excitatory\", to = \"others\" }, { from = \"*\", type = \
                \"unknown\", to = \"others\", sign = \"free\" }]";
    train(&folder, "said", &[STEPS, "model.rsnn.inter_area = \"none\"", said]);
    assert_eq!(weights(&folder, "preset", 4), weights(&folder, "said", 4));
    train(&folder, "whole", &[&LONG[..], &[STEPS]].concat());
    train(&folder, "halves", &[&LONG[..], &["train.max_steps = 2"]].concat());
    resume(&folder, "halves", &[STEPS]);
    assert_eq!(weights(&folder, "whole", 4), weights(&folder, "halves", 4));
    assert_ne!(weights(&folder, "whole", 4), weights(&folder, "preset", 4));
}

#[test]
fn a_rule_without_neurons_is_told_and_the_report_says_what_projects() {
    let folder = folder();
    let idle = "model.rsnn.projections = [{ from = \"area1\", type = \"inhibitory\", to = \"others\" }, { from = \"area2\", type = \
                \"unknown\", to = \"area1\", sign = \"negative\" }]";
    let run = train(&folder, "a", &[STEPS, idle]);
    let warning =
        "model.rsnn.projections[1] has no effect: the model has no unknown neuron in area2 that could project to area1";
    assert_eq!(run.stderr.matches("has no effect").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    succeed(&folder, &with_sets(&["evaluate", "a", "--trials", "12"], &[]));
    let page = std::fs::read_to_string(folder.path("a/report/index.html")).unwrap();
    assert!(
        page.contains("excitatory and unknown neurons project; inhibitory of area1 → other areas"),
        "{page}"
    );
}
