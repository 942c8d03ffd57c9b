use super::*;
use ndarray::{Array4, s};

fn random(shape: &[usize], number: u64) -> ArrayD<f32> {
    let mut rng = StreamRng::new(4, "test.encoder", number);
    ArrayD::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0))
}

fn specs() -> Vec<EncoderSpec> {
    let cosines = Basis::RaisedCosine {
        n: 3,
        linear_steps: 2.0,
    };
    let spec = |pixels, lags, basis, layers| EncoderSpec {
        pixels,
        lags,
        basis,
        layers,
    };
    let image = vec![
        Layer::Conv { filters: 3, kernel: 3 },
        Layer::MaxPool { size: 3, stride: 2 },
        Layer::Conv { filters: 2, kernel: 3 },
        Layer::MaxPool { size: 3, stride: 2 },
    ];
    let retina = vec![
        Layer::Conv { filters: 4, kernel: 1 },
        Layer::Conv { filters: 3, kernel: 5 },
        Layer::Dense { units: 4 },
    ];
    vec![
        spec([1, 4], 12, cosines, vec![]),
        spec([1, 7], 12, cosines, retina),
        spec([7, 7], 2, Basis::Raw, image),
    ]
}

/// The layers as loops in f64: drive of one row.
fn loops(spec: &EncoderSpec, parameters: &Parameters, features: &[f32]) -> Vec<f64> {
    let mut shape = spec.shapes()[0];
    let mut x: Vec<f64> = features.iter().map(|x| f64::from(*x)).collect();
    for (l, layer) in spec.layers.iter().enumerate() {
        let array = |part: &str| parameters.get(&format!("encoder.{l}.{part}")).unwrap().mapv(f64::from);
        let next = spec.shapes()[l + 1];
        let mut y = vec![0.0; next.len()];
        let at = |m: usize, i: i64, j: i64| -> Option<f64> {
            let inside = i >= 0 && j >= 0 && i < shape.height as i64 && j < shape.width as i64;
            inside.then(|| x[(m * shape.height + i as usize) * shape.width + j as usize])
        };
        match *layer {
            Layer::Dense { units } => {
                let (w, bias) = (array("w"), array("bias"));
                for u in 0..units {
                    let sum: f64 = x.iter().enumerate().map(|(f, x)| w[[u, f]] * x).sum();
                    y[u] = (sum + bias[[u]]).max(0.0);
                }
            }
            Layer::Conv { filters, .. } => {
                let (w, bias) = (array("w").into_dimensionality::<ndarray::Ix4>().unwrap(), array("bias"));
                let w: &Array4<f64> = &w;
                let (a, b) = (w.dim().2, w.dim().3);
                for o in 0..filters {
                    for i in 0..shape.height {
                        for j in 0..shape.width {
                            let mut sum = bias[[o]];
                            for m in 0..shape.maps {
                                for di in 0..a {
                                    for dj in 0..b {
                                        let (ii, jj) = (
                                            i as i64 + di as i64 - (a / 2) as i64,
                                            j as i64 + dj as i64 - (b / 2) as i64,
                                        );
                                        sum += w[[o, m, di, dj]] * at(m, ii, jj).unwrap_or(0.0);
                                    }
                                }
                            }
                            y[(o * next.height + i) * next.width + j] = sum.max(0.0);
                        }
                    }
                }
            }
            Layer::MaxPool { size, stride } => {
                let before = |pixels: usize, out: usize| ((out - 1) * stride + size).saturating_sub(pixels) / 2;
                for m in 0..shape.maps {
                    for i in 0..next.height {
                        for j in 0..next.width {
                            let mut most = f64::NEG_INFINITY;
                            for di in 0..size {
                                for dj in 0..size {
                                    let ii = (i * stride + di) as i64 - before(shape.height, next.height) as i64;
                                    let jj = (j * stride + dj) as i64 - before(shape.width, next.width) as i64;
                                    most = at(m, ii, jj).map_or(most, |x| most.max(x));
                                }
                            }
                            y[(m * next.height + i) * next.width + j] = most;
                        }
                    }
                }
            }
        }
        (x, shape) = (y, next);
    }
    let w = parameters.get("encoder.out.w").unwrap();
    (0..w.shape()[1])
        .map(|n| x.iter().enumerate().map(|(f, x)| f64::from(w[[f, n]]) * x).sum())
        .collect()
}

#[test]
fn drives_and_gradients_are_those_of_plain_loops() {
    let device = crate::device::open(crate::device::DeviceChoice::Cpu).unwrap().device;
    for (number, spec) in specs().into_iter().enumerate() {
        let encoder = Encoder::new(spec.clone(), 3).unwrap();
        let mut parameters = encoder.initial(9);
        for (_, array) in parameters.iter_mut() {
            // Biases take part too.
            let noise = random(array.shape(), 50 + number as u64);
            *array += &(noise * 0.3);
        }
        let rows = 3;
        let features = random(&[rows, encoder.n_features()], number as u64);
        let features = features.into_dimensionality::<ndarray::Ix2>().unwrap();
        let encoded = encoder.encode(&device, &parameters, &features.view()).unwrap();
        let value = |parameters: &Parameters, d: &Array2<f32>| -> f64 {
            let rows = features.rows().into_iter().zip(d.rows());
            rows.map(|(x, d)| {
                let drive = loops(&spec, parameters, x.as_slice().unwrap());
                drive.iter().zip(d).map(|(a, b)| a * f64::from(*b)).sum::<f64>()
            })
            .sum()
        };
        for (row, x) in features.rows().into_iter().enumerate() {
            for (n, expected) in loops(&spec, &parameters, x.as_slice().unwrap()).iter().enumerate() {
                let found = f64::from(encoded.drive[[row, n]]);
                assert!((found - expected).abs() < 1e-4, "{spec:?}: {found} {expected}");
            }
        }
        let d = random(&[rows, 3], 90).into_dimensionality::<ndarray::Ix2>().unwrap();
        let gradients = encoded.backward(&d).unwrap();
        assert_eq!(gradients.len(), parameters.len());
        for (name, gradient) in gradients.iter() {
            for (flat, found) in gradient.iter().enumerate().step_by(3) {
                let moved = |h: f32| {
                    let mut p = parameters.clone();
                    *p.get_mut(name).unwrap().iter_mut().nth(flat).unwrap() += h;
                    value(&p, &d)
                };
                // A power of two, so that the parameter moves by what is divided by.
                let h = 1.0 / 4096.0;
                let slope = (moved(h) - moved(-h)) / (2.0 * f64::from(h));
                let error = (f64::from(*found) - slope).abs();
                assert!(
                    error < 2e-3 * slope.abs().max(1.0),
                    "{spec:?}: {name} {flat}: {found} {slope}"
                );
            }
        }
    }
}

#[test]
fn the_mean_gradient_is_that_of_plain_loops_and_a_filter_is_what_it_makes_of_the_stimulus() {
    let device = crate::device::open(crate::device::DeviceChoice::Cpu).unwrap().device;
    for (number, spec) in specs().into_iter().enumerate() {
        let encoder = Encoder::new(spec.clone(), 3).unwrap();
        let mut parameters = encoder.initial(9);
        for (_, array) in parameters.iter_mut() {
            *array += &(random(array.shape(), 70 + number as u64) * 0.3);
        }
        let features = random(&[3, encoder.n_features()], number as u64);
        let features = features.into_dimensionality::<ndarray::Ix2>().unwrap();
        let found = encoder
            .mean_gradient(&device, &parameters, &features.view(), 1)
            .unwrap();
        let mean = |f: usize, h: f32| -> f64 {
            let rows = features.rows().into_iter();
            let drives = rows.map(|row| {
                let mut row = row.to_vec();
                row[f] += h;
                loops(&spec, &parameters, &row)[1]
            });
            drives.sum::<f64>() / 3.0
        };
        let h = 1.0 / 4096.0;
        for f in (0..features.ncols()).step_by(5) {
            let slope = (mean(f, h) - mean(f, -h)) / (2.0 * f64::from(h));
            assert!((found[f] - slope).abs() < 2e-3, "{spec:?} {f}: {} {slope}", found[f]);
        }
        if spec.layers.is_empty() {
            // A filter over lags and channels gives the drive of the weights of features.
            let stimulus = random(&[30, spec.n_channels()], 5)
                .into_dimensionality::<ndarray::Ix2>()
                .unwrap();
            let rows = encoder.features(&stimulus.view(), 25, 1).unwrap();
            let rows = rows.into_shape_with_order((1, encoder.n_features())).unwrap();
            let drive = encoder.encode(&device, &parameters, &rows.view()).unwrap().drive[[0, 1]];
            let filter = encoder.filter(&found);
            let expected: f64 = filter
                .indexed_iter()
                .map(|((lag, c), w)| w * f64::from(stimulus[[25 - lag, c]]))
                .sum();
            assert!((f64::from(drive) - expected).abs() < 1e-4, "{drive} {expected}");
        }
        assert!(
            encoder
                .mean_gradient(&device, &parameters, &features.view(), 3)
                .is_err()
        );
    }
}

#[test]
fn features_are_sums_over_lags_of_a_stimulus_that_holds_its_first_bin() {
    for (number, spec) in specs().into_iter().enumerate() {
        let encoder = Encoder::new(spec.clone(), 1).unwrap();
        let (t_end, c) = (40, spec.n_channels());
        let changing = random(&[t_end, c], number as u64)
            .into_dimensionality::<ndarray::Ix2>()
            .unwrap();
        let frames = Array2::from_shape_fn((t_end, c), |(t, c)| changing[[t / 10 * 10, c]]);
        for stimulus in [&changing, &frames] {
            for (first, bins) in [(0, 40), (0, 1), (25, 15), (7, 3)] {
                let found = encoder.features(&stimulus.view(), first, bins).unwrap();
                let basis = spec.basis.values(spec.lags);
                for ((bin, b, c), found) in found.indexed_iter() {
                    let expected: f64 = (0..spec.lags)
                        .map(|lag| basis[[b, lag]] * f64::from(stimulus[[(first + bin).saturating_sub(lag), c]]))
                        .sum();
                    assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} {expected}");
                }
            }
        }
        assert!(encoder.features(&frames.view(), 30, 11).is_err());
        assert!(encoder.features(&frames.slice(s![.., ..c - 1]), 0, 1).is_err());
    }
}

#[test]
fn the_published_image_encoder_has_the_published_sizes() {
    let spec = EncoderSpec {
        pixels: [27, 27],
        lags: 10,
        basis: Basis::Raw,
        layers: vec![
            Layer::Conv { filters: 16, kernel: 7 },
            Layer::MaxPool { size: 3, stride: 2 },
            Layer::Conv { filters: 32, kernel: 7 },
            Layer::MaxPool { size: 3, stride: 2 },
        ],
    };
    let shapes = spec.shapes();
    assert_eq!((shapes[2].height, shapes[4].height, shapes[4].len()), (14, 7, 1568));
    let n_weights = spec.n_weights(69);
    let parameters = Encoder::new(spec, 69).unwrap().initial(0);
    assert_eq!(
        n_weights,
        parameters.iter().map(|(_, array)| array.len() as u64).sum::<u64>()
    );
    assert_eq!(parameters.get("encoder.out.w").unwrap().shape(), [1568, 69]);
    assert_eq!(parameters.get("encoder.0.w").unwrap().shape(), [16, 10, 7, 7]);
    let limit = (6.0f32 / ((16 + 10) * 49) as f32).sqrt();
    let most = parameters
        .get("encoder.0.w")
        .unwrap()
        .iter()
        .fold(0.0f32, |m, x| m.max(x.abs()));
    assert!(most <= limit && most > 0.99 * limit);
}

#[test]
fn numbers_out_of_range_are_refused() {
    let good = specs().remove(1);
    let with = |layer| EncoderSpec {
        layers: vec![layer],
        ..good.clone()
    };
    for bad in [
        with(Layer::Conv { filters: 0, kernel: 3 }),
        with(Layer::Conv { filters: 2, kernel: 4 }),
        with(Layer::MaxPool { size: 1, stride: 2 }),
        with(Layer::Dense { units: 0 }),
        with(Layer::Conv {
            filters: 1 << 20,
            kernel: (1 << 20) + 1,
        }),
        with(Layer::Dense { units: 1 << 34 }),
        EncoderSpec {
            pixels: [0, 3],
            ..good.clone()
        },
        EncoderSpec {
            lags: 0,
            ..good.clone()
        },
    ] {
        assert!(Encoder::new(bad, 2).is_err());
    }
    let encoder = Encoder::new(good, 2).unwrap();
    let mut parameters = encoder.initial(0);
    parameters.remove("encoder.1.w");
    assert!(encoder.check(&parameters).is_err());
}

/// Encoders of every layer after every other one.
fn mixed_specs() -> Vec<EncoderSpec> {
    let conv = |filters, kernel| Layer::Conv { filters, kernel };
    let pool = |size, stride| Layer::MaxPool { size, stride };
    let dense = |units| Layer::Dense { units };
    let spec = |pixels, layers| EncoderSpec {
        pixels,
        lags: 3,
        basis: Basis::Raw,
        layers,
    };
    vec![
        spec([6, 9], vec![conv(4, 5), pool(3, 2), conv(3, 3), dense(5)]),
        spec([9, 6], vec![pool(2, 2), conv(4, 1), pool(3, 1), dense(5), dense(4)]),
        spec([5, 1], vec![conv(4, 7), conv(2, 1), pool(4, 3)]),
        // Kernels wider than the image; an image of one pixel.
        spec([2, 3], vec![conv(3, 7), dense(6), conv(2, 3)]),
        spec([1, 2], vec![conv(3, 7)]),
        spec([4, 2], vec![conv(3, 9), conv(2, 7)]),
        spec([1, 40], vec![dense(7)]),
        spec([30, 50], vec![conv(2, 3)]),
        spec([4, 4], vec![]),
    ]
}

#[test]
fn the_processor_computes_what_burn_does() {
    let device = Device::flex();
    for (number, spec) in mixed_specs().into_iter().chain(specs()).enumerate() {
        // One neuron or more.
        let n = [3, 1][number % 2];
        let encoder = Encoder::new(spec.clone(), n).unwrap();
        let mut parameters = encoder.initial(9);
        for (_, array) in parameters.iter_mut() {
            *array += &(random(array.shape(), 30 + number as u64) * 0.2);
        }
        for rows in [1, 400] {
            let features = random(&[rows, encoder.n_features()], number as u64);
            let features = features.into_dimensionality::<ndarray::Ix2>().unwrap();
            let d = random(&[rows, n], 90).into_dimensionality::<ndarray::Ix2>().unwrap();
            let (drive, layers) = processor::Forward::of(&encoder, &parameters, &features.view()).unwrap();
            let (burns, tensors) = tensors::Forward::of(&encoder, &device, &parameters, &features.view()).unwrap();
            let close = |what: &str, found: &[f64], expected: &[f64]| {
                assert_eq!(found.len(), expected.len(), "{what}");
                let scale = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
                // Of a single row all rectifiers may be shut.
                assert!(scale > 0.0 || rows == 1, "{spec:?}: {what} is 0 everywhere");
                for (found, expected) in found.iter().zip(expected) {
                    let error = (found - expected).abs();
                    assert!(error <= 2e-5 * scale, "{spec:?}: {what}: {found} {expected} of {scale}");
                }
            };
            let wide = |values: &ArrayD<f32>| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
            close("drive", &wide(&drive.into_dyn()), &wide(&burns.into_dyn()));
            let gradients = layers.backward(&d);
            let expected = tensors.backward(&d).unwrap();
            assert_eq!(gradients.len(), expected.len());
            for (name, expected) in expected.iter() {
                let found = gradients.get(name).unwrap();
                assert_eq!(found.shape(), expected.shape());
                close(name, &wide(found), &wide(expected));
            }
            let expected =
                tensors::sum_of_feature_gradients(&encoder, &device, &parameters, &features.view(), n - 1).unwrap();
            close("features", &layers.sum_of_feature_gradients(n - 1), &expected);
        }
    }
}

#[test]
fn sums_do_not_depend_on_the_number_of_threads() {
    let spec = mixed_specs().remove(0);
    let encoder = Encoder::new(spec, 3).unwrap();
    let parameters = encoder.initial(1);
    let rows = 3000;
    let features = random(&[rows, encoder.n_features()], 1);
    let features = features.into_dimensionality::<ndarray::Ix2>().unwrap();
    let d = random(&[rows, 3], 2).into_dimensionality::<ndarray::Ix2>().unwrap();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (drive, layers) = processor::Forward::of(&encoder, &parameters, &features.view()).unwrap();
            (drive, layers.backward(&d), layers.sum_of_feature_gradients(0))
        })
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn what_is_no_number_in_a_feature_reaches_the_drive() {
    for spec in mixed_specs() {
        let encoder = Encoder::new(spec.clone(), 2).unwrap();
        let parameters = encoder.initial(1);
        // Every neuron, rectifier and pool sees the pixels of the first row; that they are all wrong leaves none that hides it.
        let mut features = Array2::ones((2, encoder.n_features()));
        features.row_mut(0).fill(f32::NAN);
        let (drive, _) = processor::Forward::of(&encoder, &parameters, &features.view()).unwrap();
        assert!(drive.row(0).iter().all(|x| x.is_nan()), "{spec:?}");
        assert!(drive.row(1).iter().all(|x| x.is_finite()), "{spec:?}");
    }
}
