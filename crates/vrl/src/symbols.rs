//! Comparisons with a text that a column can never hold. Owns this one check on the syntax tree.
use crate::{CompileError, scope::Scope, target::Touched};
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
pub(crate) fn check(program: &parser::Program) -> Result<(), CompileError> {
    program.0.iter().try_for_each(|root| match root.inner() {
        RootExpr::Expr(expr) => symbols_in(expr),
        RootExpr::Error(_) => Ok(()),
    })
}

fn symbols_in(node: &Node<Expr>) -> Result<(), CompileError> {
    match node.inner() {
        Expr::Op(op) => {
            let Op(left, code, right) = op.inner();
            if matches!(code.inner(), Opcode::Eq | Opcode::Ne) {
                symbol(left, right)?;
                symbol(right, left)?;
            }
            symbols_in(left)?;
            symbols_in(right)
        }
        Expr::Container(container) => match container.inner() {
            Container::Group(group) => symbols_in(&group.inner().0),
            Container::Block(block) => block.inner().0.iter().try_for_each(symbols_in),
            _ => Ok(()),
        },
        Expr::IfStatement(statement) => {
            let IfStatement { predicate, if_node, else_node } = statement.inner();
            match predicate.inner() {
                Predicate::One(expr) => symbols_in(expr)?,
                Predicate::Many(exprs) => exprs.iter().try_for_each(symbols_in)?,
            }
            let blocks = std::iter::once(if_node).chain(else_node);
            blocks.flat_map(|b| b.inner().0.iter()).try_for_each(symbols_in)
        }
        Expr::Unary(unary) => {
            let Unary::Not(not) = unary.inner();
            let (_, inner) = not.inner().clone().take();
            symbols_in(&inner)
        }
        _ => Ok(()),
    }
}

fn symbol(column: &Node<Expr>, literal: &Node<Expr>) -> Result<(), CompileError> {
    let (Expr::Query(query), Expr::Literal(text)) = (column.inner(), literal.inner()) else { return Ok(()) };
    let Query { target, path } = query.inner();
    let QueryTarget::External(prefix) = target.inner() else { return Ok(()) };
    let path = OwnedTargetPath { prefix: *prefix, path: path.inner().clone() };
    let found = Touched::of(&path, &Scope::default()).and_then(|t| t.column());
    let found = found.and_then(|column| atio_schemas::column::COLUMNS.get(column));
    let (Some(found), Some(text)) = (found, literal_text(text.inner())) else { return Ok(()) };
    match found.ty {
        Type::Symbol(names) if !names.contains(&text) => Err(CompileError::Refused {
            message: format!("`{}` is never `{text}`", found.name),
            suggestion: Some(format!("one of {}", names.join(", "))),
            offset: literal.start(),
        }),
        _ => Ok(()),
    }
}

fn literal_text(literal: &Literal) -> Option<&str> {
    match literal {
        Literal::String(template) => template.as_literal_string(),
        Literal::RawString(text) => Some(text),
        _ => None,
    }
}
