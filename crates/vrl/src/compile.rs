//! From text to a program that can be run: scan, parse, type-check, then put a guard around everything that may meet an unknown column.
//! Owns errors and positions. Must not know: workflows.
use crate::{
    MAX_DEPTH, MAX_FUEL, MAX_OPERATORS, MAX_SOURCE, functions,
    guard::guard,
    scan::{self, What},
    scope::{Name, Scalar, ScalarType, Scope, Seen},
    symbols,
    target::{self, Lent, Touched},
};
use atio_schemas::{
    Code,
    column::{Column, NewCell, Type},
};
use std::{ops::ControlFlow, sync::LazyLock};
use vrl::{
    compiler::{
        CompilationResult, CompileConfig, Compiler, Function, Program, TimeZone, TypeState,
        runtime::{Runtime, Terminate},
        state::{ExternalEnv, LocalEnv, RuntimeState},
    },
    diagnostic::{Diagnostic, DiagnosticList},
    parser,
    prelude::{Collection, Kind, Value},
};

/// What the result of an expression is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Yes or no.
    When,
    /// The new value of this column.
    Set(&'static Column),
    /// What a row is found by: a text or a whole number.
    Key,
    /// A list of texts, of numbers, or of yes and no.
    Items,
}

/// Why an expression is refused. Offsets are bytes from its start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    #[error("the expression is {bytes} bytes long, at most {MAX_SOURCE} are allowed")]
    TooLong { bytes: usize },
    #[error(
        "the expression has more than {MAX_OPERATORS} operators, or brackets nested deeper than {MAX_DEPTH}"
    )]
    TooComplex { offset: usize },
    #[error("unknown column `{name}`")]
    UnknownColumn { name: String, suggestion: Option<String>, offset: usize },
    #[error("{message}")]
    Refused { message: String, suggestion: Option<String>, offset: usize },
}

impl CompileError {
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::InvalidDefinition
    }
    /// Bytes from the expression's start.
    #[must_use]
    pub const fn offset(&self) -> usize {
        match self {
            Self::TooLong { .. } => 0,
            Self::TooComplex { offset }
            | Self::UnknownColumn { offset, .. }
            | Self::Refused { offset, .. } => *offset,
        }
    }
    /// What to write instead.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            Self::UnknownColumn { suggestion, .. } | Self::Refused { suggestion, .. } => {
                suggestion.as_deref()
            }
            _ => None,
        }
    }
}

/// Why a run gave no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    #[error("the expression evaluates more than {MAX_FUEL} sub-expressions")]
    OutOfFuel,
    #[error("the result is not of the type that it is for")]
    Type,
}

impl RunError {
    #[must_use]
    pub const fn code(&self) -> Code {
        Code::StepFailed
    }
}

/// A compiled expression. Cheap to share; a run changes nothing in it.
#[derive(Debug)]
pub struct Expression {
    program: Program,
    touched: Vec<Touched>,
    /// Of a list: what its elements are.
    element: Option<ScalarType>,
    variables: Vec<String>,
}

static FUNCTIONS: LazyLock<Vec<Box<dyn Function>>> = LazyLock::new(functions::all);
static UTC: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::parse("UTC").unwrap_or_default());

impl Expression {
    /// Compiles and type-checks an expression over columns alone; see [`Self::compile_in`].
    ///
    /// # Errors
    /// [`CompileError`].
    pub fn compile(source: &str, purpose: Purpose) -> Result<Self, CompileError> {
        Self::compile_in(source, purpose, &Scope::default())
    }

    /// Compiles and type-checks.
    ///
    /// # Errors
    /// [`CompileError`]: too long, an unknown name, a type that does not fit, a function that is not open to expressions.
    pub fn compile_in(source: &str, purpose: Purpose, scope: &Scope) -> Result<Self, CompileError> {
        let named = scan::scan(source, scope)?;
        let parsed = parser::parse(source)
            .map_err(|e| refused(&DiagnosticList::from(vec![Box::new(e) as Box<_>]), source))?;
        symbols::check(&parsed, scope)?;
        let types = types(&named, scope);
        let plain = run_compiler(parsed.clone(), &types, source)?;
        if plain.program.info().abortable {
            let offset = source.find("abort").unwrap_or(0);
            let suggestion = Some("leave events out with the step `when`".to_owned());
            return Err(CompileError::Refused {
                message: "`abort` has no meaning here".to_owned(),
                suggestion,
                offset,
            });
        }
        let element = check_result(&plain.program, purpose)?;
        let guarded = run_compiler(guard(parsed, purpose), &types, source)?;
        let touched = guarded
            .program
            .info()
            .target_queries
            .iter()
            .map(|path| Touched::of(path, scope))
            .collect::<Option<Vec<_>>>();
        let Some(mut touched) = touched else {
            return Err(CompileError::Refused {
                message: "the detection can be read by columns only".to_owned(),
                suggestion: Some("name a column: `.importance`".to_owned()),
                offset: named.first().map_or(0, |n| n.offset),
            });
        };
        touched.dedup_by(|a, b| a.path == b.path);
        let variables = named.into_iter().filter_map(|n| match n.what {
            What::Beside(Name::Variable(name)) => Some(name),
            _ => None,
        });
        Ok(Self { program: guarded.program, touched, element, variables: variables.collect() })
    }

    /// The variables that it names.
    #[must_use]
    pub fn variables(&self) -> &[String] {
        &self.variables
    }
    /// Of a list: what its elements are.
    #[must_use]
    pub const fn element(&self) -> Option<ScalarType> {
        self.element
    }

    /// The columns that it reads, by their position in `COLUMNS`.
    #[must_use]
    pub fn columns(&self) -> Vec<usize> {
        let mut columns: Vec<usize> = self.touched.iter().filter_map(Touched::column).collect();
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// Yes or no; what meets an unknown column is no.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn test<'a>(&'a self, seen: impl Into<Seen<'a>>) -> Result<bool, RunError> {
        match self.resolve(seen.into())? {
            Value::Boolean(yes) => Ok(yes),
            Value::Null => Ok(false),
            _ => Err(RunError::Type),
        }
    }

    /// The new value of a column; null where it is unknown.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn value<'a>(&'a self, seen: impl Into<Seen<'a>>) -> Result<NewCell, RunError> {
        target::cell(self.resolve(seen.into())?).ok_or(RunError::Type)
    }

    /// What a row is found by; none where it is unknown.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn key<'a>(&'a self, seen: impl Into<Seen<'a>>) -> Result<Option<String>, RunError> {
        match self.resolve(seen.into())? {
            Value::Null => Ok(None),
            value => Ok(Some(Scalar::of(value).ok_or(RunError::Type)?.to_string())),
        }
    }

    /// The elements of a list, in their order; none where it is unknown.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn items<'a>(&'a self, seen: impl Into<Seen<'a>>) -> Result<Vec<Scalar>, RunError> {
        let fits = |value: Value| Scalar::of(value).filter(|s| Some(s.ty()) == self.element);
        match self.resolve(seen.into())? {
            Value::Null => Ok(vec![]),
            Value::Array(items) => items.into_iter().map(|v| fits(v).ok_or(RunError::Type)).collect(),
            _ => Err(RunError::Type),
        }
    }

    fn resolve(&self, seen: Seen<'_>) -> Result<Value, RunError> {
        let mut lent = Lent::new(seen, &self.touched);
        let mut fuel = MAX_FUEL;
        let mut control = || match fuel.checked_sub(1) {
            Some(left) => {
                fuel = left;
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(()),
        };
        let mut runtime = Runtime::new(RuntimeState::default());
        match runtime.resolve_with_control(&mut lent, &self.program, &UTC, &mut control) {
            Ok(value) => Ok(value),
            Err(Terminate::Interrupted) => Err(RunError::OutOfFuel),
            // A statement before the last one met an unknown column: then all that follows from it is unknown.
            Err(Terminate::Abort(_) | Terminate::Error(_)) => Ok(Value::Null),
        }
    }
}

/// What the compiler is told: the names of the text, and no others.
fn types(named: &[scan::Named], scope: &Scope) -> TypeState {
    let column = |n: &scan::Named| if let What::Column(at) = n.what { Some(at) } else { None };
    let beside =
        |n: &'_ scan::Named| if let What::Beside(name) = &n.what { Some(name.clone()) } else { None };
    let mut root = target::kind(&named.iter().filter_map(column).collect::<Vec<_>>());
    scope.add(named.iter().filter_map(beside).collect::<Vec<_>>().iter(), &mut root);
    let external = ExternalEnv::new_with_kind(Kind::object(root), Kind::object(Collection::empty()));
    TypeState { local: LocalEnv::default(), external }
}

fn run_compiler(
    program: parser::Program,
    types: &TypeState,
    source: &str,
) -> Result<CompilationResult, CompileError> {
    let mut config = CompileConfig::default();
    config.set_read_only();
    Compiler::compile(&FUNCTIONS, program, types, config).map_err(|list| refused(&list, source))
}

/// The first error, in our words where VRL's advice would mislead.
fn refused(list: &DiagnosticList, source: &str) -> CompileError {
    let Some(first) = list.iter().find(|d| d.is_problem()) else {
        return CompileError::Refused {
            message: "can't be compiled".to_owned(),
            suggestion: None,
            offset: 0,
        };
    };
    let label = first.labels().iter().find(|l| l.primary).or_else(|| first.labels().first());
    let (offset, end) = label.map_or((0, 0), |l| (l.span.start(), l.span.end()));
    let part = source.get(offset..end).unwrap_or_default();
    let detail =
        label.filter(|l| !l.message.is_empty()).map(|l| format!(": {}", l.message)).unwrap_or_default();
    let message = match first.code {
        100 => "the types do not fit, or the call can fail".to_owned(),
        105 => format!("unknown function `{part}`"),
        315 => "columns are read only here".to_owned(),
        _ => format!("{}{detail}", first.message()).chars().take(400).collect(),
    };
    CompileError::Refused { message, suggestion: advice(first, part), offset }
}

fn advice(diagnostic: &Diagnostic, part: &str) -> Option<String> {
    let text = match diagnostic.code {
        100 | 103 => {
            "compare like with like; for a call that can fail say what holds then: `to_int(.code) ?? 0`"
        }
        105 => return Some(called(part)),
        110 => {
            "the argument is of another type than the function takes: convert it, as in `to_string(.src.port)`"
        }
        315 => "change a column with the step `set`",
        651 => {
            "leave out `??`: what meets an unknown column is false by itself; for a value in its place write `.host || \"none\"`"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn called(name: &str) -> String {
    if vrl::stdlib::all().iter().any(|f| f.identifier() == name) {
        return "expressions are pure: no clock, randomness, network, environment, changes or heavy parsing"
            .to_owned();
    }
    match scan::nearest(name, functions::ALLOWED.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("possible here: {}", functions::ALLOWED.join(", ")),
    }
}

/// Whether the result is of use; of a list, what its elements are.
fn check_result(program: &Program, purpose: Purpose) -> Result<Option<ScalarType>, CompileError> {
    let result = program.final_type_info().result;
    let found = result.kind().clone().union(result.returns().clone()).without_undefined();
    let element = found.as_array().and_then(|list| ScalarType::of(&list.reduced_kind().without_undefined()));
    let (wanted, noun) = match purpose {
        Purpose::When => (Kind::boolean().or_null(), "yes or no".to_owned()),
        Purpose::Set(column) => {
            let kind = match column.ty {
                Type::Float => Kind::float().or_integer(),
                ty => target::kind_of(ty),
            };
            (kind.or_null(), format!("{} for `{}`", noun(column.ty), column.name))
        }
        Purpose::Key => (Kind::bytes().or_integer().or_null(), "a text or a whole number".to_owned()),
        Purpose::Items => (
            Kind::array(Collection::any()).or_null(),
            "a list of texts, of numbers, or of yes and no".to_owned(),
        ),
    };
    let answers = match purpose {
        Purpose::When => found.contains_boolean(),
        Purpose::Items => element.is_some(),
        Purpose::Set(_) | Purpose::Key => true,
    };
    if wanted.is_superset(&found).is_ok() && answers && !found.is_never() {
        return Ok(element);
    }
    let example = match purpose {
        Purpose::When => Some("compare: `.importance >= 70`".to_owned()),
        Purpose::Key if found.contains_array() => Some("one of its elements: `.cves[0]`".to_owned()),
        Purpose::Set(_) | Purpose::Key | Purpose::Items => None,
    };
    Err(CompileError::Refused {
        message: format!("the expression yields {found}, not {noun}"),
        suggestion: example,
        offset: 0,
    })
}

const fn noun(ty: Type) -> &'static str {
    match ty {
        Type::Text | Type::Ip | Type::Symbol(_) => "a text",
        Type::Int => "a whole number",
        Type::Float => "a number",
        Type::Bool => "yes or no",
        Type::Time => "a time",
        Type::Texts => "a list of texts",
    }
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
