//! From a text to a tree: recursive descent, one function for each level of precedence.

use super::{Comparison, ExpressionError, Kind, MAX_DEPTH, MAX_LENGTH, MAX_TOKENS, Node, Operator, Question, Relation};

/// Parses a whole text.
pub(super) fn parse(text: &str) -> Result<Node, ExpressionError> {
    if text.len() > MAX_LENGTH {
        let message = format!("{} bytes long; at most {MAX_LENGTH} are read", text.len());
        return Err(ExpressionError::new(text, 0, message));
    }
    let tokens = tokens(text)?;
    if tokens.len() > MAX_TOKENS {
        let message = format!("{} words and signs; at most {MAX_TOKENS} are read", tokens.len());
        return Err(ExpressionError::new(text, 0, message));
    }
    let mut parser = Parser {
        text,
        tokens: &tokens,
        next: 0,
        depth: 0,
    };
    let root = parser.or()?;
    match parser.peek() {
        None => Ok(root),
        Some(token) => Err(parser.error(token.at, format!("'{}' is not expected here", parser.word(token)))),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Lexeme {
    Number(f64),
    Text(String),
    /// A name; quoted ones are never words of the language.
    Name(String, bool),
    Symbol(&'static str),
}

#[derive(Clone, Debug)]
struct Token {
    at: usize,
    end: usize,
    lexeme: Lexeme,
}

/// Longer ones first.
const SYMBOLS: [&str; 19] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "!", "(", ")", "[", "]", ",", "+", "-", "*", "/", "=",
];

fn tokens(text: &str) -> Result<Vec<Token>, ExpressionError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (length, lexeme) = lexeme(text, at, first)?;
        let end = at + length;
        tokens.push(Token { at, end, lexeme });
        at = end;
    }
    Ok(tokens)
}

fn lexeme(text: &str, at: usize, first: char) -> Result<(usize, Lexeme), ExpressionError> {
    let rest = &text[at..];
    if matches!(first, '\'' | '"' | '`') {
        let Some(length) = rest[1..].find(first) else {
            return Err(ExpressionError::new(text, at, format!("the {first} is never closed")));
        };
        let inside = rest[1..=length].to_owned();
        let lexeme = if first == '`' {
            Lexeme::Name(inside, true)
        } else {
            Lexeme::Text(inside)
        };
        return Ok((length + 2, lexeme));
    }
    let starts_number = first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()));
    if starts_number {
        let length = number_length(rest);
        let number: f64 = rest[..length]
            .parse()
            .map_err(|_| ExpressionError::new(text, at, format!("'{}' is not a number", &rest[..length])))?;
        if !number.is_finite() {
            return Err(ExpressionError::new(
                text,
                at,
                format!("{} is too large", &rest[..length]),
            ));
        }
        if rest[length..].starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            let message = "a name can't begin with a digit (hint: put it in backticks: `2p_depth`)";
            return Err(ExpressionError::new(text, at, message));
        }
        return Ok((length, Lexeme::Number(number)));
    }
    if first.is_alphabetic() || first == '_' {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let length = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let name = rest[..length].trim_end_matches('.');
        return Ok((name.len(), Lexeme::Name(name.to_owned(), false)));
    }
    match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        Some(&"=") => Err(ExpressionError::new(text, at, "'=' compares nothing; write '=='")),
        Some(symbol) => Ok((symbol.len(), Lexeme::Symbol(symbol))),
        None => Err(ExpressionError::new(
            text,
            at,
            format!("'{first}' is no part of an expression"),
        )),
    }
}

/// Digits, a point with digits, an exponent.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| {
        let rest = &text[from..];
        from + rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())
    };
    let mut end = digits(0);
    if text[end..].starts_with('.') {
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        let after = digits(end + 1 + sign);
        if after > end + 1 + sign {
            end = after;
        }
    }
    end
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    next: usize,
    depth: usize,
}

type Parsed = Result<Node, ExpressionError>;

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn error(&self, at: usize, message: impl Into<String>) -> ExpressionError {
        ExpressionError::new(self.text, at, message)
    }

    fn word(&self, token: &Token) -> &str {
        &self.text[token.at..token.end]
    }

    /// Where the next token begins.
    fn at(&self) -> usize {
        self.peek().map_or(self.text.len(), |token| token.at)
    }

    /// Where the last token ended.
    fn end(&self) -> usize {
        self.tokens[..self.next].last().map_or(0, |token| token.end)
    }

    /// Takes the symbol, or the word of the language, if it is next.
    fn take(&mut self, wanted: &str) -> bool {
        let found = self.peek().is_some_and(|token| match &token.lexeme {
            Lexeme::Symbol(symbol) => *symbol == wanted,
            Lexeme::Name(name, quoted) => !quoted && name == wanted,
            Lexeme::Number(_) | Lexeme::Text(_) => false,
        });
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, wanted: &str) -> Result<(), ExpressionError> {
        if self.take(wanted) {
            return Ok(());
        }
        let found = self.peek().map_or("the end", |token| self.word(token));
        Err(self.error(self.at(), format!("expected '{wanted}', found {found}")))
    }

    fn node(&self, at: usize, kind: Kind) -> Node {
        Node {
            at,
            end: self.end(),
            kind,
        }
    }

    fn or(&mut self) -> Parsed {
        let at = self.at();
        let mut left = self.and()?;
        while self.take("||") || self.take("or") {
            let right = self.and()?;
            left = self.node(at, Kind::Or(Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn and(&mut self) -> Parsed {
        let at = self.at();
        let mut left = self.not()?;
        while self.take("&&") || self.take("and") {
            let right = self.not()?;
            left = self.node(at, Kind::And(Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    /// Below this many levels of what nests.
    fn deeper(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        if self.depth == MAX_DEPTH {
            return Err(self.error(self.at(), format!("nested more than {MAX_DEPTH} times")));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn not(&mut self) -> Parsed {
        let at = self.at();
        if self.take("!") || self.take("not") {
            let of = self.deeper(Self::not)?;
            return Ok(self.node(at, Kind::Not(Box::new(of))));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed {
        let at = self.at();
        let left = self.sum()?;
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        if let Some((_, comparison)) = comparisons.into_iter().find(|(symbol, _)| self.take(symbol)) {
            let right = self.sum()?;
            if comparisons.iter().any(|(symbol, _)| self.take(symbol)) {
                let message = "comparisons don't chain; write 'a < b && b < c'";
                return Err(self.error(self.end(), message));
            }
            return Ok(self.node(at, Kind::Compare(comparison, Box::new(left), Box::new(right))));
        }
        let before = self.next;
        let negated = self.take("not");
        let kind = if self.take("in") {
            Kind::In(Box::new(left), self.list()?)
        } else if self.take("like") {
            let pattern = self.peek().map(|token| token.lexeme.clone());
            let Some(Lexeme::Text(pattern)) = pattern else {
                return Err(self.error(self.at(), "expected a pattern in quotes, such as 'VIS*'"));
            };
            self.next += 1;
            Kind::Like(Box::new(left), pattern)
        } else {
            self.next = before;
            return Ok(left);
        };
        let node = self.node(at, kind);
        Ok(if negated {
            self.node(at, Kind::Not(Box::new(node)))
        } else {
            node
        })
    }

    fn list(&mut self) -> Result<Vec<Node>, ExpressionError> {
        self.expect("[")?;
        let mut values = Vec::new();
        while !self.take("]") {
            values.push(self.sum()?);
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(values)
    }

    fn sum(&mut self) -> Parsed {
        let at = self.at();
        let mut left = self.product()?;
        loop {
            let operator = if self.take("+") {
                Operator::Plus
            } else if self.take("-") {
                Operator::Minus
            } else {
                return Ok(left);
            };
            let right = self.product()?;
            left = self.node(at, Kind::Arithmetic(operator, Box::new(left), Box::new(right)));
        }
    }

    fn product(&mut self) -> Parsed {
        let at = self.at();
        let mut left = self.atom()?;
        loop {
            let operator = if self.take("*") {
                Operator::Times
            } else if self.take("/") {
                Operator::Over
            } else {
                return Ok(left);
            };
            let right = self.atom()?;
            left = self.node(at, Kind::Arithmetic(operator, Box::new(left), Box::new(right)));
        }
    }

    fn atom(&mut self) -> Parsed {
        let at = self.at();
        if self.take("(") {
            let mut inside = self.deeper(Self::or)?;
            self.expect(")")?;
            (inside.at, inside.end) = (at, self.end());
            return Ok(inside);
        }
        if self.take("-") {
            let of = self.deeper(Self::atom)?;
            return Ok(self.node(at, Kind::Negative(Box::new(of))));
        }
        if self.take("+") {
            return self.deeper(Self::atom);
        }
        let Some(token) = self.peek().cloned() else {
            return Err(self.error(at, "expected a value, found the end"));
        };
        self.next += 1;
        let kind = match token.lexeme {
            Lexeme::Number(number) => Kind::Number(number),
            Lexeme::Text(text) => Kind::Text(text),
            Lexeme::Name(name, true) => Kind::Column(name),
            Lexeme::Name(name, false) => match name.as_str() {
                "true" => Kind::Flag(true),
                "false" => Kind::Flag(false),
                "and" | "or" | "in" | "like" => {
                    let message =
                        format!("expected a value, found '{name}' (hint: a column of that name in backticks)");
                    return Err(self.error(at, message));
                }
                _ if self.take("(") => return self.call(at, &name),
                _ => Kind::Column(name),
            },
            Lexeme::Symbol(symbol) => {
                return Err(self.error(at, format!("expected a value, found '{symbol}'")));
            }
        };
        Ok(self.node(at, kind))
    }

    fn call(&mut self, at: usize, name: &str) -> Parsed {
        let mut values = Vec::new();
        while !self.take(")") {
            values.push(self.deeper(Self::or)?);
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        if let Some(relation) = [Relation::Overlaps, Relation::First]
            .into_iter()
            .find(|one| one.name() == name)
        {
            let texts = values.into_iter().map(|value| match value.kind {
                Kind::Text(text) => Some(text),
                _ => None,
            });
            let (table, when) = match &texts.collect::<Option<Vec<String>>>().unwrap_or_default()[..] {
                [table] => (table.clone(), None),
                [table, when] => (table.clone(), Some(when.clone())),
                _ => {
                    let message = format!(
                        "{name} takes the name of a table in quotes, such as {name}('epochs'), and a condition of its rows in quotes, such as \
                         {name}('epochs', 'is_on')"
                    );
                    return Err(self.error(at, message));
                }
            };
            if let Some(when) = &when {
                parse(when)?;
            }
            let question = Question { relation, table, when };
            return Ok(self.node(at, Kind::Other(question)));
        }
        let (n, mut values) = (values.len(), values.into_iter().map(Box::new));
        let kind = match (name, values.next(), values.next(), n) {
            ("missing", Some(of), None, 1) => Kind::Missing(of),
            ("abs", Some(of), None, 1) => Kind::Absolute(of),
            ("number", Some(of), None, 1) => Kind::Read(of),
            ("min", Some(a), Some(b), 2) => Kind::Least(a, b),
            ("max", Some(a), Some(b), 2) => Kind::Greatest(a, b),
            ("coalesce", Some(a), Some(b), 2) => Kind::Coalesce(a, b),
            ("missing" | "abs" | "number", ..) => {
                return Err(self.error(at, format!("{name} takes one value, found {n}")));
            }
            ("min" | "max" | "coalesce", ..) => {
                return Err(self.error(at, format!("{name} takes two values, found {n}")));
            }
            _ => {
                let message = format!(
                    "there is no function '{name}'; there are missing, abs, min, max, coalesce, number, overlaps, first"
                );
                return Err(self.error(at, message));
            }
        };
        Ok(self.node(at, kind))
    }
}
