//! A disk that keeps only what was synced, and of the rest whatever chance leaves.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use quarterdeck_core::random::Random;

use super::super::disk::{Disk, DiskFile};
use super::super::format::NEW;

/// What a crash keeps or loses as one; smaller than a real disk's, so that more is torn.
const SECTOR: usize = 64;

/// Called before each operation that changes the disk.
type Observer = Box<dyn FnMut(&FakeDisk, Operation) + Send>;

/// An operation that changes the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Rename,
    Remove,
    SyncNames,
    Write,
    Resize,
    SyncFile,
}

/// The disk. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct FakeDisk {
    state: Arc<Mutex<State>>,
    observer: Arc<Mutex<Option<Observer>>>,
}

#[derive(Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    /// How many bytes all files together may have, if there is a bound.
    room: Option<u64>,
    /// Whether allocation does nothing, so that a full disk shows in the middle of a write.
    sparse: bool,
    /// Whether syncs fail.
    fail_syncs: bool,
    /// Whether there is no room to sync names.
    names_full: bool,
    /// Whether syncs of files do nothing.
    ignore_syncs: bool,
    syncs: usize,
    writes: usize,
}

#[derive(Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Resize(usize),
}

/// A change of a directory. It is about one file, whatever other changes a crash loses.
#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String, usize),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        let (gone, made) = match self {
            Self::Create(name, inode) => (None, Some((name, inode))),
            Self::Rename(from, to, inode) => (Some((from, inode)), Some((to, inode))),
            Self::Remove(name, inode) => (Some((name, inode)), None),
        };
        if let Some((name, inode)) = gone
            && names.get(name) == Some(inode)
        {
            names.remove(name);
        }
        names.extend(made.map(|(name, inode)| (name.clone(), *inode)));
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, kept: impl Fn(usize) -> usize) {
        match self {
            Self::Resize(length) => bytes.resize(*length, 0),
            Self::Write(offset, written) => {
                for (index, sector) in written.chunks(SECTOR).enumerate() {
                    let kept = kept(index).min(sector.len());
                    let start = offset + index * SECTOR;
                    if kept > 0 {
                        bytes.resize(bytes.len().max(start + kept), 0);
                        bytes[start..start + kept].copy_from_slice(&sector[..kept]);
                    }
                }
            }
        }
    }
}

impl Inode {
    /// Returns what a crash leaves.
    fn crashed(&self, random: &Random) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let mode = random.below(4);
        for change in &self.changes {
            match mode {
                0 => break,
                1 => change.apply(&mut bytes, |_| SECTOR),
                _ if random.below(5) == 0 => {}
                _ => change.apply(&mut bytes, |_| match random.below(8) {
                    0..3 => 0,
                    3 => random.below(SECTOR),
                    _ => SECTOR,
                }),
            }
        }
        bytes
    }
}

impl FakeDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Calls `observer` before each operation that changes the disk.
    pub(super) fn observe(&self, observer: impl FnMut(&FakeDisk, Operation) + Send + 'static) {
        *self.observer.lock().unwrap() = Some(Box::new(observer));
    }

    fn before(&self, operation: Operation) {
        // Taken out meanwhile, so that it may use the disk.
        let observer = self.observer.lock().unwrap().take();
        if let Some(mut observer) = observer {
            observer(self, operation);
            *self.observer.lock().unwrap() = Some(observer);
        }
    }

    /// Returns what is found after a crash at this moment.
    pub(super) fn crash(&self, random: &Random) -> FakeDisk {
        let state = self.lock();
        let mut names = state.synced_names.clone();
        let kept = random.below(state.name_changes.len() + 1);
        let in_order = random.below(2) == 0;
        for (index, change) in state.name_changes.iter().enumerate() {
            if if in_order { index < kept } else { random.below(2) == 0 } {
                change.apply(&mut names);
            }
        }
        let files = names.into_iter().map(|(name, inode)| (name, state.inodes[inode].crashed(random)));
        FakeDisk::holding(files.collect())
    }

    /// Makes a disk with these files, all synced.
    pub(super) fn holding(files: BTreeMap<String, Vec<u8>>) -> Self {
        let disk = Self::default();
        let mut state = disk.lock();
        for (name, bytes) in files {
            let inode = state.inodes.len();
            state.inodes.push(Inode { synced: bytes.clone(), bytes, changes: Vec::new() });
            state.names.insert(name, inode);
        }
        state.synced_names = state.names.clone();
        drop(state);
        disk
    }

    /// Returns all files as they are for programs, synced or not.
    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        state.names.iter().map(|(name, inode)| (name.clone(), state.inodes[*inode].bytes.clone())).collect()
    }

    /// Lets the files take so many bytes more than they have, all together.
    pub(super) fn leave_room(&self, bytes: Option<u64>) {
        let mut state = self.lock();
        state.room = bytes.map(|bytes| state.used() + bytes);
    }

    /// Lets allocation do nothing, as on a file system that has none.
    pub(super) fn be_sparse(&self) {
        self.lock().sparse = true;
    }

    /// Lets syncs of files do nothing, as on a disk that lies.
    pub(super) fn ignore_syncs(&self) {
        self.lock().ignore_syncs = true;
    }

    /// Lets all syncs fail from now on.
    pub(super) fn fail_syncs(&self) {
        self.lock().fail_syncs = true;
    }

    /// Lets syncs of names find no room.
    pub(super) fn fill_names(&self, full: bool) {
        self.lock().names_full = full;
    }

    /// Lets syncs work again. What was not synced until now still is not.
    pub(super) fn work_again(&self) {
        self.lock().fail_syncs = false;
    }

    /// Returns another disk with the same files, as programs see them, all synced.
    pub(super) fn copy(&self) -> FakeDisk {
        FakeDisk::holding(self.files())
    }

    /// Returns whether a finished file has bytes that were not synced.
    pub(super) fn is_dirty(&self) -> bool {
        let state = self.lock();
        let mut files = state.names.iter().filter(|(name, _)| !name.ends_with(NEW));
        files.any(|(_, inode)| !state.inodes[*inode].changes.is_empty())
    }

    /// Returns how many syncs of files there were.
    pub(super) fn syncs(&self) -> usize {
        self.lock().syncs
    }

    /// Returns how many writes there were.
    pub(super) fn writes(&self) -> usize {
        self.lock().writes
    }
}

impl std::fmt::Debug for FakeDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lock().names.keys()).finish()
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].bytes.len() as u64).sum()
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn grow(&self, inode: usize, length: usize) -> io::Result<()> {
        let growth = length.saturating_sub(self.inodes[inode].bytes.len()) as u64;
        match self.room {
            Some(room) if growth > 0 && self.used() + growth > room => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn check_sync(&mut self) -> io::Result<()> {
        self.syncs += 1;
        if self.fail_syncs { Err(io::Error::other("the disk is broken")) } else { Ok(()) }
    }
}

impl Disk for FakeDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        self.before(Operation::Create);
        let mut state = self.lock();
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.change_names(NameChange::Create(name.to_owned(), inode));
        Ok(Box::new(FakeFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.lock().inode(name)?;
        Ok(Box::new(FakeFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.before(Operation::Rename);
        let mut state = self.lock();
        let inode = state.inode(from)?;
        state.change_names(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.before(Operation::Remove);
        let mut state = self.lock();
        let inode = state.inode(name)?;
        state.change_names(NameChange::Remove(name.to_owned(), inode));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.before(Operation::SyncNames);
        let mut state = self.lock();
        state.check_sync()?;
        if state.names_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.name_changes.clear();
        state.synced_names = state.names.clone();
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/fake").join(name)
    }
}

#[derive(Debug)]
struct FakeFile {
    disk: FakeDisk,
    inode: usize,
}

impl FakeFile {
    fn change(&self, change: Change) {
        let mut state = self.disk.lock();
        state.writes += 1;
        let inode = &mut state.inodes[self.inode];
        change.apply(&mut inode.bytes, |_| SECTOR);
        inode.changes.push(change);
    }
}

impl DiskFile for FakeFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock().inodes[self.inode].bytes.len() as u64)
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.disk.lock();
        let start = usize::try_from(offset).unwrap();
        let bytes = state.inodes[self.inode].bytes.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.before(Operation::Write);
        let offset = usize::try_from(offset).unwrap();
        let fits = self.disk.lock().grow(self.inode, offset + bytes.len());
        if fits.is_err() {
            // A disk that fills up in the middle of a write has taken a part of it.
            self.change(Change::Write(offset, bytes[..bytes.len() / 2].to_vec()));
        } else {
            self.change(Change::Write(offset, bytes.to_vec()));
        }
        fits
    }

    fn allocate(&mut self, length: u64) -> io::Result<()> {
        if self.disk.lock().sparse {
            return Ok(());
        }
        self.disk.before(Operation::Resize);
        let length = usize::try_from(length).unwrap();
        self.disk.lock().grow(self.inode, length)?;
        self.change(Change::Resize(length));
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.disk.before(Operation::Resize);
        self.change(Change::Resize(usize::try_from(length).unwrap()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.before(Operation::SyncFile);
        let mut state = self.disk.lock();
        state.check_sync()?;
        if state.ignore_syncs {
            return Ok(());
        }
        let inode = &mut state.inodes[self.inode];
        inode.synced = inode.bytes.clone();
        mem::take(&mut inode.changes);
        Ok(())
    }
}
