//! Where trials lie among each other: principal components, UMAP, clusters.

pub mod clusters;
pub mod pca;
pub mod umap;

pub use clusters::Clusters;
pub use pca::Pca;
pub use umap::{Umap, graph_clusters};
