//! The Logging query language, without its functions: <https://cloud.google.com/logging/docs/view/logging-query-language>
//!
//! What is not understood is refused by name: a filter that quietly means something else hides entries.

/// A filter, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare { path: Vec<String>, operator: Operator, value: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Has,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A word, or a quoted text.
    Text {
        text: String,
        quoted: bool,
    },
    Operator(Operator),
    Dot,
    Open,
    Close,
    Minus,
}

pub(crate) fn parse(text: &str) -> Result<Filter, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens, at: 0, depth: 0 };
    if parser.tokens.is_empty() {
        return Ok(Filter::All(Vec::new()));
    }
    let filter = parser.any()?;
    match parser.peek() {
        None => Ok(filter),
        Some(token) => Err(format!("unexpected {}", token.name())),
    }
}

impl Token {
    fn name(&self) -> String {
        match self {
            Self::Text { text, .. } => format!("`{text}`"),
            Self::Operator(_) => "an operator".to_owned(),
            Self::Dot => "`.`".to_owned(),
            Self::Open => "`(`".to_owned(),
            Self::Close => "`)`".to_owned(),
            Self::Minus => "`-`".to_owned(),
        }
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Text { text, quoted: false } if text == word)
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '"' => quoted(rest)?,
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '.' => (Token::Dot, 1),
            '=' | '!' | '<' | '>' | ':' => operator(rest)?,
            '-' if !rest[1..].starts_with(|next: char| next.is_ascii_digit()) => (Token::Minus, 1),
            _ if is_word(first) || first == '-' => {
                let length = word_length(rest);
                (Token::Text { text: rest[..length].to_owned(), quoted: false }, length)
            }
            '#' | '[' | ',' | '~' | '\'' => return Err(format!("`{first}` is not supported")),
            _ => return Err(format!("unexpected `{first}`")),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '/' | '%' | '@' | '+' | '*' | '$')
}

/// A dot between digits belongs to a number, everywhere else it is a path's.
fn word_length(text: &str) -> usize {
    let number = text.trim_start_matches('-').starts_with(|first: char| first.is_ascii_digit());
    text.char_indices()
        .skip(1)
        .find(|(_, letter)| !(is_word(*letter) || *letter == '-' || (number && *letter == '.')))
        .map_or(text.len(), |(index, _)| index)
}

fn quoted(text: &str) -> Result<(Token, usize), String> {
    let mut value = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((index, letter)) = letters.next() {
        match letter {
            '"' => return Ok((Token::Text { text: value, quoted: true }, index + 1)),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, other @ ('"' | '\\'))) => value.push(other),
                Some((_, other)) => return Err(format!("escape `\\{other}` is not supported")),
                None => break,
            },
            _ => value.push(letter),
        }
    }
    Err("a quoted string does not end".to_owned())
}

fn operator(text: &str) -> Result<(Token, usize), String> {
    for (sign, operator) in [
        ("=~", None),
        ("!~", None),
        ("!=", Some(Operator::NotEqual)),
        ("<=", Some(Operator::LessEqual)),
        (">=", Some(Operator::GreaterEqual)),
        ("=", Some(Operator::Equal)),
        ("<", Some(Operator::Less)),
        (">", Some(Operator::Greater)),
        (":", Some(Operator::Has)),
    ] {
        if text.starts_with(sign) {
            let operator = operator.ok_or_else(|| format!("`{sign}` is not supported"))?;
            return Ok((Token::Operator(operator), sign.len()));
        }
    }
    Err("unexpected `!`".to_owned())
}

/// Deeper ones are somebody's mistake, or an attack on the stack.
const MAX_DEPTH: usize = 64;

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_word(word));
        self.at += usize::from(found);
        found
    }

    /// `OR` binds closer than `AND` in Google's language: `a AND b OR c` is `a AND (b OR c)`.
    fn any(&mut self) -> Result<Filter, String> {
        let mut all = vec![self.alternatives()?];
        loop {
            let more = self.take_word("AND");
            match self.peek() {
                None | Some(Token::Close) if !more => break,
                // Two comparisons side by side are both wanted.
                _ => all.push(self.alternatives()?),
            }
        }
        Ok(match (all.pop(), all.is_empty()) {
            (Some(only), true) => only,
            (Some(last), false) => {
                all.push(last);
                Filter::All(all)
            }
            (None, _) => Filter::All(all),
        })
    }

    fn alternatives(&mut self) -> Result<Filter, String> {
        let first = self.one()?;
        if !self.peek().is_some_and(|token| token.is_word("OR")) {
            return Ok(first);
        }
        let mut any = vec![first];
        while self.take_word("OR") {
            any.push(self.one()?);
        }
        Ok(Filter::Any(any))
    }

    fn one(&mut self) -> Result<Filter, String> {
        if self.depth == MAX_DEPTH {
            return Err("the filter is nested too deeply".to_owned());
        }
        self.depth += 1;
        let filter = self.nested();
        self.depth -= 1;
        filter
    }

    fn nested(&mut self) -> Result<Filter, String> {
        if self.take_word("NOT") {
            return Ok(Filter::Not(Box::new(self.one()?)));
        }
        match self.peek() {
            Some(Token::Minus) => {
                self.at += 1;
                Ok(Filter::Not(Box::new(self.one()?)))
            }
            Some(Token::Open) => {
                self.at += 1;
                let inner = self.any()?;
                match self.next() {
                    Some(Token::Close) => Ok(inner),
                    _ => Err("a parenthesis is not closed".to_owned()),
                }
            }
            _ => self.comparison(),
        }
    }

    fn comparison(&mut self) -> Result<Filter, String> {
        let mut path = vec![self.name()?];
        loop {
            match self.next() {
                Some(Token::Dot) => path.push(self.name()?),
                Some(Token::Operator(operator)) => return self.value(path, operator),
                _ => return Err(format!("`{}` alone is not supported: a comparison is needed", path.join("."))),
            }
        }
    }

    fn name(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Token::Text { text, .. }) => Ok(text),
            Some(token) => Err(format!("a field is missing before {}", token.name())),
            None => Err("a field is missing at the end".to_owned()),
        }
    }

    /// Unquoted values may have dots: `resource.labels.x = a.b`.
    fn value(&mut self, path: Vec<String>, operator: Operator) -> Result<Filter, String> {
        let mut value = String::new();
        match self.next() {
            Some(Token::Text { text, quoted: true }) => return Ok(Filter::Compare { path, operator, value: text }),
            Some(Token::Text { text, .. }) => value.push_str(&text),
            Some(Token::Open) => return Err("a list of values is not supported".to_owned()),
            Some(token) => return Err(format!("a value is missing before {}", token.name())),
            None => return Err("a value is missing at the end".to_owned()),
        }
        while let (Some(Token::Dot), Some(Token::Text { text, quoted: false })) =
            (self.peek(), self.tokens.get(self.at + 1))
        {
            value.push('.');
            value.push_str(text);
            self.at += 2;
        }
        Ok(Filter::Compare { path, operator, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(path: &str, operator: Operator, value: &str) -> Filter {
        let path = path.split('.').map(str::to_owned).collect();
        Filter::Compare { path, operator, value: value.to_owned() }
    }

    #[test]
    fn nesting_is_bounded() {
        for deep in ["(".repeat(100_000), "NOT ".repeat(100_000), "-".repeat(100_000)] {
            assert_eq!(parse(&deep), Err("the filter is nested too deeply".to_owned()));
        }
        assert!(parse(&format!("{}a=b{}", "(".repeat(60), ")".repeat(60))).is_ok());
    }

    #[test]
    fn grammar() {
        use Operator::{Equal, GreaterEqual, Has, NotEqual};
        let service = compare("resource.labels.service_name", Equal, "hello");
        for (text, expected) in [
            ("", Filter::All(Vec::new())),
            ("resource.labels.service_name = hello", service.clone()),
            ("resource.labels.\"service_name\"=\"hello\"", service.clone()),
            ("(resource.labels.service_name=hello)", service.clone()),
            (
                "resource.labels.service_name=hello AND severity>=ERROR",
                Filter::All(vec![service.clone(), compare("severity", GreaterEqual, "ERROR")]),
            ),
            (
                "resource.labels.service_name=hello\nseverity>=ERROR",
                Filter::All(vec![service.clone(), compare("severity", GreaterEqual, "ERROR")]),
            ),
            (
                "a=1 AND b=2 OR c=3",
                Filter::All(vec![
                    compare("a", Equal, "1"),
                    Filter::Any(vec![compare("b", Equal, "2"), compare("c", Equal, "3")]),
                ]),
            ),
            ("NOT a:x", Filter::Not(Box::new(compare("a", Has, "x")))),
            ("-a!=x", Filter::Not(Box::new(compare("a", NotEqual, "x")))),
            ("a = \"say \\\"hi\\\"\"", compare("a", Equal, "say \"hi\"")),
            ("a = host.name", compare("a", Equal, "host.name")),
            ("a >= 1.5", compare("a", GreaterEqual, "1.5")),
            ("a = -1", compare("a", Equal, "-1")),
        ] {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, why) in [
            ("hello", "`hello` alone is not supported: a comparison is needed"),
            ("a=~\"x\"", "`=~` is not supported"),
            ("a=(1 OR 2)", "a list of values is not supported"),
            ("a=", "a value is missing at the end"),
            ("a=1 AND", "a field is missing at the end"),
            ("(a=1", "a parenthesis is not closed"),
            ("a=1)", "unexpected `)`"),
            ("a=\"x", "a quoted string does not end"),
        ] {
            assert_eq!(parse(text), Err(why.to_owned()), "{text}");
        }
    }
}
