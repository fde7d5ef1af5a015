//! What is logged of strangers: they decide how often it happens, and must not fill disks with it.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// How often one thing is said at most.
const EVERY: Duration = Duration::from_secs(1);
/// How many bytes of what a stranger sent are said.
const LONGEST: usize = 256;

/// Says one thing at most once a second, and how often it was left out.
#[derive(Debug, Default)]
pub(crate) struct Sparing(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    last: Option<Instant>,
    left_out: u64,
}

impl Sparing {
    /// Says it, unless that was done a moment ago. `say` is told how often it was left out since.
    pub(crate) fn say(&self, say: impl FnOnce(u64)) {
        let mut said = self.0.lock().expect("nothing panics while it holds the count");
        if said.last.is_some_and(|last| last.elapsed() < EVERY) {
            said.left_out += 1;
            return;
        }
        said.last = Some(Instant::now());
        let left_out = std::mem::take(&mut said.left_out);
        drop(said);
        say(left_out);
    }
}

/// Returns as much of a stranger's text as is said.
pub(crate) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thing_is_said_once_a_second_with_how_often_it_was_not() {
        let (sparing, mut said) = (Sparing::default(), Vec::new());
        for _ in 0..25 {
            sparing.say(|left_out| said.push(left_out));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }

        assert_eq!(said, [0, 9, 9]);
    }

    #[test]
    fn a_text_is_cut_between_letters() {
        assert_eq!(cut("short"), "short");
        assert_eq!(cut(&"é".repeat(200)).len(), 256);
        assert_eq!(cut(&format!("a{}", "é".repeat(200))).len(), 255);
    }
}
