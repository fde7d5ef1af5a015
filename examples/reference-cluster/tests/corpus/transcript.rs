//! Transcripts: commands, and what they print.

use std::fmt;

/// A terminal session.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Transcript(Vec<Part>);

#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// A line that starts with `#`, or an empty one before a command.
    Comment(String),
    Command(Command),
}

/// A command, and what it prints.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Command {
    /// What goes to the shell.
    pub(crate) text: String,
    /// What it prints, and what it complains of.
    pub(crate) output: String,
    /// What it ends with.
    pub(crate) exit: i32,
}

impl Transcript {
    /// Reads a transcript.
    pub(crate) fn parse(text: &str) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for line in text.lines() {
            match (line.split_at_checked(2), parts.last_mut()) {
                (Some(("$ ", command)), _) => {
                    parts.push(Part::Command(Command { text: command.to_owned(), ..Command::default() }));
                }
                (Some(("# ", _)), _) | (_, None | Some(Part::Comment(_))) => {
                    parts.push(Part::Comment(line.to_owned()));
                }
                (Some(("> ", more)), Some(Part::Command(command))) if command.output.is_empty() => {
                    command.text.push('\n');
                    command.text.push_str(more);
                }
                (_, Some(Part::Command(command))) => {
                    let code = line.strip_prefix("[exit ").and_then(|rest| rest.strip_suffix(']'));
                    if let Some(code) = code.and_then(|code| code.parse().ok()) {
                        command.exit = code;
                    } else {
                        command.output.push_str(line);
                        command.output.push('\n');
                    }
                }
            }
        }
        Self(parts)
    }

    /// Returns the commands, in order.
    pub(crate) fn commands(&mut self) -> impl Iterator<Item = &mut Command> {
        self.0.iter_mut().filter_map(|part| match part {
            Part::Command(command) => Some(command),
            Part::Comment(_) => None,
        })
    }

    /// Returns the commands, in order, each with the comments that stand over it.
    pub(crate) fn annotated(&mut self) -> Vec<(Vec<&str>, &mut Command)> {
        let (mut comments, mut commands) = (Vec::new(), Vec::new());
        for part in &mut self.0 {
            match part {
                Part::Comment(line) => comments.push(line.as_str()),
                Part::Command(command) => commands.push((std::mem::take(&mut comments), command)),
            }
        }
        commands
    }

    /// Returns what differs from what was seen, a text per command.
    pub(crate) fn differences(mut self, seen: &Self, name: &str, compares: bool) -> Vec<String> {
        let mut seen = seen.clone();
        let pairs = self.commands().zip(seen.commands());
        let differ = |(written, seen): &(&mut Command, &mut Command)| {
            let success = (written.exit == 0) != (seen.exit == 0);
            success || compares && written != seen
        };
        pairs
            .filter(differ)
            .map(|(written, seen)| format!("{name}: written\n{written}\nseen\n{seen}"))
            .collect()
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Comment(line) => writeln!(f, "{line}"),
            Part::Command(command) => write!(f, "{command}"),
        })
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.text.replace('\n', "\n> "))?;
        f.write_str(&self.output)?;
        if self.exit == 0 { Ok(()) } else { writeln!(f, "[exit {}]", self.exit) }
    }
}

#[test]
fn a_transcript_is_written_as_it_was_read() {
    let text = "# one\n\n$ cat <<END\n> a\n> END\na\n\n$ false\n[exit 1]\n# two\n$ true\n";

    let mut transcript = Transcript::parse(text);

    assert_eq!(transcript.to_string(), text);
    let commands: Vec<_> = transcript.commands().map(|command| command.clone()).collect();
    assert_eq!(commands.len(), 3);
    assert_eq!(commands[0], Command { text: "cat <<END\na\nEND".into(), output: "a\n\n".into(), exit: 0 });
    assert_eq!(commands[1].exit, 1);
    let comments: Vec<_> = transcript.annotated().into_iter().map(|(comments, _)| comments).collect();
    assert_eq!(comments, [vec!["# one", ""], vec![], vec!["# two"]]);
}
