//! What keeps the disk's use bounded and commits fast, done beside the writing, each by a thread of its own.

use super::aside::Aside;
use super::disk::DiskFile;
use super::snapshot::Written;
use super::writer::Writer;

/// What is under way of it.
pub(super) struct Chores {
    snapshot: Aside<Written>,
    spare: Aside<Box<dyn DiskFile>>,
    forget: Aside<()>,
}

impl Chores {
    pub(super) fn new() -> Self {
        Self {
            snapshot: Aside::new("storage-snapshot"),
            spare: Aside::new("storage-spare"),
            forget: Aside::new("storage-forget"),
        }
    }

    /// Returns whether nothing of it is under way.
    pub(super) fn are_idle(&self) -> bool {
        self.snapshot.is_idle() && self.spare.is_idle() && self.forget.is_idle()
    }

    /// Takes note of what is done, and starts what is due.
    pub(super) fn tend(&mut self, writer: &mut Writer) {
        if let Some(result) = self.snapshot.finished() {
            writer.snapshotted(result);
        }
        if self.snapshot.is_idle()
            && let Some(job) = writer.due()
            && let Err(error) = self.snapshot.start(|| job.run())
        {
            writer.snapshotted(Err(error));
        }
        if let Some(result) = self.spare.finished() {
            writer.prepared(result);
        }
        if let Some(preparation) = writer.unprepared()
            && let Err(error) = self.spare.start(|| preparation.run())
        {
            writer.prepared(Err(error));
        }
        drop(self.forget.finished());
        if self.forget.is_idle()
            && let Some(litter) = writer.litter()
            && let Err(error) = self.forget.start(|| {
                drop(litter);
                Ok(())
            })
        {
            tracing::debug!(%error, "history was dropped while commits waited");
        }
    }

    /// Waits for what is under way.
    pub(super) fn end(&mut self, writer: &mut Writer) {
        drop(self.forget.wait());
        if let Some(result) = self.snapshot.wait() {
            writer.snapshotted(result);
        }
        if let Some(result) = self.spare.wait() {
            writer.prepared(result);
        }
    }
}
