//! How deep an expression is, found out token by token; and whether it is one at all.

use super::tokens::Token;
use super::{MOST_CHAINED, MOST_NESTED};

/// Why an expression is not to be parsed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It is not in the language.
    Syntax,
    Says(String),
}

type Checked<T> = Result<T, Refusal>;

/// What is before the next token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// A bracket that was opened.
    Opened,
    Comma,
    /// Something else that a value is to follow.
    Operator,
    /// `!`, and a minus after it, which begins a number.
    Not,
    NotMinus,
    /// A minus that negates what follows.
    Minus,
    /// A dot at the beginning of a name.
    LeadingDot,
    /// A dot after a value; whether names and dots are all that is before it.
    Dot(bool),
    /// A dot with a question mark.
    Optional,
    /// A name, which may be called; whether it is names and dots, and so may be the name of a type.
    Name(bool),
    /// A value of another kind.
    Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// No brackets at all.
    Whole,
    Group,
    Call,
    List,
    Index,
    Map,
    Message,
}

/// What is between brackets, up to now.
#[derive(Debug)]
struct Level {
    kind: Kind,
    /// Whether a condition waits for its colon.
    asks: bool,
    /// Whether this entry has its colon.
    has_key: bool,
    /// Operators, fields and calls since the last `&&`, `||` or comma, and how many there are in the deepest brackets among them.
    links: usize,
    links_below: usize,
    /// Conditions since the last comma, and how deep brackets among them nest.
    conditions: usize,
    nests_below: usize,
    /// The most of both, in what came before.
    most_links: usize,
    most_nests: usize,
}

impl Level {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            asks: false,
            has_key: false,
            links: 0,
            links_below: 0,
            conditions: 0,
            nests_below: 0,
            most_links: 0,
            most_nests: 0,
        }
    }

    /// What is before a `&&` or `||` is beside what follows: parsers make a tree of these that is as flat as can be.
    fn split(&mut self) {
        self.most_links = self.most_links.max(self.links + self.links_below);
        (self.links, self.links_below) = (0, 0);
    }

    fn is_entries(&self) -> bool {
        matches!(self.kind, Kind::Map | Kind::Message)
    }

    /// Ends an element.
    fn element(&mut self) -> Checked<()> {
        if self.asks || self.is_entries() && !self.has_key {
            return Err(Refusal::Syntax);
        }
        self.has_key = false;
        self.split();
        self.most_nests = self.most_nests.max(self.conditions + self.nests_below);
        (self.conditions, self.nests_below) = (0, 0);
        Ok(())
    }
}

/// What is known of an expression, up to the last token.
pub(super) struct Shape {
    outer: Vec<Level>,
    level: Level,
    before: Before,
}

impl Shape {
    pub(super) fn new() -> Self {
        Self { outer: Vec::new(), level: Level::new(Kind::Whole), before: Before::Operator }
    }

    pub(super) fn add(&mut self, token: Token) -> Checked<()> {
        let in_field = self.level.kind == Kind::Message && !self.level.has_key;
        if in_field && !matches!(token, Token::Name | Token::Question | Token::Colon | Token::Close(_)) {
            return Err(Refusal::Syntax);
        }
        self.before = match token {
            Token::Quoted => {
                let why = "has a name in backticks, which is not supported: write object['name'] for it";
                return Err(Refusal::Says(why.to_owned()));
            }
            Token::Name => self.name()?,
            Token::Number | Token::Literal => self.literal(token)?,
            Token::Dot => self.dot()?,
            Token::Question => self.question(in_field)?,
            Token::Colon => self.colon()?,
            Token::Comma => {
                self.after_value()?;
                if !matches!(self.level.kind, Kind::Call | Kind::List | Kind::Map | Kind::Message) {
                    return Err(Refusal::Syntax);
                }
                self.level.element()?;
                Before::Comma
            }
            Token::Open(bracket) => self.open(bracket)?,
            Token::Close(bracket) => self.close(bracket)?,
            Token::Logical => {
                self.after_value()?;
                self.level.split();
                Before::Operator
            }
            Token::Operator => {
                self.after_value()?;
                self.link()?;
                Before::Operator
            }
            Token::Minus | Token::Not => self.negation(token)?,
        };
        Ok(())
    }

    pub(super) fn end(&mut self) -> Checked<()> {
        self.after_value()?;
        if !self.outer.is_empty() {
            return Err(Refusal::Syntax);
        }
        self.level.element()?;
        self.bounded(self.level.most_nests, self.level.most_links)
    }

    fn bounded(&self, nests: usize, links: usize) -> Checked<()> {
        if nests > MOST_NESTED {
            return Err(Refusal::Says(format!("nests deeper than {MOST_NESTED}")));
        }
        if links > MOST_CHAINED {
            return Err(Refusal::Says(format!("chains more than {MOST_CHAINED} operators")));
        }
        Ok(())
    }

    /// Whatever ends here is below this one more.
    fn link(&mut self) -> Checked<()> {
        self.level.links += 1;
        self.bounded(0, self.level.links + self.level.links_below)
    }

    fn nests(&self) -> Checked<()> {
        let conditions: usize = self.outer.iter().map(|level| level.conditions).sum();
        self.bounded(self.outer.len() + conditions + self.level.conditions, 0)
    }

    fn is_value(&self) -> bool {
        matches!(self.before, Before::Name(_) | Before::Value)
    }

    fn after_value(&self) -> Checked<()> {
        if self.is_value() { Ok(()) } else { Err(Refusal::Syntax) }
    }

    fn wants_value(&self) -> bool {
        use Before::{Comma, Minus, Not, Opened, Operator};
        matches!(self.before, Opened | Comma | Operator | Not | Minus)
    }

    fn name(&self) -> Checked<Before> {
        match self.before {
            Before::Dot(is_path) => Ok(Before::Name(is_path)),
            Before::LeadingDot => Ok(Before::Name(true)),
            Before::Optional => Ok(Before::Value),
            _ if self.wants_value() => Ok(Before::Name(true)),
            _ => Err(Refusal::Syntax),
        }
    }

    fn literal(&self, token: Token) -> Checked<Before> {
        let is_signed = self.before == Before::NotMinus && token == Token::Number;
        if is_signed || self.wants_value() { Ok(Before::Value) } else { Err(Refusal::Syntax) }
    }

    fn dot(&mut self) -> Checked<Before> {
        if self.wants_value() {
            return Ok(Before::LeadingDot);
        }
        self.after_value()?;
        self.link()?;
        Ok(Before::Dot(self.before == Before::Name(true)))
    }

    fn question(&mut self, in_field: bool) -> Checked<Before> {
        use Kind::{Index, List, Map, Message};
        match self.before {
            Before::Dot(_) => return Ok(Before::Optional),
            // An element that may be absent.
            Before::Opened if matches!(self.level.kind, Index | List | Map | Message) => {
                return Ok(Before::Operator);
            }
            Before::Comma if matches!(self.level.kind, List | Map | Message) => return Ok(Before::Operator),
            _ => self.after_value()?,
        }
        if self.level.asks || in_field {
            return Err(Refusal::Syntax);
        }
        self.level.asks = true;
        self.level.conditions += 1;
        self.nests()?;
        Ok(Before::Operator)
    }

    fn colon(&mut self) -> Checked<Before> {
        self.after_value()?;
        if self.level.asks {
            self.level.asks = false;
        } else if self.level.is_entries() && !self.level.has_key {
            self.key()?;
        } else {
            return Err(Refusal::Syntax);
        }
        Ok(Before::Operator)
    }

    /// Ends the key of an entry.
    fn key(&mut self) -> Checked<()> {
        self.level.has_key = true;
        self.level.element()?;
        self.level.has_key = true;
        Ok(())
    }

    fn negation(&mut self, token: Token) -> Checked<Before> {
        if token == Token::Minus && self.is_value() {
            self.link()?;
            return Ok(Before::Operator);
        }
        match (self.before, token) {
            (Before::Not, Token::Not) | (Before::Minus, Token::Minus) => {
                let why = "negates twice in a row, which would be taken for once";
                return Err(Refusal::Says(why.to_owned()));
            }
            (Before::Not, _) => return Ok(Before::NotMinus),
            (Before::Minus, _) => return Err(Refusal::Syntax),
            _ if !self.wants_value() => return Err(Refusal::Syntax),
            _ => self.link()?,
        }
        Ok(if token == Token::Not { Before::Not } else { Before::Minus })
    }

    fn open(&mut self, bracket: u8) -> Checked<Before> {
        let kind = match (bracket, self.before) {
            (b'(', Before::Name(_)) => Kind::Call,
            (b'(', _) if self.wants_value() => Kind::Group,
            (b'[', _) if self.is_value() => Kind::Index,
            (b'[', _) if self.wants_value() => Kind::List,
            (b'{', Before::Name(true)) => Kind::Message,
            (b'{', _) if self.wants_value() => Kind::Map,
            _ => return Err(Refusal::Syntax),
        };
        self.outer.push(std::mem::replace(&mut self.level, Level::new(kind)));
        self.nests()?;
        Ok(Before::Opened)
    }

    fn close(&mut self, bracket: u8) -> Checked<Before> {
        use Kind::{Call, Group, Index, List, Map, Message, Whole};
        let opened = match self.level.kind {
            Whole => return Err(Refusal::Syntax),
            Group | Call => b'(',
            List | Index => b'[',
            Map | Message => b'{',
        };
        let may_end = match self.before {
            Before::Opened => matches!(self.level.kind, Call | List | Map | Message),
            Before::Comma => matches!(self.level.kind, List | Map | Message),
            _ => self.is_value(),
        };
        if opened != bracket || !may_end {
            return Err(Refusal::Syntax);
        }
        if self.is_value() {
            self.level.element()?;
        }
        let outer = self.outer.pop().ok_or(Refusal::Syntax)?;
        let closed = std::mem::replace(&mut self.level, outer);
        self.level.nests_below = self.level.nests_below.max(closed.most_nests + 1);
        self.level.links_below = self.level.links_below.max(closed.most_links);
        self.bounded(self.level.conditions + self.level.nests_below, 0)?;
        // What is in brackets is called, or indexes what is before it.
        self.link()?;
        Ok(Before::Value)
    }
}
