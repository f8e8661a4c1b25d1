//! A part of the Common Expression Language: what providers' mappings and conditions are usually made of.
//!
//! Texts, whole numbers, `true` and `false`, lists, names (`assertion.sub`, `attribute.ref`, `google.subject`,
//! `assertion["x"]`), `==`, `!=`, `&&`, `||`, `!`, `in`, `+` of texts, `startsWith`, `endsWith` and `contains`. The rest
//! of the language is refused, and said to be.
//! <https://github.com/google/cel-spec/blob/master/doc/langdef.md>
use serde_json::{Map, Value, json};

/// Deeper ones are refused, so that reading one takes a bounded stack.
const DEEPEST: usize = 32;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Literal(Value),
    List(Vec<Expression>),
    /// A variable and the fields below it.
    Name(Vec<String>),
    Not(Box<Expression>),
    Both(Box<Expression>, Operator, Box<Expression>),
    /// A text's own method.
    Method(Box<Expression>, Method, Box<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Unequal,
    In,
    Plus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    StartsWith,
    EndsWith,
    Contains,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// No expression of the language.
    Malformed(String),
    /// One that the local cloud does not evaluate.
    Unsupported(String),
}

/// An evaluation without a value: a name that is not there, or operands that do not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoValue;

/// Not in the part that is evaluated.
const OTHERS: [&str; 10] = ["?", ":", "<", ">", "<=", ">=", "-", "*", "/", "%"];
const VARIABLES: [&str; 3] = ["assertion", "attribute", "google"];

impl Expression {
    pub(super) fn read(text: &str) -> Result<Self, Unread> {
        let mut reader = Reader { tokens: tokens(text)?, at: 0 };
        let expression = reader.or(0)?;
        match reader.peek() {
            None => Ok(expression),
            Some(token) => Err(token.unexpected()),
        }
    }

    /// Whether it looks at anything of this variable.
    pub(super) fn names(&self, variable: &str) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::List(items) => items.iter().any(|item| item.names(variable)),
            Self::Name(path) => path.first().is_some_and(|first| first == variable),
            Self::Not(inner) => inner.names(variable),
            Self::Both(left, _, right) | Self::Method(left, _, right) => left.names(variable) || right.names(variable),
        }
    }

    /// `variables` are objects by name.
    pub(super) fn evaluate(&self, variables: &Map<String, Value>) -> Result<Value, NoValue> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::List(items) => {
                items.iter().map(|item| item.evaluate(variables)).collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            Self::Name(path) => {
                let (first, rest) = path.split_first().ok_or(NoValue)?;
                let start = variables.get(first).ok_or(NoValue)?;
                rest.iter().try_fold(start, |value, field| value.get(field)).cloned().ok_or(NoValue)
            }
            Self::Not(inner) => inner.truth(variables).map(|truth| json!(!truth)),
            Self::Both(left, operator, right) => both(left, *operator, right, variables),
            Self::Method(text, method, part) => {
                let (text, part) = (text.evaluate(variables)?, part.evaluate(variables)?);
                let (text, part) = (text.as_str().ok_or(NoValue)?, part.as_str().ok_or(NoValue)?);
                Ok(json!(match method {
                    Method::StartsWith => text.starts_with(part),
                    Method::EndsWith => text.ends_with(part),
                    Method::Contains => text.contains(part),
                }))
            }
        }
    }

    pub(super) fn truth(&self, variables: &Map<String, Value>) -> Result<bool, NoValue> {
        self.evaluate(variables)?.as_bool().ok_or(NoValue)
    }
}

fn both(
    left: &Expression,
    operator: Operator,
    right: &Expression,
    variables: &Map<String, Value>,
) -> Result<Value, NoValue> {
    match operator {
        // Either side decides, even when the other has no value: that is how the language defines both.
        Operator::Or | Operator::And => {
            let decisive = operator == Operator::Or;
            match (left.truth(variables), right.truth(variables)) {
                (Ok(truth), _) | (_, Ok(truth)) if truth == decisive => Ok(json!(decisive)),
                (Ok(_), Ok(_)) => Ok(json!(!decisive)),
                _ => Err(NoValue),
            }
        }
        _ => {
            let (left, right) = (left.evaluate(variables)?, right.evaluate(variables)?);
            match operator {
                Operator::Equal => Ok(json!(left == right)),
                Operator::Unequal => Ok(json!(left != right)),
                Operator::In => match &right {
                    Value::Array(items) => Ok(json!(items.contains(&left))),
                    Value::Object(fields) => left.as_str().map(|key| json!(fields.contains_key(key))).ok_or(NoValue),
                    _ => Err(NoValue),
                },
                _ => match (left.as_str(), right.as_str()) {
                    (Some(left), Some(right)) => Ok(json!(format!("{left}{right}"))),
                    _ => Err(NoValue),
                },
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Text(String),
    Number(i64),
    Word(String),
    Sign(&'static str),
}

impl Token {
    fn unexpected(&self) -> Unread {
        match self {
            Self::Sign(sign) if OTHERS.contains(sign) => Unread::Unsupported(format!("the operator `{sign}`")),
            Self::Sign(sign) => Unread::Malformed(format!("`{sign}` is not expected there")),
            Self::Word(word) => Unread::Malformed(format!("`{word}` is not expected there")),
            Self::Text(_) | Self::Number(_) => Unread::Malformed("a value is not expected there".to_owned()),
        }
    }
}

/// The longer ones first.
const SIGNS: [&str; 22] = [
    "==", "!=", "&&", "||", "<=", ">=", "!", "(", ")", "[", "]", ".", ",", "+", "?", ":", "<", ">", "-", "*", "/", "%",
];

fn tokens(text: &str) -> Result<Vec<Token>, Unread> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if first == '"' || first == '\'' {
            let (value, length) = quoted(rest, first)?;
            tokens.push(Token::Text(value));
            length
        } else if first.is_ascii_digit() {
            let length = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
            let number = rest[..length].parse().map_err(|_| Unread::Malformed("a number is too large".to_owned()))?;
            tokens.push(Token::Number(number));
            length
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
            let length = rest.find(end).unwrap_or(rest.len());
            if rest[length..].starts_with(['"', '\'']) {
                return Err(Unread::Unsupported(format!("a text with the prefix `{}`", &rest[..length])));
            }
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| Unread::Malformed(format!("`{first}` is not expected there")))?;
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// The value, and how long it is as written.
fn quoted(text: &str, quote: char) -> Result<(String, usize), Unread> {
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some((_, escaped @ ('\\' | '\'' | '"'))) => value.push(escaped),
                _ => return Err(Unread::Unsupported("an escape other than of a quote and of `\\`".to_owned())),
            },
            letter if letter == quote => return Ok((value, at + 1)),
            letter => value.push(letter),
        }
    }
    Err(Unread::Malformed("a text has no end".to_owned()))
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Result<Token, Unread> {
        let token = self.peek().cloned().ok_or_else(|| Unread::Malformed("it ends too early".to_owned()))?;
        self.at += 1;
        Ok(token)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(next)) if *next == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Unread> {
        if self.takes(sign) { Ok(()) } else { Err(Unread::Malformed(format!("`{sign}` is missing"))) }
    }

    fn or(&mut self, depth: usize) -> Result<Expression, Unread> {
        if depth > DEEPEST {
            return Err(Unread::Unsupported("so many levels".to_owned()));
        }
        let mut left = self.and(depth)?;
        while self.takes("||") {
            left = Expression::Both(Box::new(left), Operator::Or, Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Expression, Unread> {
        let mut left = self.relation(depth)?;
        while self.takes("&&") {
            left = Expression::Both(Box::new(left), Operator::And, Box::new(self.relation(depth)?));
        }
        Ok(left)
    }

    fn relation(&mut self, depth: usize) -> Result<Expression, Unread> {
        let left = self.sum(depth)?;
        let operator = if self.takes("==") {
            Operator::Equal
        } else if self.takes("!=") {
            Operator::Unequal
        } else if self.peek() == Some(&Token::Word("in".to_owned())) {
            self.at += 1;
            Operator::In
        } else {
            return Ok(left);
        };
        Ok(Expression::Both(Box::new(left), operator, Box::new(self.sum(depth)?)))
    }

    fn sum(&mut self, depth: usize) -> Result<Expression, Unread> {
        let mut left = self.unary(depth)?;
        while self.takes("+") {
            left = Expression::Both(Box::new(left), Operator::Plus, Box::new(self.unary(depth)?));
        }
        Ok(left)
    }

    fn unary(&mut self, depth: usize) -> Result<Expression, Unread> {
        if depth > DEEPEST {
            return Err(Unread::Unsupported("so many levels".to_owned()));
        }
        if self.takes("!") {
            return Ok(Expression::Not(Box::new(self.unary(depth + 1)?)));
        }
        let mut value = self.primary(depth)?;
        loop {
            if self.takes(".") {
                let Token::Word(word) = self.next()? else {
                    return Err(Unread::Malformed("a name is missing after `.`".to_owned()));
                };
                value = if self.takes("(") { self.method(value, &word, depth)? } else { field(value, word)? };
            } else if self.takes("[") {
                let Token::Text(key) = self.next()? else {
                    return Err(Unread::Unsupported("an index that is no text".to_owned()));
                };
                self.expect("]")?;
                value = field(value, key)?;
            } else {
                return Ok(value);
            }
        }
    }

    fn method(&mut self, text: Expression, name: &str, depth: usize) -> Result<Expression, Unread> {
        let method = match name {
            "startsWith" => Method::StartsWith,
            "endsWith" => Method::EndsWith,
            "contains" => Method::Contains,
            _ => return Err(Unread::Unsupported(format!("the function `{name}`"))),
        };
        let part = self.or(depth + 1)?;
        self.expect(")")?;
        Ok(Expression::Method(Box::new(text), method, Box::new(part)))
    }

    fn primary(&mut self, depth: usize) -> Result<Expression, Unread> {
        match self.next()? {
            Token::Text(text) => Ok(Expression::Literal(json!(text))),
            Token::Number(number) => Ok(Expression::Literal(json!(number))),
            Token::Word(word) => match word.as_str() {
                "true" | "false" => Ok(Expression::Literal(json!(word == "true"))),
                _ if self.takes("(") => Err(Unread::Unsupported(format!("the function `{word}`"))),
                _ if VARIABLES.contains(&word.as_str()) => Ok(Expression::Name(vec![word])),
                _ => Err(Unread::Malformed(format!("undeclared reference to '{word}'"))),
            },
            Token::Sign("(") => {
                let inner = self.or(depth + 1)?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Sign("[") => {
                let mut items = Vec::new();
                while !self.takes("]") {
                    items.push(self.or(depth + 1)?);
                    if !self.takes(",") {
                        self.expect("]")?;
                        break;
                    }
                }
                Ok(Expression::List(items))
            }
            other => Err(other.unexpected()),
        }
    }
}

fn field(value: Expression, name: String) -> Result<Expression, Unread> {
    match value {
        Expression::Name(mut path) => {
            path.push(name);
            Ok(Expression::Name(path))
        }
        _ => Err(Unread::Unsupported("a field of what is no name".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Map<String, Value> {
        let value = json!({
            "assertion": { "repository": "o/r", "ref": "refs/heads/main", "run": 7, "groups": ["a", "b"], "a-b": "x" },
            "google": { "subject": "repo:o/r" },
            "attribute": { "owner": "o" },
        });
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn what_conditions_are_made_of() {
        for (text, expected) in [
            ("assertion.repository == 'o/r'", Ok(json!(true))),
            ("assertion.repository=='o/x'||attribute.owner==\"o\"", Ok(json!(true))),
            ("assertion.repository == 'o/r' && assertion.ref != 'refs/heads/main'", Ok(json!(false))),
            ("assertion.repository in ['a/b', 'o/r']", Ok(json!(true))),
            ("!(assertion.repository in ['a/b', 'o/x',])", Ok(json!(true))),
            ("google.subject.startsWith('repo:o/') && assertion.ref.endsWith('/main')", Ok(json!(true))),
            ("'a' in assertion.groups && 'ref' in assertion && assertion.ref.contains('heads')", Ok(json!(true))),
            ("assertion.run == 7 && assertion['a-b'] == 'x'", Ok(json!(true))),
            ("assertion.run == '7'", Ok(json!(false))),
            ("'it\\'s ' + attribute.owner", Ok(json!("it's o"))),
            ("assertion.none == 'x'", Err(NoValue)),
            ("assertion.none == 'x' || assertion.run == 7", Ok(json!(true))),
            ("assertion.run == 8 && assertion.none == 'x'", Ok(json!(false))),
            ("assertion.none == 'x' || assertion.run == 8", Err(NoValue)),
            ("assertion.run.startsWith('7')", Err(NoValue)),
            ("assertion.run + 'x'", Err(NoValue)),
        ] {
            let expression = Expression::read(text).unwrap_or_else(|why| panic!("{text}: {why:?}"));
            assert_eq!(expression.evaluate(&variables()), expected, "{text}");
        }
        let expression = Expression::read("attribute.a == 'b' && !['x'].contains(assertion.c)").expect("read");
        assert!(expression.names("assertion") && expression.names("attribute") && !expression.names("google"));
    }

    #[test]
    fn what_is_not_evaluated_is_said_to_be() {
        for (text, why) in [
            ("has(assertion.x)", "the function `has`"),
            ("assertion.sub.extract('{a}')", "the function `extract`"),
            ("assertion.a ? 'b' : 'c'", "the operator `?`"),
            ("assertion.run > 5", "the operator `>`"),
            ("-1 == 1", "the operator `-`"),
            ("r'a' == 'a'", "a text with the prefix `r`"),
            ("'\\n' == 'a'", "an escape other than of a quote and of `\\`"),
            ("assertion.groups[0] == 'a'", "an index that is no text"),
            (&"(".repeat(100), "so many levels"),
            (&"!".repeat(100), "so many levels"),
        ] {
            assert_eq!(Expression::read(text), Err(Unread::Unsupported(why.to_owned())), "{text}");
        }
        for text in ["", "assertion.", "a == 'b'", "'x", "'a' 'b'", "assertion.x ==", "(assertion.x", "#", "1 ==== 2"] {
            assert!(matches!(Expression::read(text), Err(Unread::Malformed(_))), "{text}");
        }
    }
}
