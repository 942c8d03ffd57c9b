//! Soft links and object references, followed within the file only.
//!
//! The library follows a soft link by its path, and that path may lead over an external link: opening it would open
//! another file. So all objects of the file are visited first. Where none of them links to another file, no path
//! leaves this one; where one does, soft links are refused. References are resolved by the address of the object, which
//! must be one of those visited.

use std::collections::BTreeMap;

use hdf5::{File, Group, LinkType, LocationInfo, LocationType, MinorErrorCode};

use super::Found;
use crate::error::Finding;

/// Most links that are visited in one file.
const MAX_OBJECTS: usize = 100_000;
/// Most groups inside each other.
const MAX_DEPTH: usize = 32;

/// Every object that the groups of a file link to.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// Path of each object by its address; of several, the first in the order of names.
    paths: BTreeMap<String, String>,
    /// The first link to another file.
    leaves_at: Option<String>,
}

/// The address of an object as a key: the library's token can be compared, but neither sorted nor hashed.
fn key(info: &LocationInfo) -> String {
    format!("{:?}", info.token)
}

impl Map {
    pub(super) fn of(file: &File) -> Found<Self> {
        let fail = |error: hdf5::Error| Finding::new("/", error.to_string());
        let root = file.group("/").map_err(fail)?;
        let mut map = Self::default();
        let info = root.loc_info().map_err(fail)?;
        map.paths.insert(key(&info), String::new());
        let mut budget = MAX_OBJECTS;
        map.visit(&root, "", 0, &mut budget)?;
        Ok(map)
    }

    fn visit(&mut self, group: &Group, at: &str, depth: usize, budget: &mut usize) -> Found<()> {
        if depth > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} groups inside each other");
            return Err(Finding::new(at, message));
        }
        let too_many = || Finding::new(at, format!("more than {MAX_OBJECTS} objects in the file"));
        *budget = usize::try_from(group.len())
            .ok()
            .and_then(|n_links| budget.checked_sub(n_links))
            .ok_or_else(too_many)?;
        let mut links = BTreeMap::new();
        let add = |name: &str, info: hdf5::LinkInfo| {
            links.insert(name.to_owned(), info.link_type);
            Ok(())
        };
        group
            .iter_visit_default(add)
            .map_err(|error| Finding::new(at, error.to_string()))?;
        for (name, link) in links {
            let path = format!("{at}/{name}");
            match link {
                LinkType::Soft => {}
                LinkType::External => {
                    self.leaves_at.get_or_insert(path);
                }
                LinkType::Hard => self.visit_object(group, &name, path, depth, budget)?,
            }
        }
        Ok(())
    }

    fn visit_object(&mut self, group: &Group, name: &str, path: String, depth: usize, budget: &mut usize) -> Found<()> {
        // What can't be opened is reported by whoever needs it.
        let Ok(info) = group.loc_info_by_name(name) else {
            return Ok(());
        };
        let key = key(&info);
        if self.paths.contains_key(&key) {
            return Ok(());
        }
        self.paths.insert(key, path.clone());
        if info.loc_type == LocationType::Group
            && let Ok(below) = group.group(name)
        {
            self.visit(&below, &path, depth + 1, budget)?;
        }
        Ok(())
    }

    /// The path of an object, if a group links to it.
    pub(super) fn path_of(&self, info: &LocationInfo) -> Option<&str> {
        self.paths.get(&key(info)).map(String::as_str)
    }

    /// Refuses the soft link at this path where links may lead out of the file.
    pub(super) fn allows_soft_links(&self, at: &str) -> Found<()> {
        match &self.leaves_at {
            None => Ok(()),
            Some(path) => {
                let message = format!(
                    "a soft link; soft links are not followed in this file, because {path} links to another file (hint: store the data in this file, for example with h5repack or h5copy)"
                );
                Err(Finding::new(at, message))
            }
        }
    }
}

/// Why a soft link did not lead to a group or dataset.
pub(super) fn broken(at: &str, what: &str, error: &hdf5::Error) -> Finding {
    let message = if error.contains_minor(MinorErrorCode::NLinks) {
        "a soft link that leads in a circle, or over too many other links".to_owned()
    } else if error.contains_minor(MinorErrorCode::NotFound) {
        "a soft link that leads nowhere".to_owned()
    } else {
        format!("a soft link to something that is not a {what}: {error}")
    };
    Finding::new(at, message)
}
