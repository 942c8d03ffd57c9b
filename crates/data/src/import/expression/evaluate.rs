//! A tree over all rows of a table.

use super::{Comparison, Expression, ExpressionError, Kind, Node, Operator};
use crate::import::table::{Column, Table, is_missing, text_number};

/// One condition of a filter, and the rows that meet it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its text.
    pub text: String,
    /// Whether each row meets it.
    pub keeps: Vec<bool>,
    /// Rows that lack a number that it reads, whether they meet it or not.
    pub missing: usize,
    /// Whether each row lacks a number or text that it reads and that neither `missing(x)` nor `coalesce(x, y)` asks for.
    pub unknown: Vec<bool>,
}

impl Expression {
    /// Its value in each row.
    ///
    /// # Errors
    /// [`ExpressionError`]: a column that the table doesn't have, or kinds of values that don't go together.
    pub fn evaluate(&self, table: &Table) -> Result<Column, ExpressionError> {
        Evaluation {
            text: &self.text,
            table,
        }
        .column(&self.root)
    }

    /// Whether each row meets it.
    ///
    /// # Errors
    /// As [`Expression::evaluate`], and where its value is neither a flag nor 0 or 1.
    pub fn condition(&self, table: &Table) -> Result<Vec<bool>, ExpressionError> {
        Evaluation {
            text: &self.text,
            table,
        }
        .flags(&self.root)
    }

    /// Its value in each row, as numbers: flags are 0 and 1.
    ///
    /// # Errors
    /// As [`Expression::evaluate`], and where its value is a text.
    pub fn numbers(&self, table: &Table) -> Result<Vec<f64>, ExpressionError> {
        Evaluation {
            text: &self.text,
            table,
        }
        .numbers(&self.root)
    }

    /// In which rows a column of numbers, or of texts in `number(x)`, that it reads lacks one. Every comparison of it is false there but `!=`, so a condition
    /// may hold there.
    pub fn missing(&self, table: &Table) -> Vec<bool> {
        Evaluation {
            text: &self.text,
            table,
        }
        .missing(&self.root)
    }

    /// Texts that a `number(x)` in it reads as missing although they are no usual word for that: its text, how many, and the first.
    pub(in crate::import) fn unread(&self, table: &Table) -> Vec<(&str, usize, String)> {
        let evaluation = Evaluation {
            text: &self.text,
            table,
        };
        let is_none = |text: &&String| text.trim().eq_ignore_ascii_case("none") || is_missing(text.trim());
        let mut unread = Vec::new();
        self.root.visit(&mut |node| {
            if let Kind::Read(of) = &node.kind
                && let Ok(Column::Texts(texts)) = evaluation.column(of)
            {
                let mut others = texts
                    .iter()
                    .filter(|text| text_number(text).is_none() && !is_none(text));
                if let Some(first) = others.next() {
                    unread.push((self.text_of(node), 1 + others.count(), first.clone()));
                }
            }
        });
        unread
    }

    /// Its conditions that are joined by `&&`, one by one: how many rows each of them leaves out is worth knowing.
    ///
    /// # Errors
    /// As [`Expression::condition`].
    pub fn rules(&self, table: &Table) -> Result<Vec<Rule>, ExpressionError> {
        let evaluation = Evaluation {
            text: &self.text,
            table,
        };
        let mut conditions = Vec::new();
        conjuncts(&self.root, &mut conditions);
        conditions
            .into_iter()
            .map(|node| {
                Ok(Rule {
                    text: self.text_of(node).to_owned(),
                    keeps: evaluation.flags(node)?,
                    missing: evaluation.missing(node).into_iter().filter(|missing| *missing).count(),
                    unknown: evaluation.unknown(node),
                })
            })
            .collect()
    }
}

fn conjuncts<'a>(node: &'a Node, into: &mut Vec<&'a Node>) {
    if let Kind::And(left, right) = &node.kind {
        conjuncts(left, into);
        conjuncts(right, into);
    } else {
        into.push(node);
    }
}

struct Evaluation<'a> {
    text: &'a str,
    table: &'a Table,
}

type Evaluated<T> = Result<T, ExpressionError>;

impl Evaluation<'_> {
    fn error<T>(&self, node: &Node, message: impl Into<String>) -> Evaluated<T> {
        Err(ExpressionError::new(self.text, node.at, message))
    }

    fn lookup(&self, node: &Node, name: &str) -> Evaluated<&Column> {
        match self.table.get(name) {
            Some(column) => Ok(column),
            None => self.error(node, format!("there is no column '{name}'; {}", self.table.hint(name))),
        }
    }

    /// Rows in which a column of numbers that the node reads is NaN, or a text that it reads as a number is none.
    fn missing(&self, node: &Node) -> Vec<bool> {
        let mut missing = vec![false; self.table.n_rows()];
        node.visit(&mut |node| {
            if let Kind::Column(name) = &node.kind
                && let Some(Column::Numbers(values)) = self.table.get(name)
            {
                for (missing, value) in missing.iter_mut().zip(values) {
                    *missing |= value.is_nan();
                }
            }
            self.add_unread(node, &mut missing);
        });
        missing
    }

    /// Adds the rows in which `number(x)` finds none in a text.
    fn add_unread(&self, node: &Node, missing: &mut [bool]) {
        if let Kind::Read(of) = &node.kind
            && let Ok(Column::Texts(texts)) = self.column(of)
        {
            for (missing, text) in missing.iter_mut().zip(&texts) {
                *missing |= text_number(text).is_none();
            }
        }
    }

    /// Rows in which a column that the node reads has no value, but where it asks whether there is one.
    fn unknown(&self, node: &Node) -> Vec<bool> {
        let mut asked = Vec::new();
        node.visit(&mut |node| {
            if let Kind::Missing(of) | Kind::Coalesce(of, _) = &node.kind {
                of.visit(&mut |node| {
                    if let Kind::Column(name) = &node.kind {
                        asked.push(name.as_str());
                    }
                });
            }
        });
        let mut unknown = vec![false; self.table.n_rows()];
        node.visit(&mut |node| {
            let mut is_asked = false;
            node.visit(&mut |node| {
                is_asked |= matches!(&node.kind, Kind::Column(name) if asked.contains(&name.as_str()));
            });
            if !is_asked {
                self.add_unread(node, &mut unknown);
            }
            let Kind::Column(name) = &node.kind else { return };
            if is_asked {
                return;
            }
            match self.table.get(name) {
                Some(Column::Numbers(values)) => {
                    let values = unknown.iter_mut().zip(values);
                    values.for_each(|(unknown, value)| *unknown |= value.is_nan());
                }
                Some(Column::Texts(values)) => {
                    let values = unknown.iter_mut().zip(values);
                    values.for_each(|(unknown, value)| *unknown |= value.is_empty());
                }
                _ => {}
            }
        });
        unknown
    }

    fn column(&self, node: &Node) -> Evaluated<Column> {
        let n = self.table.n_rows();
        Ok(match &node.kind {
            Kind::Number(value) => Column::Numbers(vec![*value; n]),
            Kind::Text(text) => Column::Texts(vec![text.clone(); n]),
            Kind::Flag(flag) => Column::Flags(vec![*flag; n]),
            Kind::Column(name) => self.lookup(node, name)?.clone(),
            Kind::Other(question) => {
                let Some(column) = self.table.get(&question.column()) else {
                    let message = format!(
                        "{} asks another table about a trial's start and end, which only expressions of trials can",
                        question.column()
                    );
                    return self.error(node, message);
                };
                column.clone()
            }
            Kind::Not(of) => Column::Flags(self.flags(of)?.into_iter().map(|flag| !flag).collect()),
            Kind::And(a, b) => Column::Flags(zip(self.flags(a)?, self.flags(b)?, |a, b| a && b)),
            Kind::Or(a, b) => Column::Flags(zip(self.flags(a)?, self.flags(b)?, |a, b| a || b)),
            Kind::Negative(of) => Column::Numbers(self.numbers(of)?.into_iter().map(|x| -x).collect()),
            Kind::Read(of) => match self.column(of)? {
                Column::Texts(texts) => self.read(node, &texts)?,
                other => Column::Numbers(self.as_numbers(of, other)?),
            },
            Kind::Absolute(of) => Column::Numbers(self.numbers(of)?.into_iter().map(f64::abs).collect()),
            Kind::Least(a, b) => {
                self.arithmetic(a, b, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) })?
            }
            Kind::Greatest(a, b) => {
                self.arithmetic(a, b, |a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) })?
            }
            Kind::Coalesce(a, b) => self.arithmetic(a, b, |a, b| if a.is_nan() { b } else { a })?,
            Kind::Arithmetic(operator, a, b) => self.arithmetic(
                a,
                b,
                match operator {
                    Operator::Plus => |a, b| a + b,
                    Operator::Minus => |a, b| a - b,
                    Operator::Times => |a, b| a * b,
                    Operator::Over => |a, b| a / b,
                },
            )?,
            Kind::Compare(comparison, a, b) => Column::Flags(self.compare(node, *comparison, a, b)?),
            Kind::In(of, list) => {
                let mut found = vec![false; n];
                for value in list {
                    let equal = self.compare(value, Comparison::Equal, of, value)?;
                    found.iter_mut().zip(equal).for_each(|(found, equal)| *found |= equal);
                }
                if list.is_empty() {
                    self.column(of)?;
                }
                Column::Flags(found)
            }
            Kind::Like(of, pattern) => match self.column(of)? {
                Column::Texts(texts) => Column::Flags(texts.iter().map(|text| matches(pattern, text)).collect()),
                other => return self.error(of, format!("'like' takes texts, found {}", other.kind())),
            },
            Kind::Missing(of) => Column::Flags(match self.column(of)? {
                Column::Numbers(values) => values.iter().map(|value| value.is_nan()).collect(),
                Column::Texts(values) => values.iter().map(String::is_empty).collect(),
                Column::Flags(values) => vec![false; values.len()],
            }),
        })
    }

    /// Texts as numbers, missing where they are none; refused where none is one, as with a decimal comma.
    fn read(&self, node: &Node, texts: &[String]) -> Evaluated<Column> {
        let values: Vec<f64> = texts.iter().map(|text| text_number(text).unwrap_or(f64::NAN)).collect();
        match texts.first() {
            Some(first) if values.iter().all(|value| value.is_nan()) => {
                let shown: String = first.chars().take(40).collect();
                self.error(
                    node,
                    format!(
                        "no text is a number such as '0.7'; the first is '{}'",
                        shown.escape_debug()
                    ),
                )
            }
            _ => Ok(Column::Numbers(values)),
        }
    }

    fn arithmetic(&self, a: &Node, b: &Node, apply: impl Fn(f64, f64) -> f64) -> Evaluated<Column> {
        Ok(Column::Numbers(zip(self.numbers(a)?, self.numbers(b)?, apply)))
    }

    fn numbers(&self, node: &Node) -> Evaluated<Vec<f64>> {
        self.as_numbers(node, self.column(node)?)
    }

    fn as_numbers(&self, node: &Node, column: Column) -> Evaluated<Vec<f64>> {
        match column {
            Column::Numbers(values) => Ok(values),
            Column::Flags(flags) => Ok(flags.into_iter().map(|flag| f64::from(u8::from(flag))).collect()),
            Column::Texts(_) => self.error(
                node,
                "a text, where a number is expected (hint: number(x) reads texts such as '0.7'; others are missing)",
            ),
        }
    }

    fn flags(&self, node: &Node) -> Evaluated<Vec<bool>> {
        match self.column(node)? {
            Column::Flags(flags) => Ok(flags),
            Column::Numbers(values) => match values
                .iter()
                .find(|value| !(**value == 0.0 || **value == 1.0 || value.is_nan()))
            {
                None => Ok(values.iter().map(|value| *value == 1.0).collect()),
                Some(value) => self.error(
                    node,
                    format!("a number ({value}), where a condition is expected (hint: compare it, such as '… > 0')"),
                ),
            },
            Column::Texts(_) => self.error(
                node,
                "a text, where a condition is expected (hint: compare it, such as \"… == 'go'\")",
            ),
        }
    }

    fn compare(&self, node: &Node, comparison: Comparison, a: &Node, b: &Node) -> Evaluated<Vec<bool>> {
        let (left, right) = (self.column(a)?, self.column(b)?);
        if let (Column::Texts(left), Column::Texts(right)) = (&left, &right) {
            return match comparison {
                Comparison::Equal => Ok(left.iter().zip(right).map(|(a, b)| a == b).collect()),
                Comparison::NotEqual => Ok(left.iter().zip(right).map(|(a, b)| a != b).collect()),
                _ => self.error(node, "texts are compared by == and != only"),
            };
        }
        if let (Column::Texts(_), other) | (other, Column::Texts(_)) = (&left, &right) {
            return self.error(node, format!("a text is compared with {}", other.kind()));
        }
        let (left, right) = (self.as_numbers(a, left)?, self.as_numbers(b, right)?);
        let holds: fn(f64, f64) -> bool = match comparison {
            Comparison::Equal => |a, b| a == b,
            Comparison::NotEqual => |a, b| a != b,
            Comparison::Less => |a, b| a < b,
            Comparison::LessOrEqual => |a, b| a <= b,
            Comparison::Greater => |a, b| a > b,
            Comparison::GreaterOrEqual => |a, b| a >= b,
        };
        Ok(zip(left, right, holds))
    }
}

fn zip<A, B, C>(a: Vec<A>, b: Vec<B>, apply: impl Fn(A, B) -> C) -> Vec<C> {
    a.into_iter().zip(b).map(|(a, b)| apply(a, b)).collect()
}

/// Whether a text matches a pattern in which `*` stands for any letters and `?` for one. Takes time in proportion to the product
/// of the lengths.
pub(in crate::import) fn matches(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Whether the pattern so far matches the first i letters.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for wanted in pattern.chars() {
        if wanted == '*' {
            let first = reached.iter().position(|reached| *reached).unwrap_or(reached.len());
            reached[first..].fill(true);
        } else {
            for i in (0..text.len()).rev() {
                reached[i + 1] = reached[i] && (wanted == '?' || wanted == text[i]);
            }
            reached[0] = false;
        }
    }
    reached[text.len()]
}
