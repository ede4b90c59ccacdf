//! The grammar of patterns (STIX 2.1 §9.2 to §9.7), by recursive descent. Owns precedence, limits, and what is said of a text that is no pattern.
//! Must not know: what properties there are, how patterns are held against anything.
use super::{
    MAX_BYTES, MAX_COMPARISONS, MAX_DEPTH, MAX_MEMBERS, MAX_REPEATS, MAX_STEPS, PatternError,
    ast::{Compare, Comparison, Observe, Order, Path, Step, Test},
    compare::{like, matches},
    constant::Constant,
    lexer::{self, Kind, Token},
};
use atio_schemas::Timestamp;
use ipnet::IpNet;
use std::{collections::BTreeSet, net::IpAddr};

type Parsed<T> = Result<T, PatternError>;

const EXAMPLE: &str = "like `[ipv4-addr:value = '198.51.100.3']`";
/// A day of a leap year and then some: seconds that still fit.
const LONGEST_SECONDS: f64 = 1e9;

pub(super) fn pattern(text: &str) -> Parsed<Observe> {
    if text.len() > MAX_BYTES {
        let message = format!("the pattern has {} bytes, at most {MAX_BYTES} are allowed", text.len());
        return Err(PatternError::new(0, message, "several workflows, or columns with `in`"));
    }
    let tokens = lexer::tokens(text)?;
    let mut parser = Parser { tokens, next: 0, end: text.len(), depth: 0, comparisons: 0 };
    let found = parser.sequence()?;
    match parser.peek() {
        None => Ok(found),
        Some(token) => Err(PatternError::new(
            token.at,
            format!("{} has no meaning here", described(&token.kind)),
            "AND, OR, FOLLOWEDBY, or a qualifier: WITHIN … SECONDS, REPEATS … TIMES, START … STOP …",
        )),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    /// Where the text ends.
    end: usize,
    depth: usize,
    comparisons: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }
    fn at(&self) -> usize {
        self.peek().map_or(self.end, |token| token.at)
    }
    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token { kind: Kind::Sign(found), .. }) if *found == sign)
    }
    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token { kind: Kind::Word(found), .. }) if **found == *word)
    }
    /// Goes over this sign or keyword, where it stands here.
    fn takes(&mut self, what: &str) -> bool {
        let found = self.is_sign(what) || self.is_word(what);
        self.next += usize::from(found);
        found
    }
    fn expect(&mut self, what: &str, help: &str) -> Parsed<()> {
        if self.takes(what) {
            return Ok(());
        }
        Err(self.wrong(&format!("`{what}`"), help))
    }
    /// Something else stands here than what must.
    fn wrong(&self, expected: &str, help: &str) -> PatternError {
        let found = self.peek().map_or("the end".to_owned(), |token| described(&token.kind));
        PatternError::new(self.at(), format!("{expected} is expected here, not {found}"), help)
    }
    fn deeper(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("brackets nest deeper than {MAX_DEPTH}");
            return Err(PatternError::new(self.at(), message, "fewer brackets"));
        }
        Ok(())
    }

    fn sequence(&mut self) -> Parsed<Observe> {
        let parts = self.joined("FOLLOWEDBY", Self::any)?;
        Ok(one_or(parts, Observe::Sequence))
    }
    fn any(&mut self) -> Parsed<Observe> {
        let parts = self.joined("OR", Self::all)?;
        Ok(one_or(parts, Observe::Any))
    }
    fn all(&mut self) -> Parsed<Observe> {
        let parts = self.joined("AND", Self::qualified)?;
        Ok(one_or(parts, Observe::All))
    }
    fn joined<T>(&mut self, word: &str, part: fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut parts = vec![part(self)?];
        while self.takes(word) {
            parts.push(part(self)?);
        }
        Ok(parts)
    }

    /// What is observed, and its qualifiers.
    fn qualified(&mut self) -> Parsed<Observe> {
        let at = self.at();
        let mut found = if self.takes("[") {
            self.deeper()?;
            let found = self.either()?.0;
            self.expect("]", "`]` behind the last comparison; AND or OR between two of them")?;
            self.depth -= 1;
            Observe::One(found)
        } else if self.takes("(") {
            self.deeper()?;
            let found = self.sequence()?;
            self.expect(")", "`)` behind the last `]`")?;
            self.depth -= 1;
            found
        } else {
            return Err(self.wrong("`[`", EXAMPLE));
        };
        let mut seen = BTreeSet::new();
        loop {
            let place = self.at();
            let word = ["WITHIN", "REPEATS", "START"].into_iter().find(|word| self.takes(word));
            let Some(word) = word else { return Ok(found) };
            if !seen.insert(word) {
                let message = format!("a second `{word}` for the same observation");
                return Err(PatternError::new(place, message, "parentheses around what the first is for"));
            }
            found = match word {
                "WITHIN" => Observe::Within(Box::new(found), self.seconds()?),
                "REPEATS" => self.repeats(found, at)?,
                _ => self.between(found)?,
            };
        }
    }

    fn seconds(&mut self) -> Parsed<i64> {
        let at = self.at();
        let help = "like `WITHIN 300 SECONDS`";
        let seconds = match self.constant() {
            Some(Constant::Int(n)) => n as f64,
            Some(Constant::Float(n)) => n,
            _ => return Err(PatternError::new(at, "a number of seconds is expected here", help)),
        };
        if !(seconds > 0.0 && seconds <= LONGEST_SECONDS) {
            return Err(PatternError::new(at, "this is no time to wait", help));
        }
        self.expect("SECONDS", help)?;
        Ok((seconds * 1e6) as i64)
    }

    fn repeats(&mut self, what: Observe, at: usize) -> Parsed<Observe> {
        let place = self.at();
        let help = "like `REPEATS 5 TIMES`";
        let count = match self.constant() {
            Some(Constant::Int(n)) => u32::try_from(n).ok().filter(|n| *n > 0),
            _ => None,
        };
        let Some(count) = count else {
            return Err(PatternError::new(place, "a whole number above 0 is expected here", help));
        };
        self.expect("TIMES", help)?;
        if !matches!(what, Observe::One(_)) && count > MAX_REPEATS {
            let message =
                format!("what consists of several observations is repeated at most {MAX_REPEATS} times");
            return Err(PatternError::new(at, message, "REPEATS behind one pair of square brackets"));
        }
        Ok(if count == 1 { what } else { Observe::Repeats(Box::new(what), count) })
    }

    fn between(&mut self, what: Observe) -> Parsed<Observe> {
        let help = "like `START t'2026-01-01T00:00:00Z' STOP t'2026-02-01T00:00:00Z'`";
        let start = self.time(help)?;
        self.expect("STOP", help)?;
        let at = self.at();
        let stop = self.time(help)?;
        if stop <= start {
            return Err(PatternError::new(at, "the end does not lie behind the start", help));
        }
        Ok(Observe::Between(Box::new(what), start, stop))
    }

    fn time(&mut self, help: &str) -> Parsed<Timestamp> {
        let at = self.at();
        match self.constant() {
            Some(Constant::Time(at)) => Ok(at),
            _ => Err(PatternError::new(at, "a time is expected here", help)),
        }
    }

    fn constant(&mut self) -> Option<Constant> {
        let Kind::Constant(constant) = &self.peek()?.kind else { return None };
        let constant = constant.clone();
        self.next += 1;
        Some(constant)
    }

    /// Comparisons joined by OR, and the types of object that can fulfil them.
    fn either(&mut self) -> Parsed<(Compare, BTreeSet<Box<str>>)> {
        let (mut parts, mut kinds) = (vec![], BTreeSet::new());
        for (part, of) in self.joined("OR", Self::both)? {
            parts.push(part);
            kinds.extend(of);
        }
        Ok((one_or(parts, Compare::Any), kinds))
    }

    /// Joined by AND: one object fulfils all of them.
    fn both(&mut self) -> Parsed<(Compare, BTreeSet<Box<str>>)> {
        let (first, mut kinds) = self.comparison()?;
        let mut parts = vec![first];
        while self.takes("AND") {
            let at = self.at();
            let (part, of) = self.comparison()?;
            let common: BTreeSet<Box<str>> = kinds.intersection(&of).cloned().collect();
            if common.is_empty() {
                let name =
                    |kinds: &BTreeSet<Box<str>>| kinds.first().map_or_else(String::new, |k| format!("`{k}`"));
                let message =
                    format!("no object is {} and {}: AND asks for one that is both", name(&kinds), name(&of));
                let help = "OR between them; `[…] AND […]` for two observations; or a reference: `network-traffic:src_ref.value`";
                return Err(PatternError::new(at, message, help));
            }
            kinds = common;
            parts.push(part);
        }
        Ok((one_or(parts, Compare::All), kinds))
    }

    fn comparison(&mut self) -> Parsed<(Compare, BTreeSet<Box<str>>)> {
        if self.takes("(") {
            self.deeper()?;
            let found = self.either()?;
            self.expect(")", "`)` behind the last comparison")?;
            self.depth -= 1;
            return Ok(found);
        }
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            let message = format!("more than {MAX_COMPARISONS} comparisons");
            return Err(PatternError::new(self.at(), message, "IN with a set of values"));
        }
        let exists = self.takes("EXISTS");
        let path = self.path()?;
        let kinds = BTreeSet::from([path.kind.clone()]);
        let negated = !exists && self.takes("NOT");
        let at = self.at();
        let test = if exists { Test::Exists } else { self.test()? };
        Ok((Compare::Is(Comparison { path, negated, test, at }), kinds))
    }

    fn test(&mut self) -> Parsed<Test> {
        let orders = [
            ("<", Order::Less),
            ("<=", Order::LessOrEqual),
            (">", Order::Greater),
            (">=", Order::GreaterOrEqual),
        ];
        if let Some((sign, order)) = orders.into_iter().find(|(sign, _)| self.takes(sign)) {
            let at = self.at();
            return match self.operand()? {
                Constant::Bool(_) => {
                    let message = format!("`{sign}` has no meaning for `true` and `false`");
                    Err(PatternError::new(at, message, "`=`"))
                }
                constant => Ok(Test::Order(order, constant)),
            };
        }
        if self.takes("=") {
            return self.operand().map(Test::Equal);
        }
        if self.takes("!=") {
            return self.operand().map(Test::Differs);
        }
        if self.takes("IN") {
            return self.set().map(Test::In);
        }
        let words = ["LIKE", "MATCHES", "ISSUBSET", "ISSUPERSET"];
        let Some(word) = words.into_iter().find(|word| self.takes(word)) else {
            let help = "=, !=, <, <=, >, >=, IN, LIKE, MATCHES, ISSUBSET, ISSUPERSET";
            return Err(self.wrong("an operator", help));
        };
        let at = self.at();
        let Some(Constant::Text(text)) = self.constant() else {
            let message = format!("`{word}` takes a text");
            return Err(PatternError::new(at, message, "a text in single quotes"));
        };
        match word {
            "LIKE" => like(&text, at),
            "MATCHES" => matches(&text, at),
            "ISSUBSET" => network(&text, at).map(Test::Subset),
            _ => network(&text, at).map(Test::Superset),
        }
    }

    fn operand(&mut self) -> Parsed<Constant> {
        match self.constant() {
            Some(constant) => Ok(constant),
            None => Err(self.wrong("a constant", "`'a text'`, `443`, `true`, `t'2026-01-02T03:04:05Z'`")),
        }
    }

    fn set(&mut self) -> Parsed<Vec<Constant>> {
        let help = "like `IN ('a', 'b')`";
        self.expect("(", help)?;
        let mut members: Vec<Constant> = vec![];
        loop {
            let at = self.at();
            let member = self.operand()?;
            let alike = |other: &Constant| other.noun() == member.noun();
            if !members.first().is_none_or(alike) {
                let message = "the members of a set are all of one type";
                return Err(PatternError::new(at, message, "two sets with OR between them"));
            }
            members.push(member);
            if members.len() > MAX_MEMBERS {
                let message = format!("a set has at most {MAX_MEMBERS} members");
                return Err(PatternError::new(at, message, "two sets with OR between them"));
            }
            if !self.takes(",") {
                self.expect(")", help)?;
                return Ok(members);
            }
        }
    }

    /// `type:property.'key'[0].inner`.
    fn path(&mut self) -> Parsed<Path> {
        let at = self.at();
        let Some(Kind::Word(kind)) = self.peek().map(|token| token.kind.clone()) else {
            return Err(self.wrong("an object's type", EXAMPLE));
        };
        self.next += 1;
        self.expect(":", "an object path: `<type>:<property>`")?;
        let mut steps = vec![(self.at(), self.key()?)];
        loop {
            let place = self.at();
            let step = if self.takes(".") {
                self.key()?
            } else if self.is_sign("[") {
                self.next += 1;
                self.index()?
            } else {
                return Ok(Path { kind, at, steps });
            };
            if steps.len() == MAX_STEPS {
                let message = format!("an object path has at most {MAX_STEPS} steps");
                return Err(PatternError::new(place, message, "a shorter path"));
            }
            steps.push((place, step));
        }
    }

    fn key(&mut self) -> Parsed<Step> {
        let help = "a property's name; one with a hyphen in single quotes: `hashes.'SHA-256'`";
        match self.peek().map(|token| token.kind.clone()) {
            Some(Kind::Word(name)) if !name.contains('-') => {
                self.next += 1;
                Ok(Step::Key(name))
            }
            Some(Kind::Constant(Constant::Text(name))) => {
                self.next += 1;
                Ok(Step::Key(name))
            }
            _ => Err(self.wrong("a property", help)),
        }
    }

    fn index(&mut self) -> Parsed<Step> {
        let at = self.at();
        let step = if self.takes("*") {
            Step::Each
        } else {
            let index = match self.constant() {
                Some(Constant::Int(n)) => usize::try_from(n).ok(),
                _ => None,
            };
            let error = || PatternError::new(at, "this is no index", "`[0]`, or `[*]` for any element");
            Step::Index(index.ok_or_else(error)?)
        };
        self.expect("]", "`[0]`, or `[*]` for any element")?;
        Ok(step)
    }
}

/// The only part, or what joins several.
fn one_or<T>(mut parts: Vec<T>, join: fn(Vec<T>) -> T) -> T {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        last => {
            parts.extend(last);
            join(parts)
        }
    }
}

fn network(text: &str, at: usize) -> Parsed<IpNet> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| {
        PatternError::new(at, "this is neither an address nor a network", "like `'198.51.100.0/24'`")
    })
}

fn described(kind: &Kind) -> String {
    match kind {
        Kind::Word(word) => format!("`{}`", word.chars().take(40).collect::<String>()),
        Kind::Constant(constant) => constant.noun().to_owned(),
        Kind::Sign(sign) => format!("`{sign}`"),
    }
}
