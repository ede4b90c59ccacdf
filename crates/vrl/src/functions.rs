//! The functions that an expression may call, and two of our own that the compiler puts around what may meet an unknown column.
//! Owns the list. Left out on purpose: clock, randomness, logging, compression, and parsers that backtrack.
use vrl::prelude::*;

/// VRL's functions that are open to expressions, sorted.
pub const ALLOWED: &[&str] = &[
    "abs",
    "append",
    "array",
    "basename",
    "bool",
    "ceil",
    "compact",
    "contains",
    "contains_all",
    "dirname",
    "downcase",
    "encode_json",
    "ends_with",
    "exists",
    "filter",
    "find",
    "flatten",
    "float",
    "floor",
    "format_int",
    "format_number",
    "format_timestamp",
    "from_unix_timestamp",
    "get",
    "includes",
    "int",
    "ip_cidr_contains",
    "ip_subnet",
    "is_empty",
    "is_ipv4",
    "is_ipv6",
    "is_null",
    "is_nullish",
    "join",
    "length",
    "map_values",
    "match",
    "match_any",
    "match_array",
    "mod",
    "object",
    "parse_float",
    "parse_int",
    "parse_timestamp",
    "parse_url",
    "push",
    "replace",
    "round",
    "slice",
    "split",
    "starts_with",
    "string",
    "strip_whitespace",
    "strlen",
    "timestamp",
    "to_bool",
    "to_float",
    "to_int",
    "to_string",
    "to_unix_timestamp",
    "truncate",
    "unique",
    "upcase",
];

/// False where its argument meets an unknown column. No program can name it: `?` starts no word.
pub(crate) const OR_FALSE: &str = "?or_false";
/// Null where its argument meets an unknown column.
pub(crate) const OR_NULL: &str = "?or_null";

/// What expressions are compiled with.
pub(crate) fn all() -> Vec<Box<dyn Function>> {
    let allowed = |name: &str| ALLOWED.binary_search(&name).is_ok();
    let mut all: Vec<Box<dyn Function>> =
        vrl::stdlib::all().into_iter().filter(|f| allowed(f.identifier())).collect();
    all.push(Box::new(Known { name: OR_FALSE, otherwise: Otherwise::False }));
    all.push(Box::new(Known { name: OR_NULL, otherwise: Otherwise::Null }));
    all
}

#[derive(Clone, Copy, Debug)]
enum Otherwise {
    False,
    Null,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    name: &'static str,
    otherwise: Otherwise,
}

impl Function for Known {
    fn identifier(&self) -> &'static str {
        self.name
    }
    fn usage(&self) -> &'static str {
        "put in by the compiler"
    }
    fn category(&self) -> &'static str {
        Category::Type.as_ref()
    }
    fn return_kind(&self) -> u16 {
        kind::ANY
    }
    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[Parameter::required("value", kind::ANY, "what may be unknown")];
        PARAMETERS
    }
    fn examples(&self) -> &'static [Example] {
        &[]
    }
    fn compile(
        &self,
        _state: &state::TypeState,
        _context: &mut FunctionCompileContext,
        arguments: ArgumentList,
    ) -> Compiled {
        Ok(KnownFn { value: arguments.required("value"), otherwise: self.otherwise }.as_expr())
    }
}

#[derive(Clone, Debug)]
struct KnownFn {
    value: Box<dyn Expression>,
    otherwise: Otherwise,
}

impl FunctionExpression for KnownFn {
    fn resolve(&self, context: &mut Context) -> Resolved {
        let otherwise = match self.otherwise {
            Otherwise::False => Value::Boolean(false),
            Otherwise::Null => Value::Null,
        };
        match self.value.resolve(context) {
            Ok(Value::Null) => Ok(otherwise),
            Err(ExpressionError::Interrupted) => Err(ExpressionError::Interrupted),
            // `return` and `break` come this way too: they are no failures.
            Err(error @ (ExpressionError::Return { .. } | ExpressionError::Break { .. })) => Err(error),
            Err(_) => Ok(otherwise),
            known => known,
        }
    }
    fn type_def(&self, state: &state::TypeState) -> TypeDef {
        // What comes in its place has the type of what is asked for: `.importance || 50` is a number to whoever compares it.
        self.value.type_info(state).result.infallible()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_allowed_function_exists() {
        let known: Vec<&str> = vrl::stdlib::all().iter().map(|f| f.identifier()).collect();
        for name in ALLOWED {
            assert!(known.contains(name), "vrl has no {name}");
        }
        assert!(ALLOWED.is_sorted());
    }
}
