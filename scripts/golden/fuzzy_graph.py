"""Golden values of UMAP's fuzzy graph, from umap-learn 0.5.12 (pip install umap-learn); run in the top folder."""

import json

import numpy as np
from umap.umap_ import fuzzy_simplicial_set, smooth_knn_dist

K = 15
rng = np.random.default_rng(7)
# 36 points in three groups, with three decimals, so that the file has them exactly.
centres = np.array([[0, 0, 0, 0], [3, 0, 1, 0], [0, 4, 0, 2.0]])
points = np.round(np.concatenate([c + 0.7 * rng.standard_normal((12, 4)) for c in centres]), 3)
distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
indices = np.argsort(distances, axis=1, kind="stable")[:, :K]
near = np.take_along_axis(distances, indices, 1).astype(np.float32)
sigma, rho = smooth_knn_dist(near, float(K), local_connectivity=1.0)
graph, _, _ = fuzzy_simplicial_set(
    points.astype(np.float32), K, np.random.RandomState(0), "euclidean", knn_indices=indices, knn_dists=near
)
graph = graph.toarray()
n = len(points)
edges = [[i, j, float(graph[i, j])] for i in range(n) for j in range(n) if graph[i, j] > 0]
with open("crates/losses/tests/golden/umap.json", "w") as file:
    json.dump({"points": points.tolist(), "sigma": sigma.tolist(), "rho": rho.tolist(), "graph": edges}, file)
