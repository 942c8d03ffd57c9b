//! Filters and derived values over the columns of a table: `isi_violations < 0.5 && presence_ratio > 0.9`.
//!
//! A text is parsed once ([`Expression::parse`]) and evaluated for all rows of a table at once, so that a wrong name or a text
//! compared with a number is told before anything is chosen. Missing numbers are NaN, and comparisons with NaN are false
//! (`!=` is true), as in Python.

mod evaluate;
mod parse;

use std::fmt;

use thiserror::Error;

pub use evaluate::Rule;
pub(super) use evaluate::matches;

/// Longest expression that is read (bytes).
pub const MAX_LENGTH: usize = 10_000;
/// Most words and signs: a sum of so many terms is a tree as deep.
pub const MAX_TOKENS: usize = 2000;
/// Deepest nesting of parentheses and negations.
pub const MAX_DEPTH: usize = 64;

/// A parsed expression.
///
/// | | |
/// |---|---|
/// | values | numbers, `'texts'` or `"texts"`, `true`, `false`, columns by name; `` `odd names` `` in backticks |
/// | arithmetic | `+ - * /`, `abs(x)`, `min(x, y)`, `max(x, y)`, `coalesce(x, y)` (y where x is missing), `number(x)` (of texts such as `'0.7'`, missing where they are none) |
/// | comparisons | `== != < <= > >=`, `x in [1, 2]`, `x not in ['a', 'b']`, `area like 'VIS*'` (`*` any letters, `?` one) |
/// | other tables | of trials: `overlaps('epochs')`, whether a row of that table overlaps the trial's own; `first('licks', 'is_left')`, when the first one of that condition begins in it |
/// | conditions | `&&` or `and`, `\|\|` or `or`, `!` or `not`, `missing(x)` |
///
/// Numbers count as conditions where a column holds nothing but 0, 1 and missing values; missing is false.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    text: String,
    root: Node,
}

/// A node of the tree and where its text begins.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    at: usize,
    end: usize,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Number(f64),
    Text(String),
    Flag(bool),
    Column(String),
    Not(Box<Node>),
    Negative(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    Arithmetic(Operator, Box<Node>, Box<Node>),
    /// Whether the value is one of the list.
    In(Box<Node>, Vec<Node>),
    /// Whether the text matches the pattern.
    Like(Box<Node>, String),
    Missing(Box<Node>),
    Absolute(Box<Node>),
    /// The number that a text is, missing where it is none.
    Read(Box<Node>),
    Least(Box<Node>, Box<Node>),
    Greatest(Box<Node>, Box<Node>),
    /// The second where the first is missing.
    Coalesce(Box<Node>, Box<Node>),
    /// What rows of another table have to do with the row.
    Other(Question),
}

/// How rows of another table are related to a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Relation {
    /// Whether one overlaps it.
    Overlaps,
    /// When the first one begins in it.
    First,
}

impl Relation {
    fn name(self) -> &'static str {
        match self {
            Self::Overlaps => "overlaps",
            Self::First => "first",
        }
    }
}

/// What is asked of another table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Question {
    pub(super) relation: Relation,
    pub(super) table: String,
    /// Condition of the rows that count.
    pub(super) when: Option<String>,
}

impl Question {
    /// Name of the column of trials that holds the answer.
    pub(super) fn column(&self) -> String {
        let (name, table) = (self.relation.name(), &self.table);
        match &self.when {
            Some(when) => format!("{name}('{table}', \"{when}\")"),
            None => format!("{name}('{table}')"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Plus,
    Minus,
    Times,
    Over,
}

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("in '{text}', column {column}: {message}")]
pub struct ExpressionError {
    /// The whole expression.
    pub text: String,
    /// Where in it, in characters from 1.
    pub column: usize,
    /// What was found, what was expected, what to do.
    pub message: String,
}

impl ExpressionError {
    fn new(text: &str, at: usize, message: impl Into<String>) -> Self {
        Self {
            text: text.chars().take(200).collect(),
            column: text.get(..at).map_or(0, |before| before.chars().count()) + 1,
            message: message.into(),
        }
    }
}

impl Expression {
    /// Parses a text.
    ///
    /// # Errors
    /// [`ExpressionError`] with the place of the first fault.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        Ok(Self {
            text: text.to_owned(),
            root: parse::parse(text)?,
        })
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names of the columns that it reads, each once, in the order of the text.
    pub fn columns(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.root.visit(&mut |node| {
            if let Kind::Column(name) = &node.kind
                && !names.contains(&name.as_str())
            {
                names.push(name.as_str());
            }
        });
        names
    }

    /// Other tables that it asks, and what of each, once each.
    pub(super) fn others(&self) -> Vec<&Question> {
        let mut others = Vec::new();
        self.root.visit(&mut |node| {
            if let Kind::Other(question) = &node.kind
                && !others.contains(&question)
            {
                others.push(question);
            }
        });
        others
    }

    fn text_of(&self, node: &Node) -> &str {
        self.text.get(node.at..node.end).unwrap_or_default().trim()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Node {
    fn visit<'a>(&'a self, look: &mut impl FnMut(&'a Self)) {
        look(self);
        match &self.kind {
            Kind::Number(_) | Kind::Text(_) | Kind::Flag(_) | Kind::Column(_) | Kind::Other(..) => {}
            Kind::Not(of)
            | Kind::Negative(of)
            | Kind::Missing(of)
            | Kind::Absolute(of)
            | Kind::Read(of)
            | Kind::Like(of, _) => {
                of.visit(look);
            }
            Kind::And(a, b)
            | Kind::Or(a, b)
            | Kind::Compare(_, a, b)
            | Kind::Arithmetic(_, a, b)
            | Kind::Least(a, b)
            | Kind::Greatest(a, b)
            | Kind::Coalesce(a, b) => {
                a.visit(look);
                b.visit(look);
            }
            Kind::In(of, list) => {
                of.visit(look);
                for node in list {
                    node.visit(look);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
