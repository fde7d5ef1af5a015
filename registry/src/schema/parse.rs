//! A JSON parser that refuses in the words of Go's encoding/json, which clients of Kubernetes see.

use std::borrow::Cow;
use std::cell::Cell;

use super::node::{Members, Node};
use crate::json;

/// How deep objects and lists may nest. Below serde_json's limit of 128, because stored objects are read by it, wrapped
/// in lists and events.
pub const MAX_DEPTH: usize = 120;

/// How many values a body may hold. A client's bytes are bounded elsewhere; `{"":0},` has eight of them, and costs the server
/// almost a hundred times as much.
const MAX_VALUES: usize = 400_000;

/// How much more a review may hold than an object, whose objects lie in it: several of them, and deeper.
const REVIEW: (usize, usize) = (2, 4);

/// What a text with more values than it may hold is refused for.
pub(crate) const TOO_MANY: &str = "too many values";

/// What an object with members counts as: a map takes memory for eleven when it gets the first.
pub(super) const OBJECT: usize = 2;

/// How many more values a body may hold, of how many, and how deep it may be.
#[derive(Debug)]
pub(super) struct Room {
    left: Cell<usize>,
    most: usize,
    deepest: usize,
}

impl Room {
    /// Makes the room that a body has.
    pub(super) fn of_body() -> Self {
        Self { left: Cell::new(MAX_VALUES), most: MAX_VALUES, deepest: MAX_DEPTH }
    }

    /// Makes the room that an answer of a webhook has. Objects that are converted together have a MiB: no more values than this.
    fn of_review() -> Self {
        let (times, deeper) = REVIEW;
        let most = MAX_VALUES * times;
        Self { left: Cell::new(most), most, deepest: MAX_DEPTH + deeper }
    }

    /// Takes some of the room, before what it is for is made.
    ///
    /// # Errors
    ///
    /// That there is none.
    pub(super) fn take(&self, values: usize) -> Result<(), String> {
        let left = self.left.get().checked_sub(values);
        let too_many = || {
            let most = self.most;
            format!("{TOO_MANY}: {most} are allowed, and an object with members counts as {OBJECT}")
        };
        self.left.set(left.ok_or_else(too_many)?);
        Ok(())
    }
}

/// Parses one JSON value, which must be all there is.
pub(super) fn parse(bytes: &[u8]) -> Result<Node<'_>, String> {
    parse_at(bytes, 0, &Room::of_body())
}

/// Parses what a webhook answers.
pub(super) fn parse_review(bytes: &[u8]) -> Result<Node<'_>, String> {
    parse_at(bytes, 0, &Room::of_review())
}

/// Parses JSON that is embedded at this depth of something else, and shares the room with it.
pub(super) fn parse_at<'a>(bytes: &'a [u8], depth: usize, room: &Room) -> Result<Node<'a>, String> {
    let mut parser = Parser { bytes, at: 0, depth, room };
    let node = parser.value()?;
    match parser.peek() {
        None => Ok(node),
        Some(_) => Err(parser.unexpected("after top-level value")),
    }
}

struct Parser<'a, 'r> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    room: &'r Room,
}

impl<'a> Parser<'a, '_> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    /// The message about the byte at hand.
    fn unexpected(&self, place: &str) -> String {
        match self.bytes.get(self.at) {
            None => "unexpected end of JSON input".into(),
            Some(b'\'') => format!(r"invalid character '\'' {place}"),
            Some(b'"') => format!("invalid character '\"' {place}"),
            // Go makes a character of the byte, whatever the encoding.
            Some(&byte) => format!("invalid character '{}' {place}", go_escape(char::from(byte))),
        }
    }

    fn value(&mut self) -> Result<Node<'a>, String> {
        self.room.take(1)?;
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::list),
            Some(b'"') => Ok(Node::String(self.string()?)),
            Some(b't') => self.literal("true", Node::Bool(true)),
            Some(b'f') => self.literal("false", Node::Bool(false)),
            Some(b'n') => self.literal("null", Node::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected("looking for beginning of value")),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Node<'a>, String>) -> Result<Node<'a>, String> {
        self.depth += 1;
        if self.depth > self.room.deepest {
            return Err("exceeded max depth".into());
        }
        self.at += 1;
        let node = read(self)?;
        self.at += 1;
        self.depth -= 1;
        Ok(node)
    }

    fn object(&mut self) -> Result<Node<'a>, String> {
        let mut members: Members<'a> = Vec::new();
        if self.peek() == Some(b'}') {
            return Ok(Node::Object(members));
        }
        self.room.take(OBJECT - 1)?;
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected("looking for beginning of object key string"));
            }
            let name = self.string()?;
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            members.push((name, self.value()?));
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => return Ok(Node::Object(members)),
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    fn list(&mut self) -> Result<Node<'a>, String> {
        let mut members = Vec::new();
        if self.peek() == Some(b']') {
            return Ok(Node::List(members));
        }
        loop {
            members.push(self.value()?);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => return Ok(Node::List(members)),
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    fn literal(&mut self, word: &str, node: Node<'a>) -> Result<Node<'a>, String> {
        for expected in word.chars() {
            if self.bytes.get(self.at).copied().map(char::from) != Some(expected) {
                return Err(self.unexpected(&format!("in literal {word} (expecting '{expected}')")));
            }
            self.at += 1;
        }
        Ok(node)
    }

    fn number(&mut self) -> Result<Node<'a>, String> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.unexpected("in numeric literal")),
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.some_digits("in exponent of numeric literal")?;
        }
        // All of it is ASCII by now.
        Ok(Node::Number(String::from_utf8_lossy(&self.bytes[start..self.at])))
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self, place: &str) -> Result<(), String> {
        let start = self.at;
        self.digits();
        if self.at == start { Err(self.unexpected(place)) } else { Ok(()) }
    }

    /// A string, from its opening quote. Invalid UTF-8 and lone surrogates become U+FFFD, as in Go.
    fn string(&mut self) -> Result<Cow<'a, str>, String> {
        self.at += 1;
        let start = self.at;
        self.at = start + json::plain(&self.bytes[start..]);
        match self.bytes.get(self.at) {
            Some(b'"') => {
                let text = &self.bytes[start..self.at];
                self.at += 1;
                return Ok(
                    std::str::from_utf8(text).map_or_else(|_| String::from_utf8_lossy(text), Cow::Borrowed)
                );
            }
            Some(b'\\') => {}
            _ => return Err(self.unexpected("in string literal")),
        }
        let mut text = self.bytes[start..self.at].to_vec();
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    let text = String::from_utf8(text)
                        .unwrap_or_else(|invalid| String::from_utf8_lossy(invalid.as_bytes()).into_owned());
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let mut buffer = [0; 4];
                    text.extend_from_slice(self.escape()?.encode_utf8(&mut buffer).as_bytes());
                }
                Some(0x20..) => {
                    let plain = json::plain(&self.bytes[self.at..]);
                    text.extend_from_slice(&self.bytes[self.at..self.at + plain]);
                    self.at += plain;
                }
                _ => return Err(self.unexpected("in string literal")),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, String> {
        let character = match self.bytes.get(self.at) {
            Some(&plain @ (b'"' | b'\\' | b'/')) => char::from(plain),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(character)
    }

    fn unicode_escape(&mut self) -> Result<char, String> {
        let first = self.hexadecimal()?;
        if !(0xD800..0xDC00).contains(&first) {
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before_second = self.at;
        if self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let second = self.hexadecimal()?;
            if (0xDC00..0xE000).contains(&second) {
                let joined = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
                return Ok(char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before_second;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hexadecimal(&mut self) -> Result<u32, String> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|byte| char::from(*byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.unexpected("in \\u hexadecimal character escape"));
            };
            number = number * 16 + digit;
            self.at += 1;
        }
        Ok(number)
    }
}

/// A character as Go's strconv.Quote writes it.
fn go_escape(character: char) -> String {
    match character {
        '\\' => r"\\".into(),
        '\n' => r"\n".into(),
        '\r' => r"\r".into(),
        '\t' => r"\t".into(),
        '\u{7}' => r"\a".into(),
        '\u{8}' => r"\b".into(),
        '\u{b}' => r"\v".into(),
        '\u{c}' => r"\f".into(),
        '\0'..='\u{1f}' | '\u{7f}' => format!(r"\x{:02x}", u32::from(character)),
        '\u{80}'..='\u{a0}' | '\u{ad}' => format!(r"\u{:04x}", u32::from(character)),
        other => other.to_string(),
    }
}
