//! Typed objects of an NWB file: groups and datasets with their type, and an identifier that follows from the content.

use hdf5::types::VarLenUnicode;
use hdf5::{Dataset, Group, H5Type, Location, ObjectReference1};
use ndarray::{ArrayView, Dimension};
use sha2::{Digest, Sha256};

use crate::file::{to_text, write_array, write_attribute, write_text_attribute, write_texts};
use crate::fs::hex;
use crate::recording::Session;

/// Schema of what is common to tables of all kinds.
const TABLES: &str = "hdmf-common";
/// Schema of NWB.
pub(super) const CORE: &str = "core";

/// Identifiers of the objects of a file: functions of a session's content and of their path, so that equal sessions give
/// equal files.
pub(super) struct Ids {
    digest: Vec<u8>,
}

struct HashWriter(Sha256);

impl std::io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Ids {
    /// One pass over the session.
    pub(super) fn of(session: &Session) -> hdf5::Result<Self> {
        let mut writer = HashWriter(Sha256::new());
        ciborium::into_writer(session, &mut writer).map_err(|error| hdf5::Error::Internal(error.to_string()))?;
        Ok(Self {
            digest: writer.0.finalize().to_vec(),
        })
    }

    /// A UUID of version 8 (RFC 9562): 122 bits of a SHA-256 over the content and the path.
    fn id(&self, path: &str) -> String {
        let mut hasher = Sha256::new();
        hasher.update(&self.digest);
        hasher.update(path.as_bytes());
        let mut bytes: Vec<u8> = hasher.finalize().iter().copied().take(16).collect();
        for (place, clear, set) in [(6, 0x0f, 0x80), (8, 0x3f, 0x80)] {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = *byte & clear | set;
            }
        }
        let digits = hex(&bytes);
        let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
        let parts: Vec<&str> = parts.iter().filter_map(|&(from, to)| digits.get(from..to)).collect();
        parts.join("-")
    }

    /// Says what an object is.
    pub(super) fn type_of(&self, object: &Location, namespace: &str, kind: &str) -> hdf5::Result<()> {
        write_text_attribute(object, "namespace", namespace)?;
        write_text_attribute(object, "neurodata_type", kind)?;
        write_text_attribute(object, "object_id", &self.id(&object.name()))
    }

    /// An empty table of rows numbered from 0.
    pub(super) fn table<'a>(
        &'a self,
        group: Group,
        kind: &str,
        description: &str,
        n_rows: usize,
    ) -> hdf5::Result<TableWriter<'a>> {
        self.type_of(&group, if kind == "DynamicTable" { TABLES } else { CORE }, kind)?;
        write_text_attribute(&group, "description", description)?;
        let rows: Vec<i64> = (0..n_rows as i64).collect();
        write_array(&group, "id", &ArrayView::from(&rows))?;
        let id = group.dataset("id")?;
        self.type_of(&id, TABLES, "ElementIdentifiers")?;
        Ok(TableWriter {
            ids: self,
            group,
            columns: Vec::new(),
        })
    }
}

/// A table while its columns are written.
pub(super) struct TableWriter<'a> {
    ids: &'a Ids,
    group: Group,
    columns: Vec<VarLenUnicode>,
}

impl TableWriter<'_> {
    /// A column of numbers; of several axes, rows come first.
    pub(super) fn numbers<T: H5Type + Clone, D: Dimension>(
        &mut self,
        name: &str,
        description: &str,
        values: ArrayView<'_, T, D>,
    ) -> hdf5::Result<()> {
        write_array(&self.group, name, &values)?;
        self.column(name, description)
    }

    /// A column of texts.
    pub(super) fn texts<'t>(
        &mut self,
        name: &str,
        description: &str,
        values: impl Iterator<Item = &'t str>,
    ) -> hdf5::Result<()> {
        write_texts(&self.group, name, values)?;
        self.column(name, description)
    }

    /// Makes the last column ragged: where the values of each row end.
    pub(super) fn index(&self, name: &str, ends: &[i64]) -> hdf5::Result<()> {
        let index = format!("{name}_index");
        // The schema wants an unsigned type.
        let ends: Vec<u64> = ends.iter().map(|&end| end.unsigned_abs()).collect();
        write_array(&self.group, &index, &ArrayView::from(&ends))?;
        let dataset = self.group.dataset(&index)?;
        self.ids.type_of(&dataset, TABLES, "VectorIndex")?;
        write_text_attribute(&dataset, "description", &format!("Index for VectorData '{name}'"))?;
        let target: ObjectReference1 = self.group.reference(name)?;
        write_attribute(&dataset, "target", &target)
    }

    fn column(&mut self, name: &str, description: &str) -> hdf5::Result<()> {
        let dataset = self.group.dataset(name)?;
        self.ids.type_of(&dataset, TABLES, "VectorData")?;
        write_text_attribute(&dataset, "description", description)?;
        self.columns.push(to_text(name)?);
        Ok(())
    }

    /// Names the columns in their order.
    pub(super) fn finish(self) -> hdf5::Result<()> {
        let attribute = self.group.new_attr::<VarLenUnicode>().shape(self.columns.len());
        attribute.create("colnames")?.write_raw(&self.columns)
    }
}

/// A scalar dataset.
pub(super) fn write_scalar<T: H5Type>(group: &Group, name: &str, value: &T) -> hdf5::Result<Dataset> {
    let dataset = group.new_dataset::<T>().obj_track_times(false).create(name)?;
    dataset.write_scalar(value)?;
    Ok(dataset)
}

/// A scalar dataset of a text.
pub(super) fn write_text(group: &Group, name: &str, text: &str) -> hdf5::Result<Dataset> {
    write_scalar(group, name, &to_text(text)?)
}
