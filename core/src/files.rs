//! Files that are read again when they change: certificates and authorities that somebody else renews.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use crate::component::{BoxError, Component, Stop};

/// How often the files are looked at, Kubernetes' figure.
const LOOK: Duration = Duration::from_secs(60);

/// Tells when one of some files holds something else than before. They are looked at once a minute while this runs.
///
/// Whoever changes one should write the new one beside it and rename it. What cannot be read, or is of no use to whoever is told,
/// is logged, and told again a minute later.
///
/// # Examples
///
/// ```no_run
/// use quarterdeck_core::component::Supervisor;
/// use quarterdeck_core::files::FollowFiles;
///
/// let read = || {
///     let (certificate, key) = (std::fs::read("tls.crt")?, std::fs::read("tls.key")?);
///     // Hand them to whoever shows them.
///     Ok(())
/// };
/// let supervisor = Supervisor::new().with(FollowFiles::new(["tls.crt", "tls.key"], read));
/// ```
#[must_use = "the files are looked at for as long as this runs"]
pub struct FollowFiles {
    paths: Vec<PathBuf>,
    changed: Box<dyn FnMut() -> Result<(), BoxError> + Send>,
    held: io::Result<Vec<Vec<u8>>>,
}

impl fmt::Debug for FollowFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowFiles").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl FollowFiles {
    /// Follows files. What they hold now is taken as known; `changed` is called when one holds something else.
    pub fn new<P: Into<PathBuf>>(
        paths: impl IntoIterator<Item = P>,
        changed: impl FnMut() -> Result<(), BoxError> + Send + 'static,
    ) -> Self {
        let paths: Vec<PathBuf> = paths.into_iter().map(Into::into).collect();
        let held = read(&paths);
        Self { paths, changed: Box::new(changed), held }
    }

    fn look(&mut self) {
        let files = &self.paths;
        let found = match read(files) {
            Ok(found) if self.held.as_ref().is_ok_and(|held| *held == found) => return,
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(?files, %error, "files cannot be read again: what they held stays in use");
                return;
            }
        };
        match (self.changed)() {
            Ok(()) => {
                tracing::info!(?files, "files have changed and were read again");
                self.held = Ok(found);
            }
            Err(error) => {
                tracing::warn!(
                    ?files,
                    error,
                    "files have changed and are of no use: what they held stays in use"
                );
            }
        }
    }
}

fn read(paths: &[PathBuf]) -> io::Result<Vec<Vec<u8>>> {
    paths.iter().map(fs::read).collect()
}

#[async_trait]
impl Component for FollowFiles {
    fn name(&self) -> String {
        let names: Vec<String> = self.paths.iter().map(|path| path.display().to_string()).collect();
        format!("files {}", names.join(", "))
    }

    async fn run(mut self: Box<Self>, mut stop: Stop) -> Result<(), BoxError> {
        while stop.or(tokio::time::sleep(LOOK)).await.is_some() {
            self.look();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_file_that_changes_is_told_of_once_and_one_of_no_use_again() {
        let place = tempfile::TempDir::new().unwrap();
        let path = place.path().join("tls.crt");
        fs::write(&path, "first").unwrap();
        let (told, own) = (Arc::<Mutex<Vec<String>>>::default(), path.clone());
        let heard = told.clone();
        let follow = FollowFiles::new([&path], move || {
            let text = fs::read_to_string(&own)?;
            heard.lock().unwrap().push(text.clone());
            if text == "broken" { Err("it is of no use".into()) } else { Ok(()) }
        });
        let (_signal, stop) = Stop::channel();
        tokio::spawn(Box::new(follow).run(stop));

        for text in ["first", "broken", "second"] {
            fs::write(&path, text).unwrap();
            tokio::time::sleep(2 * LOOK + Duration::from_secs(1)).await;
        }
        fs::remove_file(&path).unwrap();
        tokio::time::sleep(2 * LOOK).await;

        let told = told.lock().unwrap();
        assert_eq!(told.iter().filter(|text| *text == "broken").count(), 2, "{told:?}");
        assert_eq!(told.last().unwrap(), "second", "{told:?}");
        assert_eq!(told.len(), 3, "{told:?}");
    }
}
