//! The fuzzy graph against umap-learn; the layout by what a layout is for.

use super::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/golden/umap.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

/// 36 points in three groups of 12.
fn points() -> Array2<f64> {
    let rows: Vec<Vec<f64>> = golden()["points"].as_array().unwrap().iter().map(numbers).collect();
    Array2::from_shape_fn((rows.len(), rows[0].len()), |(i, f)| rows[i][f])
}

#[test]
fn scales_and_graph_are_those_of_umap_learn() {
    let (golden, data) = (golden(), points());
    let n = data.nrows();
    let neighbors: Vec<_> = (0..n).map(|i| nearest(&data.view(), &data.row(i), 15)).collect();
    let mean = mean_distance(&neighbors);
    let (sigma, rho) = (numbers(&golden["sigma"]), numbers(&golden["rho"]));
    for (i, near) in neighbors.iter().enumerate() {
        let scale = Scale::of(near, 1.0, mean);
        assert!((scale.nearest - rho[i]).abs() < 1e-5);
        // umap-learn bisects to 1e-5 of the sum, in single precision.
        assert!(
            (scale.bandwidth - sigma[i]).abs() < 1e-3 * sigma[i],
            "{scale:?}, {}",
            sigma[i]
        );
    }
    let graph = fuzzy_graph(&neighbors);
    let expected = golden["graph"].as_array().unwrap();
    assert_eq!(graph.len(), expected.len());
    for edge in expected {
        let edge = numbers(edge);
        let found = graph[&(edge[0] as usize, edge[1] as usize)];
        assert!((found - edge[2]).abs() < 1e-4, "{edge:?}: {found}");
    }
}

fn centre(embedding: &Array2<f64>, rows: std::ops::Range<usize>) -> Array1<f64> {
    let part = embedding.slice(ndarray::s![rows, ..]);
    part.mean_axis(Axis(0)).unwrap()
}

fn distance(a: &ArrayView1<'_, f64>, b: &ArrayView1<'_, f64>) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum::<f64>().sqrt()
}

#[test]
fn points_lie_with_their_group_and_new_points_are_placed_among_their_like() {
    let data = points();
    let umap = Umap::fit(&data.view(), &mut SmallRng::seed_from_u64(1)).unwrap();
    let centres: Vec<_> = (0..3).map(|g| centre(umap.embedding(), 12 * g..12 * g + 12)).collect();
    let own_is_nearest = |point: &ArrayView1<'_, f64>, group: usize| {
        let to = |g: usize| distance(point, &centres[g].view());
        (0..3).all(|g| g == group || to(group) < to(g))
    };
    let n_right = umap
        .embedding()
        .outer_iter()
        .enumerate()
        .filter(|(i, p)| own_is_nearest(p, i / 12))
        .count();
    assert!(n_right >= 34, "{n_right} of 36 with their group");
    let means = Array2::from_shape_fn((3, 4), |(g, f)| {
        data.slice(ndarray::s![12 * g..12 * g + 12, f]).mean().unwrap()
    });
    let placed = umap.project(&means.view(), &mut SmallRng::seed_from_u64(2)).unwrap();
    for (group, point) in placed.outer_iter().enumerate() {
        assert!(own_is_nearest(&point, group), "template {group} at {point}");
    }
}

#[test]
fn neighbours_stay_neighbours() {
    // A ring of 200 points in 20 dimensions: neighbours on the ring are neighbours in the plane.
    let mut rng = SmallRng::seed_from_u64(5);
    let data = Array2::from_shape_fn((200, 20), |(i, f)| {
        let angle = std::f64::consts::TAU * i as f64 / 200.0;
        [angle.cos(), angle.sin()][f % 2] * (1.0 + f as f64 / 20.0)
    });
    let umap = Umap::fit(&data.view(), &mut rng).unwrap();
    let embedding = umap.embedding();
    let mut kept = 0;
    for (i, point) in embedding.outer_iter().enumerate() {
        let near = nearest(&embedding.view(), &point, 11);
        kept += near
            .iter()
            .filter(|(j, _)| *j != i && (i.abs_diff(*j)).min(200 - i.abs_diff(*j)) <= 10)
            .count();
    }
    assert!(kept as f64 > 0.9 * 2000.0, "{kept} of 2000 neighbours kept");
}

#[test]
fn a_seed_gives_one_picture_and_impossible_points_are_refused() {
    let data = points();
    let fit = |seed| Umap::fit(&data.view(), &mut SmallRng::seed_from_u64(seed)).unwrap();
    assert_eq!(fit(3).embedding(), fit(3).embedding());
    assert_ne!(fit(3).embedding(), fit(4).embedding());
    let mut rng = SmallRng::seed_from_u64(0);
    assert!(Umap::fit(&data.slice(ndarray::s![..4, ..]), &mut rng).is_err());
    assert!(Umap::fit(&Array2::from_elem((6, 2), f64::NAN).view(), &mut rng).is_err());
    assert!(fit(3).project(&Array2::zeros((1, 3)).view(), &mut rng).is_err());
    // Equal points, and groups that no edge connects, have a picture too.
    for data in [
        Array2::<f64>::ones((20, 3)),
        Array2::from_shape_fn((40, 1), |(i, _)| 1000.0 * (i / 20) as f64 + (i % 20) as f64 * 0.01),
        Array2::from_shape_fn((40, 2), |(i, _)| 1000.0 * (i / 20) as f64 + (i % 20) as f64 * 0.01),
    ] {
        let umap = Umap::fit(&data.view(), &mut rng).unwrap();
        assert!(umap.embedding().iter().all(|x| x.is_finite()));
    }
}

#[test]
fn clusters_of_the_graph_may_be_long_and_of_unequal_size() {
    // 80 points along a line and 20 beside its middle: k-means would cut the line.
    let data = Array2::from_shape_fn((100, 2), |(i, axis)| {
        let wiggle = 0.3 * ((i * (axis + 2) * 37 % 19) as f64 / 19.0);
        match (i < 80, axis) {
            (true, 0) => 0.25 * i as f64 + wiggle,
            (false, 0) => 9.0 + 0.1 * (i - 80) as f64 + wiggle,
            (true, _) => wiggle,
            (false, _) => 4.0 + wiggle,
        }
    });
    let labels = graph_clusters(&data.view(), 2, &mut SmallRng::seed_from_u64(1)).unwrap();
    assert!(labels[..80].iter().all(|l| *l == labels[0]), "{labels:?}");
    assert!(labels[80..].iter().all(|l| *l == 1 - labels[0]), "{labels:?}");
    let found = Clusters::of_labels(&data.view(), labels.clone(), 2).unwrap();
    assert!((found.centers[[1 - labels[0], 1]] - 4.1).abs() < 0.2);
    assert!(Clusters::of_labels(&data.view(), labels, 1).is_err());
    let mut rng = SmallRng::seed_from_u64(1);
    assert!(graph_clusters(&data.slice(ndarray::s![..4, ..]), 2, &mut rng).is_err());
}
