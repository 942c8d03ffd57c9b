//! A zip archive in memory's order: deflated members, no time stamps, so that equal content gives equal bytes.

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// 1980-01-01, the earliest date there is.
const DATE: u16 = 0x21;
/// Version 2.0: deflate.
const VERSION: u16 = 20;
/// Names are UTF-8.
const FLAGS: u16 = 1 << 11;
const DEFLATED: u16 = 8;

/// An archive while it is written.
pub(super) struct Zip<W> {
    out: W,
    n_written: u64,
    /// The list of members that ends the archive.
    list: Vec<u8>,
    n_members: u16,
}

impl<W: Write> Zip<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            n_written: 0,
            list: Vec::new(),
            n_members: 0,
        }
    }

    /// Adds a member. Holds its deflated bytes in memory.
    ///
    /// # Errors
    /// What writing fails with; members and archives of 4 GiB and more, or more than 65,535 members.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut crc = Crc::new();
        crc.update(content);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content)?;
        let packed = encoder.finish()?;
        let too_large = || {
            let message = format!(
                "'{name}' does not fit: an archive holds less than 4 GiB (hint: export to NWB, or fewer sessions)"
            );
            io::Error::new(io::ErrorKind::FileTooLarge, message)
        };
        let size = |n: u64| u32::try_from(n).ok().filter(|&n| n < u32::MAX).ok_or_else(too_large);
        let (packed_size, whole_size) = (size(packed.len() as u64)?, size(content.len() as u64)?);
        let offset = size(self.n_written)?;
        let n_name = u16::try_from(name.len()).map_err(|_| too_large())?;
        let mut common = Vec::new();
        for value in [VERSION, FLAGS, DEFLATED, 0, DATE] {
            common.extend(value.to_le_bytes());
        }
        for value in [crc.sum(), packed_size, whole_size] {
            common.extend(value.to_le_bytes());
        }
        common.extend(n_name.to_le_bytes());
        common.extend(0_u16.to_le_bytes());
        self.write(b"PK\x03\x04")?;
        self.write(&common)?;
        self.write(name.as_bytes())?;
        self.write(&packed)?;
        self.list.extend(b"PK\x01\x02");
        self.list.extend(VERSION.to_le_bytes());
        self.list.extend(&common);
        // Comment, disk, attributes.
        self.list.extend([0; 2 + 2 + 2 + 4]);
        self.list.extend(offset.to_le_bytes());
        self.list.extend(name.as_bytes());
        self.n_members = self.n_members.checked_add(1).ok_or_else(too_large)?;
        Ok(())
    }

    /// Writes the list of members.
    ///
    /// # Errors
    /// What writing fails with; an archive of 4 GiB and more.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let list = std::mem::take(&mut self.list);
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, "an archive holds less than 4 GiB");
        let offset = u32::try_from(self.n_written).map_err(too_large)?;
        let size = u32::try_from(list.len()).map_err(too_large)?;
        self.write(&list)?;
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend(self.n_members.to_le_bytes());
        end.extend(self.n_members.to_le_bytes());
        end.extend(size.to_le_bytes());
        end.extend(offset.to_le_bytes());
        end.extend([0; 2]);
        self.write(&end)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.n_written += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}
