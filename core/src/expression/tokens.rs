//! The tokens of an expression, as the grammar of the language has them.

/// A token, as far as it matters for how deep an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Name,
    /// A name in backticks.
    Quoted,
    Number,
    /// Any other literal.
    Literal,
    Dot,
    Question,
    Colon,
    Comma,
    Open(u8),
    Close(u8),
    /// `&&` and `||`.
    Logical,
    Minus,
    Not,
    /// Any other operator between two values.
    Operator,
}

/// Operators, longer ones before those that they begin with.
const OPERATORS: [(&str, Token); 22] = [
    ("&&", Token::Logical),
    ("||", Token::Logical),
    ("==", Token::Operator),
    ("!=", Token::Operator),
    ("<=", Token::Operator),
    (">=", Token::Operator),
    ("<", Token::Operator),
    (">", Token::Operator),
    ("+", Token::Operator),
    ("*", Token::Operator),
    ("/", Token::Operator),
    ("%", Token::Operator),
    ("-", Token::Minus),
    ("!", Token::Not),
    (".", Token::Dot),
    ("?", Token::Question),
    (":", Token::Colon),
    (",", Token::Comma),
    ("(", Token::Open(b'(')),
    ("[", Token::Open(b'[')),
    ("{", Token::Open(b'{')),
    (")", Token::Close(b'(')),
];

/// The text that is left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'t> {
    rest: &'t str,
}

impl<'t> Tokens<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { rest: text }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Takes as many bytes, which end where a character does.
    fn take(&mut self, bytes: usize) -> &'t str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, is_part: impl Fn(u8) -> bool) -> &'t str {
        self.take(run(self.rest, is_part))
    }

    /// Passes over what says nothing.
    pub(super) fn skip(&mut self) {
        loop {
            self.take_while(|byte| matches!(byte, b'\t' | b' ' | b'\r' | b'\n' | 0x0c));
            if !self.rest.starts_with("//") {
                return;
            }
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        }
    }

    /// Returns the next token, none at the end, an error if no token begins like this.
    pub(super) fn next(&mut self) -> Result<Option<Token>, ()> {
        self.skip();
        let bytes = self.rest.as_bytes();
        let Some(first) = bytes.first() else { return Ok(None) };
        let after_first = bytes.get(1).copied().unwrap_or_default();
        let token = match first {
            b'"' | b'\'' => return self.string(false).map(Some),
            b'`' => {
                self.take(1);
                let name = self.take_while(|byte| is_word(byte) || b".-/ ".contains(&byte));
                if name.is_empty() || !self.rest.starts_with('`') {
                    return Err(());
                }
                self.take(1);
                Token::Quoted
            }
            b'0'..=b'9' => self.number(),
            b'.' if after_first.is_ascii_digit() => self.number(),
            first if is_word(*first) => {
                let word = self.take_while(is_word);
                let is_prefix = matches!(word.to_ascii_lowercase().as_str(), "r" | "b" | "br");
                if is_prefix && self.rest.starts_with(['"', '\'']) {
                    return self.string(word.ends_with(['r', 'R'])).map(Some);
                }
                match word {
                    "in" => Token::Operator,
                    "true" | "false" | "null" => Token::Literal,
                    _ => Token::Name,
                }
            }
            b']' | b'}' => {
                self.take(1);
                Token::Close(if *first == b']' { b'[' } else { b'{' })
            }
            _ => {
                let known = OPERATORS.iter().find(|(text, _)| self.rest.starts_with(text));
                let (text, token) = known.ok_or(())?;
                self.take(text.len());
                *token
            }
        };
        Ok(Some(token))
    }

    /// What comes right after a number is the next token, even if it is a letter.
    fn number(&mut self) -> Token {
        let digits = |text: &str| run(text, |byte| byte.is_ascii_digit());
        let hex = self.rest.strip_prefix("0x").map_or(0, |rest| run(rest, |byte| byte.is_ascii_hexdigit()));
        if hex > 0 {
            self.take(2 + hex);
            return self.unsigned();
        }
        let whole = digits(self.rest);
        self.take(whole);
        let fraction = self.rest.strip_prefix('.').map_or(0, digits);
        if fraction > 0 {
            self.take(1 + fraction);
        }
        let exponent = self.rest.strip_prefix(['e', 'E']).map_or(0, |rest| {
            let signed = rest.strip_prefix(['+', '-']).unwrap_or(rest);
            let sign = rest.len() - signed.len();
            Some(digits(signed)).filter(|digits| *digits > 0).map_or(0, |digits| 1 + sign + digits)
        });
        self.take(exponent);
        if fraction + exponent == 0 { self.unsigned() } else { Token::Number }
    }

    fn unsigned(&mut self) -> Token {
        if self.rest.starts_with(['u', 'U']) {
            self.take(1);
            return Token::Literal;
        }
        Token::Number
    }

    fn string(&mut self, is_raw: bool) -> Result<Token, ()> {
        let triple = ["\"\"\"", "'''"].into_iter().find(|quote| self.rest.starts_with(quote));
        let quote = triple.unwrap_or(&self.rest[..1]).to_owned();
        self.take(quote.len());
        while !self.rest.starts_with(&quote) {
            let next = self.rest.chars().next().ok_or(())?;
            let bytes = match next {
                '\\' if !is_raw => escape(&self.rest.as_bytes()[1..]).ok_or(())?,
                '\n' | '\r' if triple.is_none() => return Err(()),
                next => next.len_utf8(),
            };
            self.take(bytes);
        }
        self.take(quote.len());
        Ok(Token::Literal)
    }
}

/// How many bytes an escape has with its backslash, by what is behind that.
fn escape(rest: &[u8]) -> Option<usize> {
    let all = |bytes: &[u8], is_digit: fn(&u8) -> bool| bytes.iter().all(is_digit);
    let hex = |digits: usize| rest.get(1..=digits).filter(|found| all(found, u8::is_ascii_hexdigit));
    match rest.first()? {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'"' | b'\'' | b'\\' | b'?' | b'`' => Some(2),
        b'x' | b'X' => hex(2).map(|_| 4),
        b'u' => hex(4).map(|_| 6),
        b'U' => hex(8).map(|_| 10),
        b'0'..=b'3' => {
            rest.get(1..3).filter(|digits| all(digits, |digit| matches!(digit, b'0'..=b'7'))).map(|_| 4)
        }
        _ => None,
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn run(text: &str, is_part: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| is_part(*byte)).count()
}
