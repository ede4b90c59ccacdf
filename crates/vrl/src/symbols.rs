//! Comparisons with a text that a column, or what stands beside them, can never be. Owns this one check on the syntax tree.
use crate::{
    CompileError,
    beside::{self, Beside},
    target::{Touched, What},
};
use atio_schemas::column::Type;
use vrl::{
    parser::{
        self,
        ast::{
            Container, Expr, IfStatement, Literal, Node, Op, Opcode, Predicate, Query, QueryTarget, RootExpr,
            Unary,
        },
    },
    path::OwnedTargetPath,
};

/// `.kind == "thread"` can never be true: refused, with what the column can hold.
pub(crate) fn check(program: &parser::Program, beside: &[Beside]) -> Result<(), CompileError> {
    program.0.iter().try_for_each(|root| match root.inner() {
        RootExpr::Expr(expr) => symbols_in(expr, beside),
        RootExpr::Error(_) => Ok(()),
    })
}

fn symbols_in(node: &Node<Expr>, beside: &[Beside]) -> Result<(), CompileError> {
    match node.inner() {
        Expr::Op(op) => {
            let Op(left, code, right) = op.inner();
            if matches!(code.inner(), Opcode::Eq | Opcode::Ne) {
                symbol(left, right, beside)?;
                symbol(right, left, beside)?;
            }
            symbols_in(left, beside)?;
            symbols_in(right, beside)
        }
        Expr::Container(container) => match container.inner() {
            Container::Group(group) => symbols_in(&group.inner().0, beside),
            Container::Block(block) => block.inner().0.iter().try_for_each(|e| symbols_in(e, beside)),
            _ => Ok(()),
        },
        Expr::IfStatement(statement) => {
            let IfStatement { predicate, if_node, else_node } = statement.inner();
            match predicate.inner() {
                Predicate::One(expr) => symbols_in(expr, beside)?,
                Predicate::Many(exprs) => exprs.iter().try_for_each(|e| symbols_in(e, beside))?,
            }
            let blocks = std::iter::once(if_node).chain(else_node);
            blocks.flat_map(|b| b.inner().0.iter()).try_for_each(|e| symbols_in(e, beside))
        }
        Expr::Unary(unary) => {
            let Unary::Not(not) = unary.inner();
            let (_, inner) = not.inner().clone().take();
            symbols_in(&inner, beside)
        }
        _ => Ok(()),
    }
}

fn symbol(named: &Node<Expr>, literal: &Node<Expr>, beside: &[Beside]) -> Result<(), CompileError> {
    let (Expr::Query(query), Expr::Literal(text)) = (named.inner(), literal.inner()) else { return Ok(()) };
    let Query { target, path } = query.inner();
    let QueryTarget::External(prefix) = target.inner() else { return Ok(()) };
    let path = OwnedTargetPath { prefix: *prefix, path: path.inner().clone() };
    let (Some(touched), Some(text)) = (Touched::of(&path, beside), literal_text(text.inner())) else {
        return Ok(());
    };
    let (name, values): (&str, Vec<&str>) = match touched.what {
        What::Column(column) => match atio_schemas::column::COLUMNS.get(column).map(|c| (c.name, c.ty)) {
            Some((name, Type::Symbol(values))) => (name, values.to_vec()),
            _ => return Ok(()),
        },
        What::Beside(name) => {
            let found = beside::find(beside, name);
            (name, found.map(|b| b.values.iter().map(String::as_str).collect()).unwrap_or_default())
        }
    };
    if values.contains(&text) {
        return Ok(());
    }
    Err(CompileError::Refused {
        message: format!("`{name}` is never `{text}`"),
        suggestion: Some(format!("one of {}", values.join(", "))),
        offset: literal.start(),
    })
}

fn literal_text(literal: &Literal) -> Option<&str> {
    match literal {
        Literal::String(template) => template.as_literal_string(),
        Literal::RawString(text) => Some(text),
        _ => None,
    }
}
