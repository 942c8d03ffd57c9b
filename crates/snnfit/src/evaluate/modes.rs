//! Modes of the population: which kinds of trials the model has, found without labels, and which recorded types they are.

use losses::LossError;
use losses::assignment::assign;
use losses::embedding::{Clusters, Pca, Umap, graph_clusters};
use losses::metrics::{MetricValue, TrialTypeTemplates, fraction_of_type};
use losses::statistics::mean;
use ndarray::{Array2, s};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use snn_core::rng::StreamRng;
use std::collections::BTreeSet;

use super::context::{self, Context};
use super::inputs::EvaluationInputs;
use super::session_types::SessionTyper;
use super::stand_in::StandIn;
use super::trial_types::Composer;
use super::{EvaluateError, interval, report};

/// Share of the variance that the components which clusters are found in have to explain.
const EXPLAINED: f64 = 0.9;
/// Most components.
const MAX_COMPONENTS: usize = 10;
/// Version of `modes.json`.
const SCHEMA: u32 = 1;

/// Where the model's trials and the recorded templates lie: the content of `modes.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Modes {
    /// Version of this format, 1.
    pub schema: u32,
    /// Names of the trial types, by label.
    pub trial_types: Vec<String>,
    /// Shares of variance along the first two principal components.
    pub explained: Vec<f64>,
    /// Mean silhouette of the clusters, of all neurons together.
    pub silhouette: f64,
    /// The model's trials.
    pub trials: Vec<ModeTrial>,
    /// The recorded types' templates.
    pub templates: Vec<ModeTemplate>,
}

/// One trial of the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModeTrial {
    /// Stimulus condition.
    pub condition: usize,
    /// Type by template, a label; none where it could not be typed.
    pub by_template: Option<usize>,
    /// Type of the cluster that it is in.
    pub by_cluster: usize,
    /// Place along the first two principal components.
    pub pca: [f64; 2],
    /// Place in the plane of UMAP.
    pub umap: [f64; 2],
}

/// The mean of a recorded type, projected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModeTemplate {
    /// Its label.
    pub trial_type: usize,
    /// Place along the first two principal components.
    pub pca: [f64; 2],
    /// Place in the plane of UMAP.
    pub umap: [f64; 2],
}

/// Clusters of trials, named by the templates they lie next to.
struct Clustered {
    pca: Pca,
    /// Coordinates of the trials, and the type of each.
    types: Vec<usize>,
    /// Of each trial.
    silhouettes: Vec<f64>,
}

/// Clusters of rows `[K, F]`: as many as there are types, of the neighbours' graph in the space of the principal components;
/// each is given the type whose template is near, one to one.
fn cluster(rows: &Array2<f64>, templates: &TrialTypeTemplates, rng: &mut dyn Rng) -> Result<Clustered, LossError> {
    let mut rng = StreamRng::new(rng.random(), "modes", 0);
    let pca = Pca::fit(&rows.view(), MAX_COMPONENTS)?;
    let mut count = 0;
    let mut explained = 0.0;
    while count < pca.explained.len() && (count < 2 || explained < EXPLAINED) {
        explained += pca.explained[count];
        count += 1;
    }
    let coordinates = pca.transform(&rows.view())?.slice_move(s![.., ..count]);
    let placed = pca
        .transform(&templates.rows_of_templates().view())?
        .slice_move(s![.., ..count]);
    let n_types = templates.types().len();
    let labels = graph_clusters(&coordinates.view(), n_types, &mut rng)?;
    let clusters = Clusters::of_labels(&coordinates.view(), labels, n_types)?;
    let cost = Array2::from_shape_fn((clusters.centers.nrows(), placed.nrows()), |(c, y)| {
        let difference = &clusters.centers.row(c) - &placed.row(y);
        difference.dot(&difference)
    });
    let type_of = assign(&cost.view())?;
    Ok(Clustered {
        types: clusters.labels.iter().map(|&c| templates.types()[type_of[c]]).collect(),
        silhouettes: clusters.silhouettes(&coordinates.view()).unwrap_or_default(),
        pca,
    })
}

/// `mode_fraction/<type>` and `mode_silhouette`: clusters of each session's trials, found from the session's own neurons.
///
/// Session by session, because only the model has all neurons in one trial. Recorded trials of all neurons would have to be
/// put together from several sessions by their labels, and their clusters would lie apart because of that.
pub(super) fn fractions(context: &Context<'_>, rng: &mut dyn Rng) -> Result<Vec<MetricValue>, LossError> {
    let undefined = |reason: &str| LossError::NoData {
        what: "modes",
        reason: reason.to_owned(),
    };
    let mut typers = Vec::new();
    for session in 0..context.inputs.recording.sessions().len() {
        if context.model.compared[session].is_empty() {
            continue;
        }
        let typer = report::if_defined(SessionTyper::new(context.inputs, session))?;
        typers.extend(typer.filter(SessionTyper::is_typing).map(|typer| (session, typer)));
    }
    if typers.is_empty() {
        return Err(undefined("no session has training trials of two trial types"));
    }
    let found = context.each(|stand_in| {
        let mut found = Found::default();
        for (session, typer) in &typers {
            let recorded = &stand_in.recording.sessions()[*session];
            let rows = typer.rows(recorded, &stand_in.compared[*session])?;
            if let Some(clustered) = report::if_defined(cluster(&rows, typer.templates(), rng))? {
                found.types.push(clustered.types);
                found.silhouettes.push(clustered.silhouettes);
            }
        }
        if found.types.is_empty() {
            return Err(undefined("no session has trials enough to find clusters in"));
        }
        Ok(found)
    })?;
    let n = found.model.types.iter().map(Vec::len).sum();
    let n_resamples = context.inputs.settings.n_resamples;
    let mut metrics = Vec::new();
    let types: BTreeSet<usize> = typers
        .iter()
        .flat_map(|(_, typer)| typer.templates().types())
        .copied()
        .collect();
    for label in types {
        let name = format!("mode_fraction/{}", context.inputs.trial_types[label]);
        metrics.push(MetricValue {
            ci95: Some(interval::of_fraction(&found.model.types, label, n_resamples, rng)?),
            ..found.metric(&name, n, "1", |found| fraction_of_type(&found.types.concat(), label))
        });
    }
    if found.model.silhouettes.iter().any(|of_session| !of_session.is_empty()) {
        metrics.push(MetricValue {
            ci95: Some(interval::of_mean(&found.model.silhouettes, n_resamples, rng)?),
            ..found.metric("mode_silhouette", n, "1", |found| mean(&found.silhouettes.concat()))
        });
    }
    Ok(metrics)
}

/// Clusters of the sessions in which some were found.
#[derive(Default)]
struct Found {
    /// Type of each trial's cluster, by session.
    types: Vec<Vec<usize>>,
    /// Silhouette of each trial, by session; none where all trials are alike.
    silhouettes: Vec<Vec<f64>>,
}

/// Where the model's trials lie, for pictures and `modes.json`; none where there are no templates of two types.
///
/// # Errors
/// As [`super::evaluate`].
pub fn modes(inputs: &EvaluationInputs<'_>, rng: &mut dyn Rng) -> Result<Option<Modes>, EvaluateError> {
    inputs.check()?;
    let Some(templates) = report::if_defined(context::templates(inputs))?.filter(|t| t.types().len() > 1) else {
        return Ok(None);
    };
    let mut model = StandIn::model(inputs)?;
    model.classify(&templates, inputs, rng)?;
    let traces = Composer::new(&model, &templates, inputs).traces(0, &model.usable[0], rng);
    let rows = templates.rows(&traces.view())?;
    let Some(found) = report::if_defined(cluster(&rows, &templates, rng))? else {
        return Ok(None);
    };
    let mut seeded = StreamRng::new(rng.random(), "modes", 1);
    let Some(umap) = report::if_defined(Umap::fit(&rows.view(), &mut seeded))? else {
        return Ok(None);
    };
    let template_rows = templates.rows_of_templates();
    let (placed, projected) = (
        found.pca.transform(&rows.view())?,
        found.pca.transform(&template_rows.view())?,
    );
    let in_plane = umap.project(&template_rows.view(), &mut seeded)?;
    let pair = |a: &Array2<f64>, i: usize| [a[[i, 0]], if a.ncols() > 1 { a[[i, 1]] } else { 0.0 }];
    let usable = &model.usable[0];
    let types = model.types.as_ref().and_then(|types| types.first());
    let trials = usable.iter().enumerate().map(|(i, &k)| ModeTrial {
        condition: inputs.model.conditions[k],
        by_template: types.and_then(|types| types[k]),
        by_cluster: found.types[i],
        pca: pair(&placed, i),
        umap: pair(umap.embedding(), i),
    });
    let templates = templates
        .types()
        .iter()
        .enumerate()
        .map(|(y, &trial_type)| ModeTemplate {
            trial_type,
            pca: pair(&projected, y),
            umap: pair(&in_plane, y),
        });
    Ok(Some(Modes {
        schema: SCHEMA,
        trial_types: inputs.trial_types.to_vec(),
        explained: found.pca.explained.iter().take(2).copied().collect(),
        silhouette: mean(&found.silhouettes),
        trials: trials.collect(),
        templates: templates.collect(),
    }))
}
