//! The file of a backup.
//!
//! ```text
//! KVBACKUP   8 bytes
//! version    u32
//! checksum   u32   CRC-32C of the 12 bytes before
//! blocks     ...
//!
//! length     u32   of the block's body
//! checksum   u32   CRC-32C of the body, continued from the checksum before it
//! body       a head, entries, or the end with their number
//! ```
//! All numbers are little endian. Since each checksum continues from the one before it, no block can
//! be missing, repeated or from another file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kv_core::{Key, Value, Version, Wire, wire_enum, wire_struct};

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The engine that the data is from.
    pub(crate) engine: String,
    /// The cluster's configuration, in words.
    pub(crate) cluster: String,
    /// When the backup began, in milliseconds since the Unix epoch.
    pub(crate) began_ms: u64,
}

wire_struct!(Head { engine, cluster, began_ms });

/// A key with what it held. A deleted one stands only in the files from which a backup is put
/// together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) value: Option<Value>,
    pub(crate) version: Version,
    /// When the key expires, in milliseconds since the Unix epoch.
    pub(crate) expires_ms: Option<u64>,
}

wire_struct!(Entry { key, value, version, expires_ms });

/// The same in a file of version 1, in which all keys last for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
struct EndlessEntry {
    key: Key,
    value: Option<Value>,
    version: Version,
}

wire_struct!(EndlessEntry { key, value, version });

impl From<EndlessEntry> for Entry {
    fn from(EndlessEntry { key, value, version }: EndlessEntry) -> Self {
        Self { key, value, version, expires_ms: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Body {
    Head(Head),
    EndlessEntries(Vec<EndlessEntry>),
    End { entries: u64 },
    Entries(Vec<Entry>),
}

wire_enum!(Body, "block of a backup", {
    0 => Head(head),
    1 => EndlessEntries(entries),
    2 => End { entries },
    3 => Entries(entries),
});

/// Writes a backup. It has its name only once it is whole and on disk.
pub(crate) struct BackupWriter {
    path: PathBuf,
    draft: PathBuf,
    file: BufWriter<File>,
    checksum: u32,
    part: Vec<Entry>,
    part_bytes: usize,
    entries: u64,
    is_whole: bool,
}

impl BackupWriter {
    pub(crate) fn create(path: &Path, head: Head) -> io::Result<Self> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".part");
        let draft = PathBuf::from(draft);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&draft)?;
        let mut preamble = preamble(VERSION);
        let checksum = crc32c::crc32c(&preamble);
        preamble.put_u32_le(checksum);
        let mut writer = Self {
            path: path.to_owned(),
            draft,
            file: BufWriter::new(file),
            checksum,
            part: Vec::new(),
            part_bytes: 0,
            entries: 0,
            is_whole: false,
        };
        writer.file.write_all(&preamble)?;
        writer.put(&Body::Head(head))?;
        Ok(writer)
    }

    /// Appends an entry; they come in ascending order of their keys.
    pub(crate) fn add(&mut self, entry: Entry) -> io::Result<()> {
        let value_bytes = entry.value.as_ref().map_or(0, |value| value.as_bytes().len());
        self.part_bytes += entry.key.as_bytes().len() + value_bytes;
        self.part.push(entry);
        self.entries += 1;
        if self.part_bytes >= PART_BYTES { self.put_part() } else { Ok(()) }
    }

    /// Ends the file, syncs it and gives it its name; returns how many entries it has.
    pub(crate) fn finish(self) -> io::Result<u64> {
        self.finish_with(|_, file| sync(file))
    }

    /// `sync` is called with the path of what is to be synced as well.
    fn finish_with(
        mut self,
        mut sync: impl FnMut(&Path, &File) -> io::Result<()>,
    ) -> io::Result<u64> {
        self.put_part()?;
        self.put(&Body::End { entries: self.entries })?;
        self.file.flush()?;
        sync(&self.draft, self.file.get_ref())?;
        fs::rename(&self.draft, &self.path)?;
        self.is_whole = true;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        sync(folder, &File::open(folder)?)?;
        Ok(self.entries)
    }

    fn put_part(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        self.part_bytes = 0;
        if part.is_empty() { Ok(()) } else { self.put(&Body::Entries(part)) }
    }

    fn put(&mut self, body: &Body) -> io::Result<()> {
        let body = body.to_bytes();
        self.checksum = crc32c::crc32c_append(self.checksum, &body);
        let mut head = BytesMut::new();
        head.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
        head.put_u32_le(self.checksum);
        self.file.write_all(&head)?;
        self.file.write_all(&body)
    }
}

impl Drop for BackupWriter {
    fn drop(&mut self) {
        if !self.is_whole {
            // Half a backup is of no use to anybody.
            let _ = fs::remove_file(&self.draft);
        }
    }
}

/// Reads a backup, entry by entry.
#[derive(Debug)]
pub(crate) struct BackupReader {
    path: PathBuf,
    file: BufReader<File>,
    checksum: u32,
    head: Head,
    part: std::vec::IntoIter<Entry>,
    entries: u64,
    ended: bool,
}

/// Why a file is no backup that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupFileError {
    #[error("cannot read {}: {source}; check the path", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is no backup: it does not begin as one does", path.display())]
    NotOne { path: PathBuf },
    #[error(
        "{} has format {found} and this release reads up to {VERSION}: use the newer release",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error("{} is damaged after {}: use another copy of it", path.display(), those(*entries))]
    Damaged { path: PathBuf, entries: u64 },
    #[error(
        "{} ends after {}, before its end: use another copy of it",
        path.display(),
        those(*entries)
    )]
    Truncated { path: PathBuf, entries: u64 },
}

fn those(entries: u64) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

impl BackupReader {
    pub(crate) fn open(path: &Path) -> Result<Self, BackupFileError> {
        let own = || path.to_owned();
        let unreadable = |source| BackupFileError::Unreadable { path: own(), source };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut preamble = [0; PREAMBLE_LEN];
        file.read_exact(&mut preamble).map_err(|_| BackupFileError::NotOne { path: own() })?;
        let (begin, mut checksum) = preamble.split_at(PREAMBLE_LEN - 4);
        let checksum = checksum.get_u32_le();
        if !begin.starts_with(MAGIC) || crc32c::crc32c(begin) != checksum {
            return Err(BackupFileError::NotOne { path: own() });
        }
        let found = begin.get(MAGIC.len()..).map_or(0, |mut version| version.get_u32_le());
        if found > VERSION {
            return Err(BackupFileError::Newer { path: own(), found });
        }
        let head = Head { engine: String::new(), cluster: String::new(), began_ms: 0 };
        let part = Vec::new().into_iter();
        let mut reader = Self { path: own(), file, checksum, head, part, entries: 0, ended: false };
        match reader.read_body()? {
            Body::Head(head) => reader.head = head,
            Body::EndlessEntries(_) | Body::Entries(_) | Body::End { .. } => {
                return Err(reader.damaged());
            }
        }
        Ok(reader)
    }

    pub(crate) const fn head(&self) -> &Head {
        &self.head
    }

    /// Reads a whole file; returns how many entries it has.
    pub(crate) fn verify(path: &Path) -> Result<u64, BackupFileError> {
        let mut reader = Self::open(path)?;
        let mut count = 0;
        while reader.read_next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// The next entry; `None` after the last one, once the end was verified.
    pub(crate) fn read_next(&mut self) -> Result<Option<Entry>, BackupFileError> {
        loop {
            if let Some(entry) = self.part.next() {
                self.entries += 1;
                return Ok(Some(entry));
            }
            if self.ended {
                return Ok(None);
            }
            match self.read_body()? {
                Body::Head(_) => return Err(self.damaged()),
                Body::EndlessEntries(part) => {
                    let part: Vec<Entry> = part.into_iter().map(Entry::from).collect();
                    self.part = part.into_iter();
                }
                Body::Entries(part) => self.part = part.into_iter(),
                Body::End { entries } => {
                    let is_last = self.file.fill_buf().map(|rest| rest.is_empty()).unwrap_or(false);
                    if entries != self.entries || !is_last {
                        return Err(self.damaged());
                    }
                    self.ended = true;
                }
            }
        }
    }

    fn read_body(&mut self) -> Result<Body, BackupFileError> {
        let mut head = [0; 8];
        self.read_exact(&mut head)?;
        let mut fields: &[u8] = &head;
        let (len, checksum) = (fields.get_u32_le(), fields.get_u32_le());
        let len = usize::try_from(len).ok().filter(|len| *len <= BODY_BYTES_MAX);
        let mut body = vec![0; len.ok_or_else(|| self.damaged())?];
        self.read_exact(&mut body)?;
        self.checksum = crc32c::crc32c_append(self.checksum, &body);
        if self.checksum != checksum {
            return Err(self.damaged());
        }
        Body::from_bytes(Bytes::from(body)).map_err(|_| self.damaged())
    }

    fn read_exact(&mut self, into: &mut [u8]) -> Result<(), BackupFileError> {
        self.file.read_exact(into).map_err(|source| {
            let (path, entries) = (self.path.clone(), self.entries);
            if source.kind() == io::ErrorKind::UnexpectedEof {
                BackupFileError::Truncated { path, entries }
            } else {
                BackupFileError::Unreadable { path, source }
            }
        })
    }

    fn damaged(&self) -> BackupFileError {
        BackupFileError::Damaged { path: self.path.clone(), entries: self.entries }
    }
}

fn sync(file: &File) -> io::Result<()> {
    file.sync_all()
}

fn preamble(version: u32) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_slice(MAGIC);
    bytes.put_u32_le(version);
    bytes
}

const MAGIC: &[u8] = b"KVBACKUP";

const VERSION: u32 = 2;

const PREAMBLE_LEN: usize = 16;

/// A block takes no further entry once it has this many bytes.
const PART_BYTES: usize = 256 << 10;

/// No block is larger: that is a part and the largest entry, with room for their lengths.
const BODY_BYTES_MAX: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, len: usize) -> Entry {
        let value = Some(Value::new(vec![7; len]).unwrap());
        let key = Key::new(format!("{number:08}")).unwrap();
        let expires_ms = number.is_multiple_of(3).then_some(number);
        Entry { key, value, version: Version::Log(number), expires_ms }
    }

    fn head() -> Head {
        Head { engine: "e".to_owned(), cluster: "N=1".to_owned(), began_ms: 5 }
    }

    fn writer(path: &Path, entries: u64, len: usize) -> BackupWriter {
        let mut writer = BackupWriter::create(path, head()).unwrap();
        (0..entries).for_each(|number| writer.add(entry(number, len)).unwrap());
        writer
    }

    fn written(path: &Path, entries: u64, len: usize) -> Vec<u8> {
        let _ = fs::remove_file(path);
        let writer = writer(path, entries, len);
        assert!(!path.exists(), "it has its name only once it is whole");
        assert_eq!(writer.finish().unwrap(), entries);
        fs::read(path).unwrap()
    }

    #[test]
    fn it_is_whole_on_disk_before_it_has_its_name_which_is_synced_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        let draft = folder.path().join("b.part");
        let former = written(&path, 2, 20);
        let mut synced = Vec::new();
        let sync = |what: &Path, _: &File| {
            synced.push(what.to_owned());
            if what == draft {
                assert_eq!(BackupReader::verify(&draft).unwrap(), 3, "it is written to its end");
                assert_eq!(fs::read(&path).unwrap(), former, "the one before is there till then");
            } else {
                assert_eq!(BackupReader::verify(&path).unwrap(), 3, "its name is there to sync");
            }
            Ok(())
        };
        assert_eq!(writer(&path, 3, 20).finish_with(sync).unwrap(), 3);
        assert_eq!(synced, [draft, folder.path().to_owned()]);
    }

    #[test]
    fn one_that_cannot_be_synced_is_an_error_and_not_put_in_place_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        let former = written(&path, 2, 20);
        let fails = |_: &Path, _: &File| Err(io::ErrorKind::Other.into());
        assert!(writer(&path, 3, 20).finish_with(fails).is_err());
        assert_eq!(fs::read(&path).unwrap(), former);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        let fails_for_the_folder = |what: &Path, _: &File| {
            if what == folder.path() { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
        };
        assert!(writer(&path, 3, 20).finish_with(fails_for_the_folder).is_err());
    }

    /// What cannot be synced tells whether it was tried.
    #[test]
    fn a_sync_asks_the_system() {
        sync(&tempfile::tempfile().unwrap()).unwrap();
        assert!(sync(&File::open("/dev/null").unwrap()).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        for count in [0, 1, 200] {
            written(&path, count, 5_000);
            let mut reader = BackupReader::open(&path).unwrap();
            assert_eq!(reader.head(), &head());
            for number in 0..count {
                assert_eq!(reader.read_next().unwrap(), Some(entry(number, 5_000)));
            }
            assert_eq!(reader.read_next().unwrap(), None);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn no_flipped_byte_and_no_missing_end_goes_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        let bytes = written(&path, 3, 20);
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 0x10;
            fs::write(&path, &flipped).unwrap();
            assert!(BackupReader::verify(&path).is_err(), "byte {place}");
            fs::write(&path, &bytes[..place]).unwrap();
            assert!(BackupReader::verify(&path).is_err(), "{place} bytes");
        }
        fs::write(&path, [bytes.as_slice(), b"x"].concat()).unwrap();
        assert!(BackupReader::verify(&path).is_err());
        fs::write(&path, &bytes).unwrap();
        assert_eq!(BackupReader::verify(&path).unwrap(), 3);
    }

    /// Data of earlier builds comes in such files.
    #[test]
    fn a_file_of_version_1_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        let mut bytes = preamble(1);
        let mut checksum = crc32c::crc32c(&bytes);
        bytes.put_u32_le(checksum);
        let Entry { key, value, version, .. } = entry(1, 20);
        let endless = EndlessEntry { key, value, version };
        let bodies = [
            Body::Head(head()),
            Body::EndlessEntries(vec![endless.clone()]),
            Body::End { entries: 1 },
        ];
        for body in bodies.map(|body| body.to_bytes()) {
            checksum = crc32c::crc32c_append(checksum, &body);
            bytes.put_u32_le(u32::try_from(body.len()).unwrap());
            bytes.put_u32_le(checksum);
            bytes.put_slice(&body);
        }
        fs::write(&path, &bytes).unwrap();
        let mut reader = BackupReader::open(&path).unwrap();
        assert_eq!(reader.read_next().unwrap(), Some(endless.into()));
        assert_eq!(reader.read_next().unwrap(), None);
    }

    #[test]
    fn a_newer_format_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        let mut newer = preamble(VERSION + 1);
        let checksum = crc32c::crc32c(&newer);
        newer.put_u32_le(checksum);
        fs::write(&path, &newer).unwrap();
        let error = BackupReader::verify(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("has format 3 and this release reads up to 2: use the newer release")
        );
    }
}
