//! Comparisons with a text that a column, or what is named beside them, can never be. Owns this one check on the syntax tree.
use crate::{
    CompileError,
    scope::Scope,
    target::{Source, Touched},
};
use atio_schemas::column::{COLUMNS, Type};
use vrl::{
    parser::{
        self,
        ast::{
            Container, Expr, IfStatement, Literal, Node, Op, Opcode, Predicate, Query, QueryTarget, RootExpr,
            Unary,
        },
    },
    path::{OwnedSegment, OwnedTargetPath},
};

/// `.kind == "thread"` can never be true: refused, with what the column can hold.
pub(crate) fn check(program: &parser::Program, scope: &Scope) -> Result<(), CompileError> {
    program.0.iter().try_for_each(|root| match root.inner() {
        RootExpr::Expr(expr) => symbols_in(expr, scope),
        RootExpr::Error(_) => Ok(()),
    })
}

fn symbols_in(node: &Node<Expr>, scope: &Scope) -> Result<(), CompileError> {
    match node.inner() {
        Expr::Op(op) => {
            let Op(left, code, right) = op.inner();
            if matches!(code.inner(), Opcode::Eq | Opcode::Ne) {
                symbol(left, right, scope)?;
                symbol(right, left, scope)?;
            }
            symbols_in(left, scope)?;
            symbols_in(right, scope)
        }
        Expr::Container(container) => match container.inner() {
            Container::Group(group) => symbols_in(&group.inner().0, scope),
            Container::Block(block) => block.inner().0.iter().try_for_each(|e| symbols_in(e, scope)),
            _ => Ok(()),
        },
        Expr::IfStatement(statement) => {
            let IfStatement { predicate, if_node, else_node } = statement.inner();
            match predicate.inner() {
                Predicate::One(expr) => symbols_in(expr, scope)?,
                Predicate::Many(exprs) => exprs.iter().try_for_each(|e| symbols_in(e, scope))?,
            }
            let blocks = std::iter::once(if_node).chain(else_node);
            blocks.flat_map(|b| b.inner().0.iter()).try_for_each(|e| symbols_in(e, scope))
        }
        Expr::Unary(unary) => {
            let Unary::Not(not) = unary.inner();
            let (_, inner) = not.inner().clone().take();
            symbols_in(&inner, scope)
        }
        _ => Ok(()),
    }
}

fn symbol(named: &Node<Expr>, literal: &Node<Expr>, scope: &Scope) -> Result<(), CompileError> {
    let (Expr::Query(query), Expr::Literal(text)) = (named.inner(), literal.inner()) else { return Ok(()) };
    let Query { target, path } = query.inner();
    let QueryTarget::External(prefix) = target.inner() else { return Ok(()) };
    let path = OwnedTargetPath { prefix: *prefix, path: path.inner().clone() };
    let (Some(touched), Some(text)) = (Touched::of(&path, scope), literal_text(text.inner())) else {
        return Ok(());
    };
    let Some((name, values)) = values(&touched, scope).filter(|(_, values)| !values.contains(&text)) else {
        return Ok(());
    };
    Err(CompileError::Refused {
        message: format!("`{name}` is never `{text}`"),
        suggestion: Some(format!("one of {}", values.join(", "))),
        offset: literal.start(),
    })
}

/// The name of what is read and all that it can be, where that is a fixed list.
fn values<'t>(touched: &'t Touched, scope: &'t Scope) -> Option<(&'t str, Vec<&'t str>)> {
    match &touched.source {
        Source::Column(column) => match COLUMNS.get(*column).map(|c| (c.name, c.ty)) {
            Some((name, Type::Symbol(values))) => Some((name, values.to_vec())),
            _ => None,
        },
        Source::Beside(name) => {
            let values = scope.values(name)?.iter().map(String::as_str).collect();
            let OwnedSegment::Field(word) = touched.path.path.segments.first()? else { return None };
            Some((word, values))
        }
        Source::Constant(_) => None,
    }
}

fn literal_text(literal: &Literal) -> Option<&str> {
    match literal {
        Literal::String(template) => template.as_literal_string(),
        Literal::RawString(text) => Some(text),
        _ => None,
    }
}
