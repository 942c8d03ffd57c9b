//! The whole model against values of the published program (float64), and its projection.

use super::*;
use crate::bits::SpikeBits;
use crate::connectivity::{project_inputs, spectral_radius};
use crate::models::rsnn::readout::Readout;
use crate::models::rsnn::simulate::Prepared;
use crate::rollout::feedback::FeedbackState;
use crate::rollout::{InputEvents, Noise, Run, SpikeAdjoint, State};
use ndarray::{Array2, Array3, Axis, Ix1, Ix2, Ix3};
use std::path::PathBuf;

/// An oracle file; none (said aloud) where the shared files are missing, a failure in continuous integration.
#[expect(
    clippy::print_stderr,
    reason = "the test harness has no other way to say that a test was skipped"
)]
fn open(name: &str) -> Option<hdf5::File> {
    let default = PathBuf::from(manifest_dir()).join("../../../shared");
    let shared = std::env::var_os("SNNFIT_SHARED").map_or(default, PathBuf::from);
    let path = shared.join("oracle/trial_matching").join(name);
    if path.exists() {
        return Some(hdf5::File::open(&path).unwrap());
    }
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{} is missing",
        path.display()
    );
    eprintln!("skipped: {} is missing (set SNNFIT_SHARED)", path.display());
    None
}

fn array<D: ndarray::Dimension>(file: &hdf5::File, name: &str) -> ndarray::Array<f64, D> {
    file.dataset(name)
        .unwrap()
        .read_dyn::<f64>()
        .unwrap()
        .into_dimensionality()
        .unwrap()
}

fn scalar(file: &hdf5::File, name: &str) -> f64 {
    file.dataset(name).unwrap().read_scalar().unwrap()
}

/// Magnitudes `[…, post, pre]` to signed weights `[…, pre, post]`; presynaptic cells from `n_exc` on are negative.
fn signed(magnitudes: &Array2<f64>, n_exc: usize) -> Array2<f64> {
    Array2::from_shape_fn((magnitudes.ncols(), magnitudes.nrows()), |(pre, post)| {
        if pre < n_exc {
            magnitudes[[post, pre]]
        } else {
            -magnitudes[[post, pre]]
        }
    })
}

fn signed_groups(magnitudes: &Array3<f64>, n_exc: usize) -> Array3<f64> {
    let groups: Vec<_> = magnitudes.outer_iter().map(|w| signed(&w.to_owned(), n_exc)).collect();
    ndarray::stack(Axis(0), &groups.iter().map(|w| w.view()).collect::<Vec<_>>()).unwrap()
}

/// Trial-major copy `[K, T, N]` of a time-major array.
fn trial_major(file: &hdf5::File, name: &str) -> Array3<f64> {
    array::<Ix3>(file, name)
        .permuted_axes([1, 0, 2])
        .as_standard_layout()
        .into_owned()
}

fn single<D: ndarray::Dimension>(a: &ndarray::Array<f64, D>) -> ndarray::Array<f32, D> {
    a.mapv(|x| x as f32)
}

/// The oracle's 20 neurons: 16 excitatory (8 per area), 4 inhibitory (2 per area).
fn oracle_neurons(file: &hdf5::File) -> Vec<Neuron> {
    let (areas, n_exc) = (array::<Ix1>(file, "area_index"), scalar(file, "n_exc") as usize);
    let cell_type = |n| {
        if n < n_exc {
            CellType::Excitatory
        } else {
            CellType::Inhibitory
        }
    };
    areas
        .iter()
        .enumerate()
        .map(|(n, area)| Neuron {
            area: *area as usize,
            cell_type: cell_type(n),
        })
        .collect()
}

/// Kernel `[N, 1, L]` of the longest lag first to ours, `[1, L, N]` of the shortest first.
fn kernel(theirs: &Array3<f64>) -> Array3<f64> {
    let (n, _, n_lags) = theirs.dim();
    Array3::from_shape_fn((1, n_lags, n), |(_, l, j)| theirs[[j, 0, n_lags - 1 - l]])
}

fn oracle_model(file: &hdf5::File, has_latent: bool) -> Rsnn {
    let spec = RsnnSpec {
        neurons: oracle_neurons(file),
        delays: vec![1, 2],
        temperature: 15.0,
        sigma: 0.1,
        n_warmup: 0,
        input: InputSpec::Poisson(PoissonInput {
            n: 12,
            rate_hz: 5.0,
            p_exc: 0.75,
            p_stim: 0.5,
            first_steps: vec![],
            n_duration: 0,
            gain: 0.0,
            scale: StimulusScale::Log,
            channels: Vec::new(),
        }),
        latent: has_latent.then(|| latent(LatentKind::Mlp, false)),
        behaviour: Some(BehaviourSpec {
            traces: vec![TraceSpec {
                name: "jaw".into(),
                motor_areas: vec![1],
                tau_ms: 50.0,
                link: Link::Log,
            }],
            feedback: file.dataset("jaw_feedback_kernel").is_ok().then_some(FeedbackSpec {
                first_lag: 7,
                n_lags: 14,
            }),
        }),
        ..small_spec()
    };
    let (n_exc, n_exc_in) = (scalar(file, "n_exc") as usize, scalar(file, "n_exc_in") as usize);
    let mut p = Parameters::new();
    p.insert("w", single(&signed_groups(&array(file, "w_rec"), n_exc)));
    p.insert("w_in", single(&signed(&array(file, "w_in"), n_exc_in)));
    p.insert("v_rest", single(&array::<Ix1>(file, "v_rest")));
    p.insert("noise_gain", single(&array::<Ix1>(file, "noise_bias")));
    p.insert("readout.w", single(&array::<Ix2>(file, "w_jaw")));
    p.insert("readout.baseline", single(&array::<Ix1>(file, "jaw_bias")));
    if has_latent {
        p.insert("latent.w1", single(&array::<Ix2>(file, "lat_w1").reversed_axes()));
        p.insert("latent.b1", single(&array::<Ix1>(file, "lat_b1")));
        p.insert("latent.w2", single(&array::<Ix2>(file, "lat_w2").reversed_axes()));
    }
    if file.dataset("jaw_feedback_kernel").is_ok() {
        p.insert("feedback.kernel", single(&kernel(&array(file, "jaw_feedback_kernel"))));
    }
    let model = Rsnn::with_parameters(spec, p).unwrap();
    for (ours, theirs) in model.alpha().iter().zip(&array::<Ix1>(file, "decay_v")) {
        assert!((ours - theirs).abs() < 1e-12);
    }
    model
}

/// The oracle's own inputs, noise, state and latents in place of drawn ones.
fn oracle_run(file: &hdf5::File, model: &Rsnn) -> (Prepared, (Readout, Array2<f64>)) {
    let inputs = trial_major(file, "input_spikes");
    let (n_trials, n_steps, n_inputs) = inputs.dim();
    let events = InputEvents::build(n_inputs, n_trials, n_steps, |k, t, out| {
        out.extend((0..n_inputs as u16).filter(|i| inputs[[k, t, usize::from(*i)]] > 0.0));
    });
    let history = trial_major(file, "state_z").mapv(|z| z as u8);
    let psi = model.spec.latent.as_ref().map(|_| array::<Ix2>(file, "trial_noise"));
    let run = Run {
        n_trials,
        n_warmup: 0,
        n_steps,
        events: Some(events),
        drive: None,
        trial_offset: psi.as_ref().map(|psi| {
            let latent = model.spec.latent.as_ref().unwrap();
            model.trial_offset(latent, psi, n_steps).unwrap()
        }),
        noise: Noise::Given {
            normals: single(&trial_major(file, "gauss")),
            uniforms: single(&trial_major(file, "uniforms")),
        },
        clamp: None,
        initial: State {
            v: single(&array::<Ix2>(file, "state_v")),
            refractory: array::<Ix2>(file, "state_ref").mapv(|r| r as u8),
            history: SpikeBits::from_array(history.view()),
            feedback: file.dataset("jaw_buffer0").ok().map(|_| FeedbackState {
                filter: (array::<Ix2>(file, "state_jaw") + &array::<Ix1>(file, "jaw_bias")).mapv(f64::ln),
                past: past_jaw(file, n_trials),
            }),
        },
    };
    let prepared = Prepared {
        network: model.network().unwrap(),
        run,
        latent: psi,
        stimuli: None,
    };
    let baseline = array::<Ix1>(file, "jaw_bias");
    let start = (array::<Ix2>(file, "state_jaw") + &baseline).mapv(f64::ln);
    (
        prepared,
        (Readout::new(&model.spec, &model.parameters).unwrap().unwrap(), start),
    )
}

/// The last 20 values of the jaw, oldest first, `[K, 20, 1]`.
fn past_jaw(file: &hdf5::File, n_trials: usize) -> Array3<f64> {
    let buffer = trial_major(file, "jaw_buffer0");
    assert_eq!(buffer.dim(), (n_trials, 20, 1));
    buffer
}

fn largest<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    values.into_iter().fold(0.0, |a, b| a.max(b.abs()))
}

/// Largest difference of two arrays relative to the largest entry of the second.
fn relative(ours: &ndarray::ArrayD<f32>, theirs: &ndarray::ArrayD<f64>) -> f64 {
    assert_eq!(ours.shape(), theirs.shape());
    largest(&(ours.mapv(f64::from) - theirs)) / largest(theirs)
}

fn compare_with_oracle(name: &str, has_latent: bool) {
    let Some(file) = open(name) else { return };
    let model = oracle_model(&file, has_latent);
    let (prepared, readout) = oracle_run(&file, &model);
    let simulation = Rsnn::roll(&Engine::Native, prepared, Some(readout), true).unwrap();

    let spikes = trial_major(&file, "spikes");
    assert_eq!(
        simulation.rollout.host().unwrap().spikes.to_array().mapv(f64::from),
        spikes
    );
    let potentials = simulation
        .rollout
        .host()
        .unwrap()
        .potentials
        .as_ref()
        .unwrap()
        .mapv(f64::from);
    assert!(largest(&(potentials - trial_major(&file, "v_before_reset"))) < 1e-5);
    let jaw = trial_major(&file, "jaw");
    assert!(largest(&(simulation.behaviour.as_ref().unwrap() - &jaw)) < 1e-6);

    let d_spikes = trial_major(&file, "loss_A") / (spikes.dim().0 * spikes.dim().2) as f64;
    let d_jaw = trial_major(&file, "loss_C");
    let loss = (&d_spikes * &spikes).sum() + (&d_jaw * simulation.behaviour.as_ref().unwrap()).sum();
    assert!((loss - scalar(&file, "loss")).abs() < 1e-5);
    let adjoint = SpikeAdjoint {
        dense: Some(single(&d_spikes)),
        ..SpikeAdjoint::default()
    };
    let gradients = model
        .backward(&Engine::Native, simulation, adjoint, Some(&d_jaw))
        .unwrap();

    let (n_exc, n_exc_in) = (scalar(&file, "n_exc") as usize, scalar(&file, "n_exc_in") as usize);
    let mut expected = vec![
        ("w", signed_groups(&array(&file, "grad__w_rec"), n_exc).into_dyn()),
        ("w_in", signed(&array(&file, "grad__w_in"), n_exc_in).into_dyn()),
        ("v_rest", array::<Ix1>(&file, "grad_v_rest").into_dyn()),
        ("noise_gain", array::<Ix1>(&file, "grad_bias").into_dyn()),
        ("readout.w", array::<Ix2>(&file, "grad__w_jaw_pre").into_dyn()),
        ("readout.baseline", array::<Ix1>(&file, "grad_jaw_bias").into_dyn()),
    ];
    if has_latent {
        expected.extend([
            (
                "latent.w1",
                array::<Ix2>(&file, "grad_lin_tr_offset_weight")
                    .reversed_axes()
                    .into_dyn(),
            ),
            ("latent.b1", array::<Ix1>(&file, "grad_lin_tr_offset_bias").into_dyn()),
            (
                "latent.w2",
                array::<Ix2>(&file, "grad_lin1_tr_offset_weight")
                    .reversed_axes()
                    .into_dyn(),
            ),
        ]);
    }
    if file.dataset("grad_conv_weight").is_ok() {
        let theirs = kernel(&array(&file, "grad_conv_weight"));
        expected.push(("feedback.kernel", theirs.into_dyn()));
    }
    assert_eq!(gradients.len(), expected.len());
    for (name, theirs) in &expected {
        let difference = relative(gradients.get(name).unwrap(), theirs);
        // The engine computes in f32.
        assert!(difference < 1e-4, "gradient of {name}: {difference:e}");
    }
}

#[test]
fn the_model_gives_the_spikes_behaviour_and_gradients_of_the_published_program() {
    compare_with_oracle("sim_basic.h5", false);
}

#[test]
fn the_model_with_latents_gives_the_spikes_behaviour_and_gradients_of_the_published_program() {
    compare_with_oracle("sim_latent.h5", true);
}

#[test]
fn the_model_with_a_closed_loop_gives_the_spikes_behaviour_and_gradients_of_the_published_program() {
    compare_with_oracle("sim_jaw_closed_loop.h5", false);
}

#[test]
fn latent_offsets_are_those_of_the_published_program() {
    let Some(file) = open("sim_latent.h5") else { return };
    let model = oracle_model(&file, true);
    let latent = model.spec.latent.as_ref().unwrap();
    let ours = model.trial_offset(latent, &array(&file, "trial_noise"), 1).unwrap();
    let ours = ours.values.index_axis_move(Axis(1), 0);
    let theirs: Array2<f64> = array::<Ix2>(&file, "trial_offset") * (1.0 - model.alpha());
    assert!(largest(&(ours.mapv(f64::from) - theirs)) < 1e-7);
}

#[test]
fn the_projection_is_that_of_the_published_program() {
    let Some(file) = open("projection.h5") else { return };
    let (n_exc, n_exc_in) = (scalar(&file, "n_exc") as usize, scalar(&file, "n_exc_in") as usize);
    let (lr, l1) = (scalar(&file, "lr"), scalar(&file, "l1"));
    let mut spec = oracle_spec_of_projection(&file);
    spec.input = InputSpec::Poisson(PoissonInput {
        n: 12,
        p_exc: 0.75,
        ..poisson()
    });
    let mut model = Rsnn::new(spec, 0).unwrap();
    let before = |name: &str, model: &mut Rsnn, values: ndarray::ArrayD<f64>| {
        model.parameters.insert(name, values.mapv(|x| x as f32));
    };
    before(
        "w",
        &mut model,
        signed_groups(&array(&file, "w_rec_before"), n_exc).into_dyn(),
    );
    before(
        "w_in",
        &mut model,
        signed(&array(&file, "w_in_before"), n_exc_in).into_dyn(),
    );
    before("v_rest", &mut model, array::<Ix1>(&file, "v_rest_before").into_dyn());
    model.project(lr, l1);
    let after = [
        ("w", signed_groups(&array(&file, "w_rec_after"), n_exc).into_dyn()),
        ("w_in", signed(&array(&file, "w_in_after"), n_exc_in).into_dyn()),
        ("v_rest", array::<Ix1>(&file, "v_rest_after").into_dyn()),
    ];
    for (name, theirs) in &after {
        let ours = model.parameters.get(name).unwrap();
        for (ours, theirs) in ours.iter().zip(theirs) {
            // One rounding of an f32 each for the weight, the penalty and the difference; zeros and dormant
            // weights must be hit as such.
            assert!(
                (f64::from(*ours) - theirs).abs() < 1e-7,
                "{name}: {ours} against {theirs}"
            );
            assert_eq!(*ours == 0.0, *theirs == 0.0, "{name}: {ours} against {theirs}");
            assert_eq!(
                ours.abs() == 1e-12,
                theirs.abs() == 1e-12,
                "{name}: {ours} against {theirs}"
            );
        }
    }
    // The same, input weights alone, by the function that the model uses.
    let mut w_in = single(&signed(&array(&file, "w_in_before"), n_exc_in));
    project_inputs(w_in.view_mut(), &model.spec.input.signs(true), lr as f32, l1 as f32);
    assert_eq!(w_in.into_dyn(), *model.parameters.get("w_in").unwrap());
}

fn poisson() -> PoissonInput {
    let InputSpec::Poisson(input) = small_spec().input else {
        unreachable!("the small network has Poisson inputs")
    };
    input
}

fn oracle_spec_of_projection(file: &hdf5::File) -> RsnnSpec {
    RsnnSpec {
        neurons: oracle_neurons(file),
        delays: vec![1, 2],
        ..small_spec()
    }
}

#[test]
fn allowed_synapses_and_spectral_radius_agree_with_the_published_program() {
    let Some(file) = open("projection.h5") else { return };
    let connectivity = oracle_spec_of_projection(&file).connectivity();
    let masks: Array3<f64> = array(&file, "mask_rec");
    for ((g, post, pre), allowed) in masks.indexed_iter() {
        assert_eq!(
            connectivity.is_allowed(pre, post),
            *allowed > 0.0,
            "group {g}, {pre} to {post}"
        );
    }
    // Largest |eigenvalue| of the two signed matrices by LAPACK.
    let w = signed_groups(&array(&file, "init_w_rec"), 16);
    for (g, radius) in [0.5348880857760534, 0.4857077199691334].into_iter().enumerate() {
        let w = &w.index_axis(Axis(0), g).to_owned();
        assert!((spectral_radius(w) - radius).abs() < 1e-9);
        assert!((connectivity.spectral_radius(w) - radius).abs() < 1e-9);
    }
}

/// Folder of the package, as Cargo says it now: a build folder that several checkouts share may hold the path of another.
fn manifest_dir() -> String {
    std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned())
}
